"""``aiida-mlal compare``: campaigns side by side."""

from typing import TYPE_CHECKING

import click
from aiida.cmdline.params.types import ProcessParamType
from aiida.cmdline.utils import decorators, echo

from aiida_mlal.cli.root import root

if TYPE_CHECKING:
    from aiida.orm import ProcessNode


@root.command()
@click.argument("campaigns", type=ProcessParamType(), nargs=-1, required=True)
@decorators.with_dbenv()
def compare(campaigns: tuple["ProcessNode", ...]) -> None:
    """Print what CAMPAIGNS came to, side by side, and the options in which they differ."""
    from tabulate import tabulate

    from aiida_mlal.report.numbers import collect
    from aiida_mlal.report.side_by_side import rows

    table = [(name, *values) for name, values in rows([collect(one) for one in campaigns])]
    widths = [None, *(40 for _ in campaigns)]
    echo.echo(tabulate(table, tablefmt="plain", disable_numparse=True, maxcolwidths=widths))
