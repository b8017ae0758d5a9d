"""``aiida-mlal why``: what chose a label, and what it taught."""

from typing import TYPE_CHECKING

import click
from aiida.cmdline.utils import decorators, echo

from aiida_mlal.cli.params import campaign_argument
from aiida_mlal.cli.root import root

if TYPE_CHECKING:
    from aiida.orm import ProcessNode


@root.command()
@campaign_argument
@click.argument("frame")
@decorators.with_dbenv()
def why(campaign: "ProcessNode", frame: str) -> None:
    """Say why a FRAME of a CAMPAIGN was labelled, what its potential thought, what it taught.

    FRAME is the number of a label, counted from 0, or the beginning of its key, as the page of
    `aiida-mlal report` has it.
    """
    from aiida_mlal.report.why import in_words, lesson

    try:
        found = lesson(campaign, frame)
    except ValueError as error:
        echo.echo_critical(str(error))
    echo.echo(in_words(found))
