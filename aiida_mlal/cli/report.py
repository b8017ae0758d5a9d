"""``aiida-mlal report``: the page of a campaign."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from aiida.cmdline.utils import decorators, echo

from aiida_mlal.cli.params import campaign_argument
from aiida_mlal.cli.root import root

if TYPE_CHECKING:
    from aiida.orm import ProcessNode


@root.command()
@campaign_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("report"),
    show_default=True,
    help="Folder to write to.",
)
@click.option(
    "--direct",
    multiple=True,
    metavar="FILE|PK|OPTIMIZER",
    help="A direct relaxation to compare with: a file that ASE can read, the PK or UUID of one by "
    "the code that labels (`aiida-mlal launch direct`, a PwRelaxWorkChain ...), or, if an ASE "
    "calculator made the labels, an optimiser (BFGS, GPMin ...) to run now. May be repeated.",
)
@decorators.with_dbenv()
def report(campaign: "ProcessNode", output: Path, direct: tuple[str, ...]) -> None:
    """Write an HTML page about a CAMPAIGN, finished, running or failed, and its figures as PNG."""
    from aiida_mlal.report import page
    from aiida_mlal.report.compare import direct_relaxation
    from aiida_mlal.report.numbers import collect

    try:
        relaxations = [direct_relaxation(campaign, how) for how in direct]
    except ValueError as error:
        echo.echo_critical(str(error))
    for one in relaxations:
        if one.minimum is not None:
            echo.echo(f"{one.name}: the campaign {one.minimum.in_words}")
    for path in page.write(collect(campaign, relaxations), output):
        echo.echo(str(path))
