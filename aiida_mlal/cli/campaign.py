"""What the commands that launch campaigns have in common."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import reduce, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from aiida.cmdline.utils import echo

from aiida_mlal.cli.label_codes import LabelCode, label_code
from aiida_mlal.cli.profile import MLAL
from aiida_mlal.cli.structures import read_labels
from aiida_mlal.cli.words import called, in_options
from aiida_mlal.ml.cli import label_keys

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from aiida.engine import ProcessBuilder
    from aiida.orm import ProcessNode

LABELLED = "oracle_force"
"""The stop that judges labelled forces."""


@dataclass(frozen=True)
class Wishes:
    """The options of every campaign."""

    labels: str
    protocol: str | None
    dataset: str | None
    max_labels: int | None
    seed: int | None
    overrides: str | None
    code: str
    label_code: str | None
    family: str | None
    cutoffs: tuple[float, float] | None
    mpi: int | None
    daemon: bool
    dry_run: bool
    keys: Mapping[str, str]

    @property
    def labelling(self) -> LabelCode | None:
        """The code whose jobs make the labels; None where a calculator of ASE does."""
        return label_code(self.labels)

    @property
    def calculator(self) -> Any:
        """What makes the labels, as builders want it."""
        if self.labelling is not None:
            return self.labelling.name
        if not self.labels.lstrip().startswith("{"):
            return self.labels
        try:
            return json.loads(self.labels)
        except ValueError as error:
            raise ValueError(f"--labels: this is not JSON ({error}): {self.labels}") from error

    @property
    def codes(self) -> dict[str, str]:
        """Codes by role."""
        if self.labelling is None:
            return {"mlal": self.code}
        return {"mlal": self.code, "label": self.label_code or self.labelling.usual_code}

    def inputs(self) -> dict[str, Any]:
        """Return the overrides, those that follow from other options included."""
        overrides = read_overrides(self.overrides)
        if self.labelling is not None:
            given = (self.family, self.cutoffs, self.mpi)
            overrides["label"] = self.labelling.overrides(overrides.get("label", {}), *given)
        else:
            self._refuse_what_does_nothing()
        return overrides if self.seed is None else {**overrides, "seed": self.seed}

    def _refuse_what_does_nothing(self) -> None:
        """Raise ``ValueError`` for options of codes that label where none does."""
        options = {
            "--label-code": self.label_code,
            "--family": self.family,
            "--cutoffs": self.cutoffs,
            "--mpi": self.mpi,
        }
        if given := [name for name, value in options.items() if value is not None]:
            raise ValueError(
                f"{', '.join(given)}: expected with --labels qe or vasp, got --labels "
                f"{self.labels}, which has options of its own: in the JSON of --labels, or below "
                "'label' in --overrides"
            )


@dataclass(frozen=True)
class Recipe:
    """Inputs of a campaign by a recipe, and what is to be overridden in them.

    Methods return another recipe with options of the command line in place.

    Attributes
    ----------
    inputs
        What the recipe says for a protocol, ``overrides`` in their place.
    overrides
        What builders take as overrides: only what was asked for.
    """

    inputs: Mapping[str, Any]
    overrides: Mapping[str, Any]

    @classmethod
    def of(cls, campaign: Any, name: str, wishes: Wishes, **simulation: Any) -> "Recipe":
        """Return a recipe with what every campaign can be asked for, such as a budget of labels.

        Overrides are judged by ``campaign``, the WorkChain, and those of stops and simulations by
        these themselves, so that options can be set in them. ``simulation`` has options of
        simulations that decide what else the recipe says, such as the cell; None: as it says.
        """
        from aiida_mlal.ml import stops
        from aiida_mlal.protocols import merge
        from aiida_mlal.workflows.recipes import recipe_inputs

        campaign.check_overrides(read_overrides(wishes.overrides))
        overrides = wishes.inputs()
        if given := _given(simulation):
            overrides = merge(overrides, {"simulation": given})
        recipe = cls(recipe_inputs(name, wishes.protocol, overrides), overrides)
        stops.parse(recipe.inputs["stop"])
        if wishes.max_labels is None:
            return recipe
        return recipe.with_stops({"name": "labels", "n": wishes.max_labels})

    def with_inputs(self, **values: Any) -> "Recipe":
        """Set inputs."""
        return Recipe({**self.inputs, **values}, {**self.overrides, **values})

    def with_options(self, name: str, **options: Any) -> "Recipe":
        """Set those options of an input, such as the simulation, that are not None."""
        from aiida_mlal.protocols import merge

        given = {name: _given(options)}
        return Recipe(merge(self.inputs, given), merge(self.overrides, given))

    def with_stops(self, *stops: dict[str, Any]) -> "Recipe":
        """Set stops: in place of those of the same names, or beside the others."""
        return self.with_inputs(stop=replace_stops(self.inputs["stop"], *stops))

    @property
    def labelled_force(self) -> float | None:
        """The labelled force, in eV/Å, that a stop wants to be reached; None if none does."""
        from aiida_mlal.ml.stops import OracleForce

        stops = [one for stop in self.inputs["stop"] for one in stop.get("of", [stop])]
        wanted = (one.get("fmax", OracleForce.fmax) for one in stops if one["name"] == LABELLED)
        return next(wanted, None)

    def with_labelled_force(self, fmax: float) -> "Recipe":
        """Set the labelled force, in eV/Å, where stops want one to be reached."""
        return self.with_inputs(stop=[_with_force(stop, fmax) for stop in self.inputs["stop"]])


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _with_force(stop: Mapping[str, Any], fmax: float) -> dict[str, Any]:
    if stop["name"] == "all":
        return {**stop, "of": [_with_force(one, fmax) for one in stop["of"]]}
    return {**stop, "fmax": fmax} if stop["name"] == LABELLED else dict(stop)


def campaign_options(labels: str, about: str) -> Callable[[Any], Any]:
    """Return a decorator that adds these options, and passes them on as ``wishes``.

    ``labels`` are what makes labels by default, ``about`` is said of it.
    """
    options = [
        click.option("--labels", default=labels, show_default=True, help=about),
        click.option("--protocol", help="fast, balanced or stringent. [default: balanced]"),
        click.option(
            "--dataset",
            help="Labels to begin with, made as the others will be: a file, or the PK or UUID of a "
            "data set, or of a campaign, all whose labels are taken.",
        ),
        click.option(
            "--max-labels",
            type=click.IntRange(1),
            help="Budget of labels, those of --dataset not counted.",
        ),
        click.option("--seed", type=int, help="Of everything random."),
        click.option(
            "--overrides",
            help="Inputs in place of those of the protocol: JSON, or a file of JSON or YAML.",
        ),
        click.option("--code", default=MLAL, show_default=True, help="The code that runs mlal."),
        click.option(
            "--label-code",
            help="The code that labels. [default: pw for qe, vasp for vasp]",
        ),
        click.option("--family", help="Family of pseudopotentials, for qe, or POTCARs, for vasp."),
        click.option(
            "--cutoffs",
            type=(float, float),
            metavar="WFC RHO",
            help="Of plane waves and density in Ry, for qe with a family that recommends none.",
        ),
        click.option(
            "--mpi",
            type=click.IntRange(1),
            help="MPI processes of the code that labels. [default: no MPI]",
        ),
        click.option("--daemon", is_flag=True, help="Submit to the daemon and return at once."),
        click.option(
            "--dry-run",
            is_flag=True,
            help="Store and run nothing: say how many labels there are at most, what they are "
            "computed with, k-points included, and all inputs.",
        ),
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @label_keys
        @wraps(command)
        def run(**given: Any) -> None:
            common = {field.name: given.pop(field.name) for field in fields(Wishes)}
            command(wishes=Wishes(**common), **given)

        return reduce(lambda decorated, option: option(decorated), reversed(options), run)

    return decorate


def launch_campaign(build: "Callable[[], ProcessBuilder]", wishes: Wishes) -> None:
    """Run what ``build`` returns, submit it, or say what it would do.

    All is checked before anything is stored, and what is wrong is said.
    """
    builder = checked(lambda: _begun(build(), wishes))
    if wishes.dry_run:
        foretell(builder)
    else:
        start(builder, wishes.daemon)


def _begun(builder: "ProcessBuilder", wishes: Wishes) -> "ProcessBuilder":
    """Let a campaign begin with labels that there are."""
    if wishes.dataset is not None:
        builder.dataset = read_labels(wishes.dataset, wishes.keys)
    elif wishes.keys and "candidates" not in builder:
        raise ValueError("keys name the labels of --dataset, which is not given")
    return builder


def foretell(builder: "ProcessBuilder") -> None:
    """Say what a campaign would do."""
    import yaml

    from aiida_mlal.report.outlook import outlook

    echo.echo(yaml.safe_dump(outlook(builder), sort_keys=False, allow_unicode=True, width=100))
    echo.echo_success("the inputs are valid; nothing was stored")


def checked(build: "Callable[[], ProcessBuilder]") -> "ProcessBuilder":
    """Call ``build`` and return its builder; an error ends the command, with a sentence."""
    from aiida.common.exceptions import NotExistent

    from aiida_mlal.ml.plugins import PluginError
    from aiida_mlal.workflows.ports import calling, check_inputs

    try:
        with calling(called):
            builder = build()
            check_inputs(builder._inputs(prune=True), builder.process_class.spec().inputs)
    except NotExistent as error:
        echo.echo_critical(f"{error}; `aiida-mlal setup` makes what is missing")
    except (ValueError, PluginError) as error:
        echo.echo_critical(in_options(str(error)))
    return builder


def start(builder: "ProcessBuilder", daemon: bool) -> None:
    """Run the campaign here, or submit it, and say how to follow it."""
    if daemon:
        node = submit(builder)
        echo.echo_success(f"submitted campaign {node.pk}")
        echo.echo(f"  aiida-mlal status {node.pk}", nl=True)
        return
    node = run_here(builder)
    if node.is_killed:
        echo.echo_critical(
            f"campaign {node.pk} was stopped, and cannot go on; all that it labelled is in its "
            f"data sets, and another campaign may begin with it: --dataset {node.pk}"
        )
    from aiida_mlal.report.progress import describe, progress

    echo.echo(describe(progress(node)))
    echo.echo(f"\ncampaign {node.pk}; for its page: aiida-mlal report {node.pk} -o report")
    if not node.is_finished_ok:
        echo.echo_critical(f"it did not converge: {node.exit_message or node.exception}")


def submit(builder: "ProcessBuilder") -> "ProcessNode":
    """Submit a process to the daemon; without one the command ends."""
    from aiida import engine
    from aiida.common.exceptions import InvalidOperation
    from aiida.manage import get_manager

    if get_manager().get_broker() is None:
        echo.echo_critical(
            "the profile has no broker, so there is no daemon: "
            "`verdi profile configure-broker core.zeromq`, or leave out --daemon"
        )
    try:
        node: ProcessNode = engine.submit(builder)
    except InvalidOperation as error:
        echo.echo_critical(f"the daemon does not run: `verdi daemon start` ({error})")
    return node


def run_here(builder: "ProcessBuilder") -> "ProcessNode":
    """Run a campaign in this process, until it ends, or an interrupt or SIGTERM stops it.

    The function of AiiDA kills within the handler of the signal, in the midst of what is going on:
    sessions of the database break, and the loop of events may never wake up.
    """
    import asyncio
    import signal

    from aiida.engine.utils import loop_scope
    from aiida.manage import get_manager
    from plumpy import KilledError

    # of its own, so that steps of what is killed are not taken when another campaign is run
    runner = get_manager().create_runner(communicator=None, loop=asyncio.new_event_loop())
    process = runner.instantiate_process(builder)
    signals = (signal.SIGINT, signal.SIGTERM)

    def stop() -> None:
        process.kill(msg_text="stopped by a signal")

    with loop_scope(runner.loop):
        for one in signals:
            runner.loop.add_signal_handler(one, stop)
        try:
            process.execute()
        except KilledError:
            pass
        finally:
            for one in signals:
                runner.loop.remove_signal_handler(one)
        _drop_tasks(runner.loop)
    runner.close()
    if process.node.is_killed:
        for child in process.node.called_descendants:
            end_killed(child, f"killed with {named(process.node)}")
    return process.node


def _drop_tasks(loop: "AbstractEventLoop") -> None:
    """Cancel all that is going on in a loop of events, such as steps of processes."""
    from asyncio import all_tasks, gather

    loop.set_exception_handler(lambda *_: None)  # what was cancelled is not to be told
    tasks = all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(gather(*tasks, return_exceptions=True))


def named(*processes: "ProcessNode") -> str:
    """Name processes as AiiDA's own reports do."""
    return ", ".join(f"{process.process_label}<{process.pk}>" for process in processes)


def end_killed(node: "ProcessNode", why: str) -> None:
    """Mark a process as killed that nothing works on any more: without a broker nothing else does.

    A job is taken from its scheduler. Those of a computer that cannot be reached are told.
    """
    from aiida.engine.daemon.execmanager import kill_calculation
    from aiida.orm import CalcJobNode
    from plumpy import ProcessState

    if node.is_sealed:
        return
    if node.is_terminated:
        node.delete_checkpoint()
        node.seal()
        return
    if isinstance(node, CalcJobNode) and node.get_job_id() is not None:
        try:
            with node.get_transport() as transport:
                kill_calculation(node, transport)
        except Exception as error:  # of any transport or scheduler
            echo.echo_warning(f"the job of {node.pk} may be running still: {error}")
    node.set_process_state(ProcessState.KILLED)
    node.set_process_status(why)
    node.delete_checkpoint()
    node.seal()


def replace_stops(stops: list[dict[str, Any]], *wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the stops, those ``wanted`` in place of others of the same name or at the end."""
    new, known = {stop["name"]: stop for stop in wanted}, [stop["name"] for stop in stops]
    added = [stop for stop in wanted if stop["name"] not in known]
    return [*(new.get(stop["name"], stop) for stop in stops), *added]


def read_overrides(text: str | None) -> dict[str, Any]:
    """Return overrides from JSON, or from a file of JSON or YAML; none without a text."""
    import yaml

    if text is None:
        return {}
    content = text if text.lstrip().startswith(("{", "[")) else _content(text)
    try:
        overrides = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise ValueError(f"the overrides are neither JSON nor YAML: {error}") from error
    if not isinstance(overrides, dict):
        raise ValueError(f"expected a mapping of overrides, got {overrides!r}")
    return overrides


def _content(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"the overrides {path!r} cannot be read: {error.strerror}") from error
