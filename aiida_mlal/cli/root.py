"""The command ``aiida-mlal``."""

import click
from aiida.cmdline.groups.verdi import VerdiCommandGroup
from aiida.cmdline.params import options, types

from aiida_mlal.ml.pipes import forgive_closed_pipes


@click.group(
    "aiida-mlal",
    cls=VerdiCommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@options.PROFILE(type=types.ProfileParamType(load_profile=True), expose_value=False)
@options.VERBOSITY()
@click.version_option(None, "--version", package_name="aiida-mlal", message="%(prog)s %(version)s")
def root() -> None:
    """Active learning of interatomic potentials within AiiDA."""
    forgive_closed_pipes()
