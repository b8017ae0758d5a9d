"""``aiida-mlal kill``: end a campaign whose process is gone."""

from typing import TYPE_CHECKING

import click
from aiida.cmdline.utils import decorators, echo

from aiida_mlal.cli.campaign import end_killed, named
from aiida_mlal.cli.params import campaign_argument
from aiida_mlal.cli.root import root

if TYPE_CHECKING:
    from aiida.orm import ProcessNode


@root.command()
@campaign_argument
@click.option("-f", "--force", is_flag=True, help="Do not ask whether the process is gone.")
@decorators.with_dbenv()
def kill(campaign: "ProcessNode", force: bool) -> None:
    """End a CAMPAIGN whose process is gone, as after a SIGKILL or a power failure.

    It and all that it called are marked as killed, so that it can be archived, and its jobs are
    taken from their schedulers. A campaign of the daemon goes on by itself: `verdi process kill`
    ends it. Of a campaign that has ended, what it called and what has not is marked.
    """
    from aiida_mlal.report.graph import unsealed

    left = unsealed(campaign)
    if not left:
        echo.echo_critical(f"campaign {campaign.pk} has ended already")
    if not force:
        click.confirm(_question(campaign, left), abort=True)
    why = f"killed with {named(campaign)}, whose process was gone"
    for node in left:
        end_killed(node, why)
    echo.echo_success(f"marked as killed: {named(*left)}")


def _question(campaign: "ProcessNode", left: "list[ProcessNode]") -> str:
    from aiida_mlal.report.progress import progress

    if campaign.is_terminated:
        return f"Campaign {campaign.pk} has ended, and {named(*left)} not. Does nothing work on it?"
    idle = progress(campaign).idle
    return f"Nothing has changed in campaign {campaign.pk} for {idle:.0f} s. Is its process gone?"
