"""``aiida-mlal archive``: a campaign as one file."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from aiida.cmdline.utils import decorators, echo
from tabulate import tabulate

from aiida_mlal.cli.campaign import named
from aiida_mlal.cli.params import campaign_argument
from aiida_mlal.cli.root import root

if TYPE_CHECKING:
    from aiida.orm import ProcessNode

    from aiida_mlal.report.archive import Share


@root.command()
@campaign_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write, usually with the ending .aiida.",
)
@click.option("--dry-run", is_flag=True, help="Say what the archive would hold, and write none.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the file if it exists.")
@decorators.with_dbenv()
def archive(campaign: "ProcessNode", output: Path | None, dry_run: bool, force: bool) -> None:
    """Write all of a CAMPAIGN to an archive, and check that it is complete.

    The archive is imported into an empty, temporary storage, and every label, input and link is
    looked for there. An archive that is not complete is not kept, nor one with a POTCAR in it.
    """
    from aiida_mlal.report.archive import ancestry, contents, export, problems
    from aiida_mlal.report.graph import unsealed

    if dry_run:
        shares = contents(ancestry(campaign))
        rows = [(s.kind, s.nodes, s.files, f"{s.size / MB:.2f}") for s in shares]
        echo.echo(tabulate(rows, headers=("kind", "nodes", "files", "MB")))
        echo.echo(f"\n{_total(shares)}")
        return
    if output is None:
        raise click.UsageError("give the file to write, --output, or --dry-run")
    if output.exists() and not force:
        echo.echo_critical(f"{output} exists, use --force to overwrite it")
    if not campaign.is_terminated:
        echo.echo_critical(
            f"campaign {campaign.pk} is still running, it can be archived after; if its process is "
            f"gone: aiida-mlal kill {campaign.pk}"
        )
    left = unsealed(campaign)
    if left:
        echo.echo_critical(
            f"campaign {campaign.pk} has ended, what it called has not: {named(*left)}; if nothing "
            f"works on that: aiida-mlal kill {campaign.pk}"
        )
    meant = ancestry(campaign)
    echo.echo(_total(contents(meant)))
    export(meant, output, overwrite=force)
    problems_found = problems(output, meant)
    for problem in problems_found:
        echo.echo_error(problem)
    if problems_found:
        output.unlink()
        echo.echo_critical(f"{output} was not kept")
    echo.echo_success(
        f"{output}: {len(meant.files)} nodes and {len(meant.links)} links, all there after import"
    )


def _total(shares: "list[Share]") -> str:
    nodes, files, size = (sum(values) for values in zip(*(s[1:] for s in shares), strict=True))
    return f"{nodes} nodes with {files} files, {size / MB:.1f} MB before they are compressed"


MB = 1e6
"""In bytes."""
