"""``aiida-mlal graph``: the provenance of a campaign on one page."""

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
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write, its ending says how: .svg, .pdf, .png.  [default: campaign-PK.svg]",
)
@decorators.with_dbenv()
def graph(campaign: "ProcessNode", output: Path | None) -> None:
    """Draw a CAMPAIGN on one page: labels, potentials, simulations, decisions, and their order.

    `verdi node graph generate` draws every node instead.
    """
    from aiida_mlal.report.diagram import draw_diagram

    path = output or Path(f"campaign-{campaign.pk}.svg")
    try:
        draw_diagram(campaign).savefig(path)
    except ValueError as error:  # of an ending that matplotlib doesn't know
        echo.echo_critical(str(error))
    echo.echo(str(path))
