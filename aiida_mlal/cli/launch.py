"""``aiida-mlal launch``: begin a campaign."""

from typing import TYPE_CHECKING, Any

import click
from aiida.cmdline.utils import decorators, echo

from aiida_mlal.cli.campaign import (
    Recipe,
    Wishes,
    campaign_options,
    checked,
    launch_campaign,
    named,
    run_here,
    submit,
)
from aiida_mlal.cli.params import campaign_argument, parse_indices
from aiida_mlal.cli.root import root
from aiida_mlal.cli.structures import read_dataset, read_path, read_structure
from aiida_mlal.ml.cli import Options

if TYPE_CHECKING:
    from aiida.engine import ProcessBuilder
    from aiida.orm import ProcessNode


CODES = (
    "qe for Quantum ESPRESSO, vasp for VASP, or the name of an ASE calculator, or its name and "
    'options as JSON, {"name": "lj", "options": {"epsilon": 0.1}}.'
)


one_job = click.option(
    "--one-job",
    is_flag=True,
    help="Train, simulate and choose in one job an iteration, where jobs wait long.",
)


pilot = click.option(
    "--pilot",
    type=Options("architecture"),
    help="A model that relaxes before anything is labelled: sevennet, chgnet, or options as JSON.",
)


cell = click.option(
    "--cell",
    type=click.Choice(["fixed", "full", "shape", "volume"]),
    help="What of the cell moves. [default: as the recipe says, mostly fixed]",
)
pressure = click.option("--pressure", type=float, help="On a cell that moves, in GPa.")


@root.group()
def launch() -> None:
    """Launch a campaign."""


@launch.command()
@click.argument("structure")
@click.option(
    "--recipe",
    type=click.Choice(["gp", "network", "bootstrap"]),
    default="gp",
    show_default=True,
    help="gp: the ends of relaxations are labelled until they are relaxed, with Gaussian "
    "processes, each time from the best label on. network: the same with networks on a prior. "
    "bootstrap: cells are relaxed as well, with a moment tensor potential, and what it "
    "extrapolates to is labelled until it does not any more.",
)
@click.option(
    "--fixed",
    help="Atoms that do not move, such as 0-3,7, counted from 0. "
    "[default: those that the file of the structure says are fixed]",
)
@click.option(
    "--fmax",
    type=float,
    help="Force to be reached, in eV/Å: the labelled one if ends are labelled, and simulations go "
    "on to a smaller one, in the ratio of the protocol.",
)
@cell
@pressure
@pilot
@one_job
@campaign_options("emt", f"What labels: {CODES}")
@decorators.with_dbenv()
def offline(
    wishes: Wishes,
    structure: str,
    recipe: str,
    fixed: str | None,
    fmax: float | None,
    cell: str | None,
    pressure: float | None,
    pilot: dict[str, Any] | None,
    one_job: bool,
) -> None:
    """Relax a STRUCTURE by offline active learning.

    STRUCTURE is a file that ASE can read, or the PK or UUID of a structure or data set. Labels that
    it has are not used; those of --dataset are.
    """

    def build() -> "ProcessBuilder":
        from aiida.plugins import WorkflowFactory

        node, still = read_structure(structure, fixed is None)
        workflow: Any = WorkflowFactory("mlal.offline")
        asked = Recipe.of(workflow, recipe, wishes, cell=cell, pressure_GPa=pressure)
        builder: ProcessBuilder = workflow.get_builder_from_protocol(
            wishes.codes,
            node,
            wishes.protocol,
            _with_pilot(_with_force(asked, fmax), pilot).overrides,
            wishes.calculator,
            fixed=_fixed(fixed, still),
            recipe=recipe,
            one_job=one_job,
        )
        return builder

    launch_campaign(build, wishes)


@launch.command()
@click.argument("ends", nargs=-1, required=True)
@click.option("--images", type=click.IntRange(3), help="Of the path, the ends among them.")
@click.option("--keep-ends", is_flag=True, help="The ends are relaxed, and stay as they are.")
@click.option(
    "--fixed",
    help="Atoms that do not move, such as 0-3,7, counted from 0. "
    "[default: those that the files of the structures say are fixed]",
)
@click.option(
    "--fmax", type=float, help="Labelled force to be reached at ends and saddle point, in eV/Å."
)
@cell
@pilot
@one_job
@campaign_options("emt", f"What labels: {CODES}")
@decorators.with_dbenv()
def neb(
    wishes: Wishes,
    ends: tuple[str, ...],
    images: int | None,
    keep_ends: bool,
    fixed: str | None,
    fmax: float | None,
    cell: str | None,
    pilot: dict[str, Any] | None,
    one_job: bool,
) -> None:
    """Find the path between two ENDS, and the saddle point on it.

    ENDS are files that ASE can read, or PKs or UUIDs of structures, with the same atoms in the same
    order; more than two are structures that the path goes through, in their order.
    """

    def build() -> "ProcessBuilder":
        from aiida.plugins import WorkflowFactory

        workflow: Any = WorkflowFactory("mlal.offline")
        asked = _of_path(
            Recipe.of(workflow, "neb", wishes, cell=cell), len(ends), images, keep_ends, fmax
        )
        builder: ProcessBuilder = workflow.get_builder_from_protocol(
            wishes.codes,
            read_path(ends, fixed is None),
            wishes.protocol,
            _with_pilot(asked, pilot).overrides,
            wishes.calculator,
            fixed=None if fixed is None else parse_indices(fixed),
            recipe="neb",
            one_job=one_job,
        )
        return builder

    launch_campaign(build, wishes)


@launch.command()
@click.argument("structure")
@click.option("--temperature", help="In K: a number, or two with a comma between for a ramp.")
@click.option("--steps", type=click.IntRange(1), help="Time steps that a run is to survive.")
@click.option("--timestep", type=float, help="In fs.")
@click.option(
    "--pressure", type=float, help="In GPa: the cell moves (its volume alone) against it."
)
@click.option("--fixed", help="Atoms that do not move, such as 0-3,7, counted from 0.")
@one_job
@campaign_options("emt", "What labels, as for `aiida-mlal launch offline`.")
@decorators.with_dbenv()
def md(
    wishes: Wishes,
    structure: str,
    temperature: str | None,
    steps: int | None,
    timestep: float | None,
    pressure: float | None,
    fixed: str | None,
    one_job: bool,
) -> None:
    """Teach a potential to run molecular dynamics from a STRUCTURE without extrapolation.

    STRUCTURE is a file that ASE can read, or the PK or UUID of a structure or data set, each of
    which has a run. What the potential extrapolates to is labelled, and all runs begin again, until
    none meets anything unknown.
    """

    def build() -> "ProcessBuilder":
        from aiida.plugins import WorkflowFactory

        node, still = read_structure(structure, fixed is None)
        workflow: Any = WorkflowFactory("mlal.offline")
        asked = Recipe.of(workflow, "md", wishes).with_options(
            "simulation",
            steps=steps,
            timestep=timestep,
            temperature=None if temperature is None else _ramp(temperature),
            cell=None if pressure is None else "volume",
            pressure_GPa=pressure,
        )
        builder: ProcessBuilder = workflow.get_builder_from_protocol(
            wishes.codes,
            node,
            wishes.protocol,
            asked.overrides,
            wishes.calculator,
            fixed=_fixed(fixed, still),
            recipe="md",
            one_job=one_job,
        )
        return builder

    launch_campaign(build, wishes)


@launch.command()
@click.argument("structure")
@click.option("--fixed", help="Atoms that do not move, as for offline.")
@click.option("--fmax", type=float, help="Labelled force to be reached, in eV/Å.")
@click.option(
    "--limit",
    type=float,
    help="Uncertainty at which a simulation stops for a label, in eV/Å. [default: of the protocol]",
)
@cell
@pressure
@campaign_options("emt", f"What labels: {CODES}")
@decorators.with_dbenv()
def online(
    wishes: Wishes,
    structure: str,
    fixed: str | None,
    fmax: float | None,
    limit: float | None,
    cell: str | None,
    pressure: float | None,
) -> None:
    """Relax a STRUCTURE, and learn on the way.

    The relaxation stops where the potential is not sure, that step is labelled and learned, and it
    goes on from there. STRUCTURE is a file that ASE can read, or the PK or UUID of a structure or
    data set.
    """

    def build() -> "ProcessBuilder":
        from aiida.plugins import WorkflowFactory

        node, still = read_structure(structure, fixed is None)
        workflow: Any = WorkflowFactory("mlal.online")
        asked = Recipe.of(workflow, "online", wishes, cell=cell, pressure_GPa=pressure)
        builder: ProcessBuilder = workflow.get_builder_from_protocol(
            wishes.codes,
            node,
            wishes.protocol,
            _with_limit(_with_force(asked, fmax), limit).overrides,
            wishes.calculator,
            fixed=_fixed(fixed, still),
        )
        return builder

    launch_campaign(build, wishes)


@launch.command()
@click.argument("structure")
@click.option(
    "--towards", help="A structure in the direction in which to go uphill, named like STRUCTURE."
)
@click.option("--fixed", help="Atoms that do not move, as for offline.")
@click.option("--fmax", type=float, help="Labelled force to be reached, in eV/Å.")
@click.option("--limit", type=float, help="As for online.")
@campaign_options("emt", f"What labels: {CODES}")
@decorators.with_dbenv()
def saddle(
    wishes: Wishes,
    structure: str,
    towards: str | None,
    fixed: str | None,
    fmax: float | None,
    limit: float | None,
) -> None:
    """Find a saddle point from a STRUCTURE that is not far from it.

    The search follows the softest mode uphill, stops for a label where the potential is not sure,
    and goes on from there. STRUCTURE is a file that ASE can read, or the PK or UUID of a structure
    or data set.
    """

    def build() -> "ProcessBuilder":
        from aiida.plugins import WorkflowFactory

        workflow: Any = WorkflowFactory("mlal.online")
        asked = _with_limit(_with_force(Recipe.of(workflow, "saddle", wishes), fmax), limit)
        if towards is None:
            node, still = read_structure(structure, fixed is None)
        else:
            node, still = read_path([structure, towards], fixed is None), []
            asked = asked.with_options("simulation", mode="towards")
        builder: ProcessBuilder = workflow.get_builder_from_protocol(
            wishes.codes,
            node,
            wishes.protocol,
            asked.overrides,
            wishes.calculator,
            fixed=_fixed(fixed, still),
            recipe="saddle",
        )
        return builder

    launch_campaign(build, wishes)


@launch.command()
@click.argument("candidates")
@click.option("--test", help="Labels to compare each potential with: a file, or a PK or UUID.")
@click.option("--size", type=click.IntRange(1), help="End with so many structures to learn from.")
@campaign_options(
    "given",
    f"What labels: given for the labels that the candidates have; {CODES}",
)
@decorators.with_dbenv()
def pool(
    wishes: Wishes,
    candidates: str,
    test: str | None,
    size: int | None,
) -> None:
    """Learn from a pool of CANDIDATES those that are worth it.

    CANDIDATES are a file that ASE can read, or the PK or UUID of a data set.
    """

    def build() -> "ProcessBuilder":
        from aiida.plugins import WorkflowFactory

        workflow: Any = WorkflowFactory("mlal.pool")
        asked = Recipe.of(workflow, "pool", wishes)
        if size is not None:
            asked = asked.with_stops({"name": "size", "n": size})
        builder: ProcessBuilder = workflow.get_builder_from_protocol(
            wishes.codes,
            read_dataset(candidates, wishes.keys),
            wishes.protocol,
            asked.overrides,
            wishes.calculator,
            test=None if test is None else read_dataset(test, wishes.keys),
        )
        return builder

    launch_campaign(build, wishes)


@launch.command()
@campaign_argument
@click.option("--daemon", is_flag=True, help="Submit to the daemon and return at once.")
@decorators.with_dbenv()
def direct(campaign: "ProcessNode", daemon: bool) -> None:
    """Relax what a CAMPAIGN relaxed by the code that labels itself, to compare with it.

    With the parameters of the labels, to the forces and stresses of the campaign.
    """
    from aiida_mlal.report.compare import direct_builder

    builder = checked(lambda: direct_builder(campaign))
    node = submit(builder) if daemon else run_here(builder)
    what = named(node)
    if node.is_terminated and not node.is_finished_ok:
        echo.echo_warning(f"{what} did not end well: {node.exit_message or node.exception}")
    echo.echo_success(f"{what}: compare with aiida-mlal report {campaign.pk} --direct {node.pk}")


def _fixed(said: str | None, still: list[int]) -> list[int] | None:
    """Return the indices of fixed atoms: those of the option, else those of the file."""
    return (still if said is None else parse_indices(said)) or None


def _with_force(asked: Recipe, fmax: float | None) -> Recipe:
    """Set the force to be reached, in eV/Å, where it is given.

    Where it is that of labels, simulations are relaxed further, in the ratio of the recipe: what
    is predicted to be just below a limit is labelled as above it about every other time.
    """
    if fmax is None:
        return asked
    simulation, labelled = asked.inputs["simulation"], asked.labelled_force
    if labelled is None:
        return asked.with_options("simulation", fmax=fmax)
    usual = {"fmax": labelled, **simulation}
    reached = {
        name: float(f"{fmax * usual[name] / labelled:.6g}")
        for name in ("fmax", "fmax_ends")
        if name in usual
    }
    return asked.with_options("simulation", **reached).with_labelled_force(fmax)


def _with_pilot(asked: Recipe, pilot: dict[str, Any] | None) -> Recipe:
    """Let a model relax first, where one is given."""
    return asked if pilot is None else asked.with_inputs(pilot=pilot)


def _of_path(
    asked: Recipe, n: int, images: int | None, keep_ends: bool, fmax: float | None
) -> Recipe:
    """Set what a path goes through, and the force to be reached on it, in eV/Å."""
    images = images or max(asked.inputs["simulation"]["images"], n)
    asked = asked.with_options("simulation", given=n, images=images)
    if keep_ends:
        asked = asked.with_options("simulation", ends="given")
    if fmax is None:
        return asked
    return _with_force(asked.with_options("start", keep_below=fmax), fmax)


def _with_limit(asked: Recipe, limit: float | None) -> Recipe:
    """Set the uncertainty at which simulations stop, in eV/Å, where it is given."""
    if limit is None:
        return asked
    guard = {**asked.inputs["simulation"].get("guard", {}), "break": limit}
    return asked.with_options("simulation", guard=guard)


def _ramp(text: str) -> float | list[float]:
    """Return a number, or two that are separated by a comma."""
    try:
        values = [float(value) for value in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 2):
        raise ValueError(f"--temperature: expected a number or two, such as 300,900, got {text!r}")
    return values[0] if len(values) == 1 else values
