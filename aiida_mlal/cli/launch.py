"""``aiida-mlal launch``: begin a campaign."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from aiida.cmdline.utils import decorators, echo

from aiida_mlal.cli.params import parse_indices
from aiida_mlal.cli.profile import MLAL, PW
from aiida_mlal.cli.root import root

if TYPE_CHECKING:
    from aiida.engine import ProcessBuilder
    from aiida.orm import Data

QE = "quantumespresso"


@root.group()
def launch() -> None:
    """Launch a campaign."""


@launch.command()
@click.argument("structure")
@click.option(
    "--labels",
    default="emt",
    show_default=True,
    help="What labels: qe for Quantum ESPRESSO, or the name of an ASE calculator, or its name and "
    'options as JSON, {"name": "lj", "options": {"epsilon": 0.1}}.',
)
@click.option(
    "--recipe",
    type=click.Choice(["offline", "bootstrap"]),
    default="offline",
    show_default=True,
    help="offline: the ends of relaxations are labelled until they are relaxed, with networks on a "
    "prior. bootstrap: cells are relaxed as well, with a moment tensor potential, and what it "
    "extrapolates to is labelled until it does not any more.",
)
@click.option("--protocol", help="fast, balanced or stringent. [default: balanced]")
@click.option(
    "--fixed",
    help="Atoms that do not move, such as 0-3,7, counted from 0. "
    "[default: those that the file of the structure says are fixed]",
)
@click.option(
    "--fmax",
    type=float,
    help="Force to be reached, in eV/Å: the labelled one if ends are labelled.",
)
@click.option("--max-labels", type=click.IntRange(1), help="Budget of labels.")
@click.option("--seed", type=int, help="Of everything random.")
@click.option(
    "--overrides",
    help="Inputs in place of those of the protocol: JSON, or a file of JSON or YAML.",
)
@click.option("--code", default=MLAL, show_default=True, help="The code that runs mlal.")
@click.option("--pw", default=PW, show_default=True, help="The code that runs pw.x.")
@click.option("--family", help="Pseudopotential family, for qe.")
@click.option(
    "--cutoffs",
    type=(float, float),
    metavar="WFC RHO",
    help="Of plane waves and density in Ry, for qe with a family that recommends none.",
)
@click.option("--mpi", type=click.IntRange(1), help="MPI processes of pw.x. [default: no MPI]")
@click.option("--daemon", is_flag=True, help="Submit to the daemon and return at once.")
@decorators.with_dbenv()
def offline(
    structure: str,
    labels: str,
    recipe: str,
    protocol: str | None,
    fixed: str | None,
    fmax: float | None,
    max_labels: int | None,
    seed: int | None,
    overrides: str | None,
    code: str,
    pw: str,
    family: str | None,
    cutoffs: tuple[float, float] | None,
    mpi: int | None,
    daemon: bool,
) -> None:
    """Relax a STRUCTURE by offline active learning.

    STRUCTURE is a file that ASE can read, or the PK or UUID of a structure or data set.
    """
    from aiida_mlal.workflows.ports import check_inputs

    try:
        node, still = read_structure(structure)
        given = _read_overrides(overrides)
        if labels in ("qe", QE):
            labels, codes = QE, {"mlal": code, "label": pw}
            given = _merge(given, {"label": qe_overrides(family, cutoffs, mpi)})
        else:
            codes = {"mlal": code}
        given = _merge(given, _stops(fmax, max_labels, recipe, protocol, given))
        builder = offline_builder(
            node,
            codes=codes,
            labels=json.loads(labels) if labels.lstrip().startswith("{") else labels,
            protocol=protocol,
            overrides=given if seed is None else {**given, "seed": seed},
            fixed=still if fixed is None else parse_indices(fixed),
            recipe=recipe,
        )
        check_inputs(builder._inputs(prune=True), builder.process_class.spec().inputs)
    except ValueError as error:
        echo.echo_critical(str(error))
    start(builder, daemon)


def offline_builder(
    structure: "Data",
    codes: dict[str, str],
    labels: Any,
    protocol: str | None,
    overrides: dict[str, Any],
    fixed: list[Any],
    recipe: str = "offline",
) -> "ProcessBuilder":
    """Return the builder of an offline campaign."""
    from aiida.common.exceptions import NotExistent
    from aiida.plugins import WorkflowFactory

    try:
        workflow: Any = WorkflowFactory("mlal.offline")
        builder: ProcessBuilder = workflow.get_builder_from_protocol(
            codes, structure, protocol, overrides, labels, fixed=fixed or None, recipe=recipe
        )
    except NotExistent as error:
        raise ValueError(f"{error}; `aiida-mlal setup` makes what is missing") from error
    return builder


def start(builder: "ProcessBuilder", daemon: bool) -> None:
    """Run the campaign here, or submit it, and say how to follow it."""
    from aiida.common.exceptions import InvalidOperation
    from aiida.engine import run_get_node, submit
    from aiida.manage import get_manager

    if daemon:
        if get_manager().get_broker() is None:
            echo.echo_critical(
                "the profile has no broker, so there is no daemon: "
                "`verdi profile configure-broker core.zeromq`, or leave out --daemon"
            )
        try:
            node = submit(builder)
        except InvalidOperation as error:
            echo.echo_critical(f"the daemon does not run: `verdi daemon start` ({error})")
        echo.echo_success(f"submitted campaign {node.pk}")
        echo.echo(f"  aiida-mlal status {node.pk}", nl=True)
        return
    _, node = run_get_node(builder)
    from aiida_mlal.report.progress import describe, progress

    echo.echo(describe(progress(node)))
    echo.echo(f"\ncampaign {node.pk}; for its page: aiida-mlal report {node.pk} -o report")
    if not node.is_finished_ok:
        echo.echo_critical(f"it did not converge: {node.exit_message or node.exception}")


def read_structure(text: str) -> tuple["Data", list[Any]]:
    """Return the node of a structure, and the atoms that its file says are fixed.

    Several frames in a file, or a data set, begin several simulations.

    Raises
    ------
    ValueError
        If there is no such file or node, or it is no structure.
    """
    from aiida.common.exceptions import NotExistent
    from aiida.orm import StructureData, load_node

    from aiida_mlal.data.dataset import DatasetData
    from aiida_mlal.data.structures import to_structure
    from aiida_mlal.ml.formats.files import read

    if Path(text).is_file():
        frames = read(text)
        if len(frames) == 1:
            return to_structure(frames), fixed_list(frames.fixed)
        return DatasetData(frames), []
    try:
        node = load_node(text)
    except (NotExistent, ValueError) as error:
        raise ValueError(f"there is neither a file nor a node {text!r}") from error
    if not isinstance(node, (StructureData, DatasetData)):
        raise ValueError(f"expected a structure or a data set, got {node}")
    return node, []


def fixed_list(mask: Any) -> list[Any]:
    """Return the input ``fixed`` of a campaign for components of atoms that must not move."""
    return [
        i if components.all() else [i, components.tolist()]
        for i, components in enumerate(mask)
        if components.any()
    ]


def qe_overrides(
    family: str | None, cutoffs: tuple[float, float] | None, mpi: int | None
) -> dict[str, Any]:
    """Return the overrides of the labelling WorkChain of Quantum ESPRESSO."""
    pw: dict[str, Any] = {"metadata": {"options": {"withmpi": mpi is not None}}}
    if mpi is not None:
        resources = {"num_machines": 1, "num_mpiprocs_per_machine": mpi}
        pw["metadata"]["options"]["resources"] = resources
    if cutoffs is not None:
        pw["parameters"] = {"SYSTEM": {"ecutwfc": cutoffs[0], "ecutrho": cutoffs[1]}}
    found: dict[str, Any] = {"pw": pw}
    if family is not None:
        found["pseudo_family"] = family
    return found


def _stops(
    fmax: float | None,
    max_labels: int | None,
    recipe: str,
    protocol: str | None,
    given: dict[str, Any],
) -> dict[str, Any]:
    """Return overrides of stops and simulation for another force or budget."""
    from aiida_mlal import protocols

    if fmax is None and max_labels is None:
        return {}
    inputs = protocols.inputs(recipe, protocol, given)
    stops = [dict(stop) for stop in inputs["stop"]]
    found: dict[str, Any] = {}
    if fmax is not None:
        found["simulation"] = {**inputs["simulation"], "fmax": fmax}
    if fmax is not None and recipe == "offline":
        stops = [stop for stop in stops if stop["name"] != "oracle_force"]
        stops.insert(0, {"name": "oracle_force", "fmax": fmax})
    if max_labels is not None:
        stops = [stop for stop in stops if stop["name"] != "labels"]
        stops.append({"name": "labels", "n": max_labels})
    return {**found, "stop": stops}


def _read_overrides(text: str | None) -> dict[str, Any]:
    import yaml

    if text is None:
        return {}
    content = text if text.lstrip().startswith("{") else _content(text)
    try:
        found = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise ValueError(f"the overrides are neither JSON nor YAML: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"expected a mapping of overrides, got {found!r}")
    return found


def _content(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"the overrides {path!r} cannot be read: {error.strerror}") from error


def _merge(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    from aiida_mlal.protocols import merge

    return merge(left, right)
