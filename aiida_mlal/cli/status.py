"""``aiida-mlal status``: where a campaign stands."""

import time
from typing import TYPE_CHECKING

import click
from aiida.cmdline.utils import decorators, echo

from aiida_mlal.cli.params import campaign_argument
from aiida_mlal.cli.root import root
from aiida_mlal.ml.pipes import is_heard

if TYPE_CHECKING:
    from aiida.orm import ProcessNode


@root.command()
@campaign_argument
@click.option(
    "-f",
    "--follow",
    type=click.FloatRange(min=1),
    is_flag=False,
    flag_value=10,
    help="Look again every so many seconds until it ends. [without a number: 10]",
)
@decorators.with_dbenv()
def status(campaign: "ProcessNode", follow: float | None) -> None:
    """Say where a CAMPAIGN stands: iteration, labels, jobs, and the learning curve so far."""
    from aiida_mlal.report.progress import describe, progress

    echo.echo(describe(progress(campaign)))
    while follow is not None and not campaign.is_terminated and is_heard():
        time.sleep(follow)
        echo.echo("\n" + describe(progress(campaign)))
