"""``aiida-mlal demo``: a campaign from nothing to its report."""

import logging
import os
import time
from pathlib import Path
from typing import Any

import click
from aiida.cmdline.utils import echo

from aiida_mlal.cli import profile
from aiida_mlal.cli.root import root
from aiida_mlal.cli.structures import fixed_list

PROFILE = "demo"
OPTIMIZERS = ("BFGS", "GPMin")
"""Of direct relaxations to compare with."""


@root.command()
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path, resolve_path=True),
    default=lambda: os.environ.get("AIIDA_PATH", ".demo"),
    show_default="$AIIDA_PATH, else .demo",
    help="Folder of AiiDA's configuration and of the report.",
)
@click.option("--protocol", default=None, help="fast, balanced or stringent. [default: balanced]")
@click.option("--seed", default=0, show_default=True, help="Of everything random.")
def demo(folder: Path, protocol: str | None, seed: int) -> None:
    """Relax C on Cu(100) by offline active learning, with labels from EMT, and write a report.

    Everything is kept in one folder, so that the graph can be looked at afterwards; the usual
    configuration of AiiDA is not touched.
    """
    begin = time.perf_counter()
    use_folder(folder)
    created = profile.create_profile(PROFILE, default=True)
    profile.load_profile(PROFILE)
    echo.echo_report(f"profile {PROFILE} in {folder}{' (new)' if created else ''}")
    code, _ = profile.get_code(profile.MLAL, profile.find_mlal(), "mlal.train")

    from aiida.plugins import WorkflowFactory

    from aiida_mlal.cli.campaign import run_here
    from aiida_mlal.data.structures import to_structure
    from aiida_mlal.ml.configurations import Configurations

    start = Configurations.from_ase(carbon_on_copper())
    workflow: Any = WorkflowFactory("mlal.offline")
    builder = workflow.get_builder_from_protocol(
        code,
        to_structure(start),
        protocol,
        {"seed": seed},
        labels="emt",
        fixed=fixed_list(start.fixed),
    )
    builder["metadata"]["label"] = "C on Cu(100), EMT"
    echo.echo_report(f"relaxing {start.formulas[0]}; it takes a minute or so")
    with told():
        node = run_here(builder)
    if not node.is_terminated or node.exit_status is None:
        what = "was stopped" if node.is_killed else f"broke: verdi -p {PROFILE} process report"
        echo.echo_critical(f"the campaign {node.pk} {what}")
    write_report(node, folder / "report")
    seconds = time.perf_counter() - begin
    echo.echo(f"\nTo look at the graph (campaign {node.pk}, {seconds:.0f} s in all):\n")
    for line in (
        f"export AIIDA_PATH={folder}",
        f"verdi process show {node.pk}",
        "verdi process list -a",
        f"aiida-mlal status {node.pk}",
        f"aiida-mlal archive {node.pk} -o campaign.aiida",
    ):
        echo.echo(f"  {line}")
    if not node.is_finished_ok:
        echo.echo_critical(f"the campaign did not converge: {node.exit_message}")


def carbon_on_copper() -> Any:
    """Return C 3 Å above a hollow of Cu(100), 2x2x3, the lowest layer fixed."""
    from ase.build import add_adsorbate, fcc100
    from ase.constraints import FixAtoms

    slab = fcc100("Cu", (2, 2, 3), a=3.615, vacuum=10.0)
    add_adsorbate(slab, "C", 3.0, "hollow")
    slab.pbc = True
    slab.set_constraint(FixAtoms([atom.index for atom in slab if atom.tag == 3]))
    return slab


def use_folder(folder: Path) -> None:
    """Use the AiiDA configuration in a folder, whatever ``AIIDA_PATH`` says."""
    from aiida.manage.configuration import reset_config
    from aiida.manage.configuration.settings import AiiDAConfigDir

    inside = folder if folder.name == ".aiida" else folder / ".aiida"
    inside.mkdir(parents=True, exist_ok=True)
    if AiiDAConfigDir.get() != inside:
        AiiDAConfigDir.set(inside)
        reset_config()


def write_report(node: Any, folder: Path) -> None:
    """Write the page, and the most important numbers to the terminal."""
    from aiida_mlal.report import page
    from aiida_mlal.report.compare import direct_relaxation
    from aiida_mlal.report.numbers import collect
    from aiida_mlal.report.progress import describe, progress

    echo.echo("\n" + describe(progress(node)) + "\n")
    report = collect(node, [direct_relaxation(node, name) for name in OPTIMIZERS])
    for direct in report.direct:
        echo.echo(f"{direct.name}: {direct.labels} labels")
    echo.echo(f"active learning: {report.labels} labels, {report.outcome}")
    echo.echo(
        f"{report.wall:.0f} s, {report.overhead:.0f} s of these outside training, simulation, "
        f"selection and labels"
    )
    written = page.write(report, folder)
    echo.echo_success(f"report: {written[0]}")


class told:
    """While this lasts, only what WorkChains say of their progress is printed, one line each."""

    def __enter__(self) -> None:
        """Put a quiet handler in place of the usual ones."""
        self._handler = _Line()
        self._logger = logging.getLogger("aiida")
        self._before = self._logger.handlers[:]
        self._logger.handlers = [self._handler]

    def __exit__(self, *_: object) -> None:
        """Bring the usual handlers back."""
        self._logger.handlers = self._before


class _Line(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self._start = time.perf_counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Print what a process reports, and warnings."""
        text = record.getMessage()
        if "OfflineWorkChain" in text or record.levelno >= logging.WARNING:
            said = text.rpartition("]: ")[2]
            echo.echo(f"{time.perf_counter() - self._start:6.1f} s  {said}")
