"""``aiida-mlal report``: the page of a campaign."""

import time
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
@click.option(
    "--figures",
    type=click.Choice(["png", "pdf", "svg", "none"]),
    multiple=True,
    default=("png",),
    show_default=True,
    help="How figures are written beside the page, which has all of them. May be repeated.",
)
@click.option(
    "--watch",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="Write the page again every so many seconds until the campaign ends; a browser that shows "
    "it follows.",
)
@decorators.with_dbenv()
def report(
    campaign: "ProcessNode",
    output: Path,
    direct: tuple[str, ...],
    figures: tuple[str, ...],
    watch: float | None,
) -> None:
    """Write an HTML page about a CAMPAIGN, finished, running or failed, and its figures.

    The page is one file that needs no network: structures can be turned, and points of figures show
    theirs. Calculations of properties have a page as well.
    """
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
    formats = [kind for kind in figures if kind != "none"]
    while watch is not None and not campaign.is_terminated:
        page.write(collect(campaign, relaxations), output, (), refresh=watch)
        echo.echo(f"{output / 'index.html'}: {time.strftime('%H:%M:%S')}")
        time.sleep(watch)
    for path in page.write(collect(campaign, relaxations), output, formats):
        echo.echo(str(path))
