"""``aiida-mlal folder``: a calculation as a folder that runs without AiiDA."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from aiida.cmdline.params.arguments import PROCESS
from aiida.cmdline.utils import decorators, echo

from aiida_mlal.cli.root import root

if TYPE_CHECKING:
    from aiida.orm import ProcessNode


@root.command()
@PROCESS("calculation")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder to write; it is made, and must be empty if it is there.",
)
@decorators.with_dbenv()
def folder(calculation: "ProcessNode", output: Path) -> None:
    """Write the folder of a CALCULATION, which `mlal run` can run again.

    The calculation is given by PK or UUID; `verdi process list -a` has those of a campaign.
    """
    from aiida_mlal.calculations.folder import write_folder

    if output.exists() and any(output.iterdir()):
        echo.echo_critical(f"{output} is not empty")
    try:
        tasks = write_folder(calculation, output)
    except ValueError as error:
        echo.echo_critical(str(error))
    echo.echo_success(f"{output}: {', '.join(sorted(_files_in(output)))}")
    for task in tasks:
        echo.echo(f"  mlal run {output / task}")


def _files_in(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
