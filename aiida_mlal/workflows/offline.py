"""Offline active learning: simulations run to their end, then some of their frames are labelled."""

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida.engine import ExitCode, ProcessBuilder, if_, while_
from aiida.engine.processes.ports import PortNamespace
from aiida.orm import AbstractCode, Data, Dict, List, Str, StructureData, to_aiida_type
from aiida.plugins import WorkflowFactory

from aiida_mlal import protocols
from aiida_mlal.calculations.iterate import STEPS, IterateCalculation
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.potential import PotentialData
from aiida_mlal.data.structures import STRUCTURES
from aiida_mlal.ml import plugins, stops
from aiida_mlal.ml.configurations import OK, Configurations
from aiida_mlal.ml.labelling.checks import Limits, check_geometry
from aiida_mlal.ml.options import build, suggest, within
from aiida_mlal.ml.simulation.base import Plan, first_message
from aiida_mlal.workflows import calcfunctions
from aiida_mlal.workflows.campaign import (
    EXCHANGEABLE,
    OPTIONS,
    CampaignWorkChain,
    check_budget,
    check_campaign,
    check_elements,
    check_known,
    is_measured,
    label_inputs,
    measure_for,
    name_campaign,
    strategy_of,
    trained_for,
    without_uncertainty,
)
from aiida_mlal.workflows.codes import codes_of
from aiida_mlal.workflows.endings import failure_words
from aiida_mlal.workflows.labelling.lookup import check_label, check_stress, labelling_of
from aiida_mlal.workflows.pilot import after_pilot, check_pilot, unwatched
from aiida_mlal.workflows.ports import called, check_names, fill, names
from aiida_mlal.workflows.recipes import ENGINE, engine_of, recipe_inputs
from aiida_mlal.workflows.simulation.base import SIMULATION, plan_of


class OfflineWorkChain(CampaignWorkChain):
    """Train, simulate, label some of what was seen, and again until it is right.

    Where simulations begin after the first iteration is decided by the start, what is labelled by
    the query, how by any WorkChain with the interface of ``LabellingWorkChain``, and when it is
    enough by the stops.
    """

    ROLES: ClassVar[tuple[str, ...]] = ("train", "simulate", "select", "label")
    RECIPES: ClassVar[dict[str, str]] = {
        "gp": "relaxation by Gaussian processes",
        "network": "relaxation by networks",
        "bootstrap": "bootstrapping",
        "neb": "path by Gaussian processes",
        "md": "bootstrapping in molecular dynamics",
    }
    """Sets of protocols, and what a campaign by them is called."""

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, outputs, the outline and exit codes."""
        super().define(spec)
        spec.input(
            "structures",
            valid_type=(*STRUCTURES, DatasetData),
            help="Where simulations begin: one for each structure, or several such as the "
            "ends of a path.",
        )
        spec.input(
            "fixed",
            valid_type=List,
            serializer=to_aiida_type,
            required=False,
            help="Atoms that do not move: an index for each, or [index, [x, y, z]] with three "
            "booleans for one that is fixed along some directions.",
        )
        spec.inputs["potential"].help = "Runs the first simulations instead of one trained."
        spec.input(
            "pilot",
            valid_type=Dict,
            serializer=to_aiida_type,
            required=False,
            help='A model that needs no labels, such as `{"architecture": "sevennet"}`, which '
            "relaxes the structures before any is labelled: the campaign begins where it ends.",
        )
        spec.input(
            "simulation",
            valid_type=Dict,
            serializer=to_aiida_type,
            help='Name and options of the simulation, such as `{"name": "relax"}`.',
        )
        spec.input(
            "start",
            valid_type=Dict,
            serializer=to_aiida_type,
            default=lambda: Dict({"name": "given"}),
            help="Where simulations begin after the first iteration: `given`, always at the "
            "structures, or `best`, at the best label, as far from there as the model is right.",
        )
        spec.input(
            "first_query",
            valid_type=Dict,
            serializer=to_aiida_type,
            required=False,
            help="Chooses which of the structures are labelled before any potential has learned "
            'something, such as `{"name": "maxvol"}`; all are without it. None are where labels '
            "are given.",
        )
        spec.input(
            "simulating",
            valid_type=Str,
            serializer=to_aiida_type,
            default=lambda: Str(ENGINE),
            validator=SIMULATION.validate,
            help="Entry point of the WorkChain that runs simulations.",
        )
        spec.input_namespace(
            "simulate", dynamic=True, help="Its inputs, without those of the campaign."
        )
        spec.expose_inputs(
            IterateCalculation,
            namespace="iterate",
            include=("code", "metadata"),
            namespace_options={
                "required": False,
                "populate_defaults": False,
                "validator": None,
                "help": "Train, simulate and choose in one job, which waits once in the queue. "
                "What it does not come to is done as without.",
            },
        )
        spec.inputs.validator = validate

        spec.outputs["potential"].help = "The last one: it ran the last simulations."
        spec.output(
            "relaxed",
            valid_type=DatasetData,
            required=False,
            help="The last frame of each of the last simulations, with its label if it has one.",
        )
        spec.output(
            "structure",
            valid_type=StructureData,
            required=False,
            help="The one of `relaxed` with the smallest labelled force, and stress where its "
            "cell moved; of paths the saddle point.",
        )
        spec.output(
            "paths",
            valid_type=Dict,
            required=False,
            help="Profile, barriers and saddle point of each path, predicted and labelled: "
            "`paths`, see `aiida_mlal.ml.paths`.",
        )

        step: Any = cls
        spec.outline(
            step.begin,
            if_(step.pilot_is_due)(step.pilot, step.take_pilot),
            if_(step.first_choice_is_due)(step.choose_first, step.take_first),
            if_(step.initial_labels_are_due)(step.label, step.take_labels),
            while_(step.is_going_on)(
                if_(step.one_job_is_due)(step.iterate, step.take_iteration),
                if_(step.training_is_due)(step.train, step.take_potential),
                if_(step.simulation_is_due)(step.simulate, step.take_trajectory),
                if_(step.choice_is_due)(step.choose, step.take_selection),
                if_(step.labels_are_due)(step.label, step.take_labels),
                step.check,
                if_(step.start_moves)(step.move_start),
            ),
            step.end,
        )
        spec.exit_code(
            422,
            "ERROR_LABELS_WITHOUT_STRESS",
            message="The simulation moves the cell, and it cannot be judged where to: {why}",
        )
        spec.exit_code(441, "ERROR_SIMULATION_FAILED", message="{process} failed: {why}")

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode | str | Mapping[str, AbstractCode | str],
        structure: StructureData | DatasetData,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        labels: str | Mapping[str, Any] = "emt",
        options: Mapping[str, Any] | None = None,
        fixed: list[Any] | None = None,
        recipe: str | None = None,
        one_job: bool = False,
        **kwargs: Any,
    ) -> ProcessBuilder:
        """Return a builder that is ready to be run.

        Parameters
        ----------
        code
            The command ``mlal``. Where another code is needed, codes by name: ``mlal`` for all,
            and ``train``, ``simulate``, ``select`` and ``label`` for one step each. Labels of
            Quantum ESPRESSO want ``label``, the code of pw.x.
        structure
            Where the simulation begins, or several of them.
        protocol
            ``fast``, ``balanced`` or ``stringent``; it goes for the labelling WorkChain as well.
        overrides
            Of any inputs, nested as they are. Options with a ``name`` or an ``architecture``
            replace those of the protocol, others are merged with them.
        labels
            An ASE calculator by name, or by name and options; or ``quantumespresso``, or the entry
            point of another labelling WorkChain.
        options
            Of all jobs, such as resources.
        fixed
            Atoms that do not move.
        recipe
            Which set of protocols, the first of ``RECIPES`` if it isn't said. Those of ``gp`` label
            the ends of relaxations until the labels say that they are relaxed, with Gaussian
            processes, each time from the best label on; those of ``network`` with networks on a
            prior, always from the start. Those of ``bootstrap`` relax cells as well, with a moment
            tensor potential, and label what it extrapolates to until it does not any more; those
            of ``md`` do so in molecular dynamics. Those of ``neb`` relax two ends and find the path
            between them, with Gaussian processes, and label the ends and the saddle point. Of
            `mlal.online`, those of ``online`` relax, and those of ``saddle`` look for a saddle
            point, both with Gaussian processes.
        one_job
            Whether an iteration trains, simulates and chooses in one job, by the code that
            simulates, instead of three: for clusters where jobs wait long.
        kwargs
            Passed on to the builder of the labelling WorkChain, such as ``electronic_type``.
        """
        codes = codes_of(code, cls.ROLES)
        overrides = protocols.as_overrides(overrides)
        if "structures" in overrides:
            raise ValueError("overrides.structures: they are an argument of their own")
        cls.check_overrides(overrides)
        label_overrides = overrides.pop("label", {})

        recipe = recipe or next(iter(cls.RECIPES))
        if recipe not in cls.RECIPES:
            raise ValueError(f"unknown recipe {recipe!r}{suggest(recipe, cls.RECIPES)}")
        inputs = recipe_inputs(recipe, protocol, overrides)
        simulating = SIMULATION.buildable(engine_of(inputs), "usual_inputs", "SimulationWorkChain")
        simulation = simulating.plan(inputs["simulation"])
        begun = calcfunctions.beginnings(structure, None)
        inputs["model"] = _foreseen(inputs["model"], begun)
        inputs["labelling"], asked = labelling_of(labels, overrides.get("labelling"))
        query = plugins.make("strategies", inputs["query"], "query")
        unsaid = isinstance(structure, DatasetData) and "n" not in overrides.get("query", {})
        if query.wants_final and unsaid:
            runs = len(simulation.groups(begun))
            if query.n < runs:
                inputs["query"]["n"] = runs
        label = label_inputs(
            inputs["labelling"],
            codes["label"],
            structure,
            protocol,
            label_overrides,
            options,
            **asked,
            **kwargs,
        )
        inputs = cls.job_inputs(codes, inputs, options) | {"structures": structure}
        with within("simulate"):
            engine_builder = simulating.get_builder()  # which makes nodes of values
            fill(
                engine_builder,
                simulating.usual_inputs(codes["simulate"], inputs.pop("simulate", {}), options),
            )
        if fixed is not None:
            inputs["fixed"] = list(fixed)
        if one_job:
            inputs["iterate"] = {
                "code": codes["simulate"],
                "metadata": {"options": options} if options else {},
            }
        builder = cls.get_builder()
        fill(builder, inputs)
        builder["label"] = label
        builder["simulate"] = engine_builder._inputs(prune=True)
        what = ", ".join(DatasetData(begun).base.attributes.get("formulas"))
        name_campaign(builder, f"{cls.RECIPES[recipe]} of {what}", protocol, labels)
        return builder

    def begin(self) -> None:
        """Find out where to begin, and what has to be labelled first."""
        inputs = self.inputs
        self.begin_context()
        self.ctx.simulated = False
        self.ctx.simulation = inputs.simulation
        fixed = {"fixed": inputs.fixed} if "fixed" in inputs else {}
        self._begin_at(inputs.structures, "begin", **fixed)

    def _begin_at(self, structures: Data, link: str, **fixed: Any) -> None:
        """Collect where simulations begin, and what of it has to be labelled first."""
        inputs = self.inputs
        known = ("dataset", "potential", "first_query")
        given = {name: inputs[name] for name in known if name in inputs}
        outputs: Any = calcfunctions.begin(  # type: ignore[call-arg]
            structures=structures,
            query=inputs.query,
            stop=inputs.stop,
            metadata={"call_link_label": link},
            **given,
            **fixed,
        )
        self.ctx.structures = self.ctx.scope = outputs["structures"]
        self.ctx.query = outputs.get("query", inputs.query)
        self.ctx.pop("unlabelled", None)
        if "unlabelled" in outputs:
            self.ctx.unlabelled = outputs["unlabelled"]
        if "first_query" in inputs:
            self.ctx.first_query = outputs.get("first_query", inputs.first_query)

    def pilot_is_due(self) -> bool:
        """Whether another model goes ahead."""
        return "pilot" in self.inputs

    def pilot(self) -> None:
        """Relax the structures by the model that goes ahead."""
        build: Any = calcfunctions.untrained
        potential = build(
            model=self.inputs.pilot,
            seed=self.inputs.seed,
            structures=self.ctx.structures,
            metadata={"call_link_label": "build_pilot"},
        )
        alone: Any = unwatched
        simulation = alone(self.inputs.simulation, metadata={"call_link_label": "unwatched"})
        self._simulate("pilot", potential, simulation)

    def take_pilot(self) -> None:
        """Begin where it ended; where it failed, at what is given."""
        child = self.ctx.child
        if not child.is_finished_ok:
            words = failure_words(child)
            self._tell(f"without a pilot, {words['process']} failed: {words['why']}")
            return
        end: Any = after_pilot
        structures = end(
            simulating=self.inputs.simulating,
            simulation=self.inputs.simulation,
            structures=self.ctx.structures,
            trajectory=child.outputs.trajectory,
            results=child.outputs.results,
            metadata={"call_link_label": "after_pilot"},
        )
        self._begin_at(structures, "begin_after_pilot")
        self._tell(f"{len(child.outputs.trajectory)} frames by the pilot, {_ends(child.outputs)}")

    def first_choice_is_due(self) -> bool:
        """Whether only some of the structures get the first labels."""
        return "first_query" in self.ctx and "unlabelled" in self.ctx

    def choose_first(self) -> None:
        """Choose what is labelled before any potential has learned something."""
        self._select_first(self.ctx.unlabelled, self.ctx.first_query)

    def take_first(self) -> ExitCode | None:
        """Take what was chosen, and see what that leaves of the budget."""
        problem = self.take_selection()
        if problem is not None or "unlabelled" not in self.ctx:
            return problem or self._finish("ERROR_NOTHING_TO_QUERY", reason="nothing is labelled")
        afford: Any = calcfunctions.afford
        outputs = afford(
            query=self.ctx.query,
            stop=self.inputs.stop,
            chosen=self.ctx.unlabelled,
            metadata={"call_link_label": "afford"},
        )
        self.ctx.query = outputs.get("query", self.ctx.query)
        return None

    def is_going_on(self) -> bool:
        """Tell if there is another iteration, in which nothing is chosen yet."""
        self.ctx.chosen = False
        return super().is_going_on()

    def one_job_is_due(self) -> bool:
        """Whether one job trains, simulates and chooses."""
        return "iterate" in self.inputs and (self.training_is_due() or self.simulation_is_due())

    def iterate(self) -> None:
        """Train, simulate and choose in one job, each as the steps do that follow."""
        inputs = self.exposed_inputs(IterateCalculation, "iterate")
        if self.training_is_due():
            training = self._training().train
            inputs.train = {k: v for k, v in training.items() if k not in ("code", "metadata")}
        else:
            inputs.potential = self.ctx.potential
        inputs.simulate = {"structures": self.ctx.structures, "simulation": self.ctx.simulation}
        inputs.select = self._choice()
        self._submit("iteration", "iterate", IterateCalculation, inputs)

    def take_iteration(self) -> None:
        """Take what the job completed; the steps that follow do the rest, with their restarts."""
        child = self.ctx.child
        if not child.is_finished_ok:
            words = failure_words(child)
            self._tell(f"{words['process']} failed, on with single jobs: {words['why']}")
        done = {step: child.outputs[step] for step in STEPS if step in child.outputs}
        if "train" in done and done["train"].results["status"] == OK:
            self._take_potential(done["train"])
        if self.ctx.trained and "simulate" in done and done["simulate"].results["status"] == OK:
            self._take_trajectory(done["simulate"])
            if child.is_finished_ok and self.choice_is_due():
                self._take_selection(done["select"])
                self.ctx.chosen = True

    def _take_potential(self, outputs: Any) -> None:
        """Take the potential, which has run no simulations yet."""
        self.ctx.simulated = False
        super()._take_potential(outputs)

    def take_labels(self) -> ExitCode | None:
        """Extend the data set; labels without stress are of no use where a cell moves."""
        code = super().take_labels()
        if code is not None:
            return code
        try:
            _simulation(self.inputs).moving_cell.check_labels(self.ctx.dataset.configurations)
        except ValueError as error:
            return self._finish("ERROR_LABELS_WITHOUT_STRESS", why=error)
        return None

    def simulation_is_due(self) -> bool:
        """Whether the simulations have not been run with the present potential."""
        return not self.ctx.simulated

    def simulate(self) -> None:
        """Run the simulations."""
        self._simulate("simulate", self.ctx.potential, self.ctx.simulation)

    def _simulate(self, step: str, potential: PotentialData, simulation: Dict) -> None:
        """Run simulations from the structures where they begin now."""
        inputs = {
            **self.inputs.get("simulate", {}),
            "potential": potential,
            "structures": self.ctx.structures,
            "simulation": simulation,
        }
        workflow = WorkflowFactory(self.inputs.simulating.value)
        self._submit("simulation", step, workflow, inputs)

    def take_trajectory(self) -> ExitCode | None:
        """Take the frames, if there are any."""
        child = self.ctx.child
        if not child.is_finished_ok:
            return self._fail("ERROR_SIMULATION_FAILED", child)
        self._take_trajectory(child.outputs)
        return None

    def _take_trajectory(self, outputs: Any) -> None:
        """Take the outputs of a simulation."""
        self.ctx.simulated = True
        self.ctx.trajectory, self.ctx.results = outputs.trajectory, outputs.results
        self._tell(f"simulated {len(self.ctx.trajectory)} frames, {_ends(outputs)}")

    def choice_is_due(self) -> bool:
        """Whether frames of the simulations may be worth labels."""
        if self.ctx.chosen:
            return False
        chosen = stops.parse(self.inputs.stop.get_list())
        runs = self.ctx.results.get_dict().get("runs", [])
        frames, known = self.ctx.trajectory.configurations, self.ctx.dataset.configurations
        return not stops.are_met_by(chosen, runs, frames, known)

    def candidates(self) -> dict[str, Any]:
        """Return the frames of the simulations."""
        return {"pool": self.ctx.trajectory}

    def judge(self, given: Mapping[str, Any], metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        """Judge by the labels at the ends of the simulations."""
        judged: Any = calcfunctions.check(  # type: ignore[call-arg]
            stop=self.inputs.stop,
            query=self.inputs.query,
            dataset=self.ctx.dataset,
            trajectory=self.ctx.trajectory,
            results=self.ctx.results,
            metadata=metadata,
            **given,
        )
        return judged

    def start_moves(self) -> bool:
        """Whether the next simulations may begin from other structures, or another one is to."""
        kind: Any = plugins.find("starts", self.inputs.start["name"])
        return bool(self.ctx.outcome == "go on" and kind.moves)

    def move_start(self) -> None:
        """Find where the next simulations begin, and how far they may go.

        Where nothing was labelled, they go on with the same potential if that is elsewhere.
        """
        move: Any = calcfunctions.move_start
        new = {"labelled": self.ctx.new} if self.ctx.going_on else {}
        moved = move(
            start=self.inputs.start,
            simulating=self.inputs.simulating,
            simulation=self.ctx.simulation,
            structures=self.ctx.structures,
            trajectory=self.ctx.trajectory,
            dataset=self.ctx.dataset,
            results=self.ctx.results,
            stop=self.inputs.stop,
            given=self.ctx.scope,
            metadata={"call_link_label": f"move_start_{self.ctx.iteration:02d}"},
            **new,
        )
        if not self.ctx.going_on:
            keys = (one.configurations.keys for one in (moved["structures"], self.ctx.structures))
            self.ctx.going_on, self.ctx.simulated = len({*map(tuple, keys)}) > 1, False
        for name, node in moved.items():
            self.ctx[name] = node

    def attach(self) -> None:
        """Attach the ends of the last simulations."""
        if "trajectory" in self.ctx and "dataset" in self.ctx:
            outputs: Any = calcfunctions.last_frames(  # type: ignore[call-arg]
                trajectory=self.ctx.trajectory,
                dataset=self.ctx.dataset,
                results=self.ctx.results,
                metadata={"call_link_label": "last_frames"},
            )
            for name, node in outputs.items():
                self.out(name, node)


def validate(inputs: Mapping[str, Any], ports: PortNamespace) -> str | None:
    """Find mistakes before anything is submitted: names at any depth, options, what fits what."""
    try:
        check_names(inputs, names(ports) | dict.fromkeys(EXCHANGEABLE))
        if any(port.required and name not in inputs for name, port in ports.items()):
            return None  # the ports say it themselves
        _check_options(inputs)
        _check_structures(inputs)
        _check_label(inputs)
    except (ValueError, plugins.PluginError) as error:
        return str(error)
    return None


def _check_options(inputs: Mapping[str, Any]) -> None:
    from aiida_mlal.ml.models.factory import ModelOptions  # which needs torch

    given = {name: inputs[name].get_dict() for name in OPTIONS if name in inputs}
    simulation = _simulation(inputs)
    check_campaign(inputs, simulation)
    query = plugins.make("strategies", given["query"], "query")
    chosen = stops.parse(inputs["stop"].get_list())
    start = inputs["start"].get_dict() if "start" in inputs else {"name": "given"}
    if plugins.make("starts", start, "start").moves and not query.wants_final:
        raise ValueError(
            f"start: {start['name']!r} goes by labels of the last frames of simulations, "
            f"which the query {given['query']['name']!r} does not label: choose 'final', or "
            "'given' as start"
        )

    if not query.wants_final and (watching := _watches_ends(chosen)):
        name = plugins.name_of("stops", type(watching[0]))
        known = plugins.usable("strategies")
        good = [name for name, strategy in known.items() if strategy.wants_final]
        raise ValueError(
            f"stop {name!r} judges the last frames of simulations, which the query "
            f"{given['query']['name']!r} does not label: choose one of {good}"
        )
    training = ModelOptions.parse(given["model"]).training(given.get("training", {}))
    if simulation.moving_cell and not training.loss.stress:
        raise ValueError(
            "training.loss.stress: the simulation moves the cell, and a potential that learns no "
            "stress does not know where to: expected a weight above 0"
        )
    if "iterate" in inputs and inputs["simulating"].value != ENGINE:
        raise ValueError(
            f"iterate: one job trains, simulates and chooses by the command mlal, that is with "
            f"{called('simulating')} of {ENGINE!r}, got {inputs['simulating'].value!r}"
        )
    with within("simulation"):
        simulation.check_model(ModelOptions.parse(given["model"]))
    guard: Any = getattr(simulation, "guard", None)
    if guard is None:
        return
    with within("simulation"):
        guard.check_model(ModelOptions.parse(given["model"]), trained_for(given))
        measure = guard.choose(measure_for(given), simulation.moving_cell)
        guard.check_cell(measure, simulation.moving_cell)
    for i, stop in enumerate(chosen):
        with within(f"stop[{i}]"), plugins.named("stops", stop):
            stop.check_cell(measure, simulation.moving_cell)
    watched = guard.select is not None or guard.break_ is not None
    if watched and guard.uncertainty is None and not is_measured(given):
        raise without_uncertainty("simulation.guard: 'select' and 'break' need")


def _ends(outputs: Any) -> str:
    """Say how the runs of a simulation ended, and the first thing that one has to say."""
    runs = outputs.results.get_dict().get("runs", [])
    ends = [run["reason"] for run in runs]
    counts = ", ".join(f"{ends.count(end)} {end}" for end in sorted(set(ends)))
    return "; ".join(filter(None, [f"runs ended: {counts}", first_message(runs)]))


def _simulation(inputs: Mapping[str, Any]) -> Plan:
    """Return the plan of the simulations."""
    return plan_of(inputs["simulating"].value, inputs["simulation"].get_dict())


def _foreseen(model: Mapping[str, Any], begun: Configurations) -> dict[str, Any]:
    """Return the options of the model, what they leave open decided by where simulations begin."""
    from aiida_mlal.ml.models.factory import ModelOptions

    return ModelOptions.foreseen(model, begun)


def _watches_ends(chosen: list[stops.Stop]) -> list[stops.Stop]:
    """Return the stops that need labels of the last frames."""
    return [stop for stop in chosen if "ends" in stop.looks_at]


def _check_structures(inputs: Mapping[str, Any]) -> None:
    start = calcfunctions.beginnings(inputs["structures"], inputs.get("fixed"))
    if not len(start):
        raise ValueError("structures: there is none to begin with")
    limits = inputs.get("label", {}).get("limits")
    limits = Limits() if limits is None else build(Limits, limits.get_dict(), "label.limits")
    for i, structure in enumerate(start):
        status, reason = check_geometry(structure, limits)
        if status != OK:
            raise ValueError(f"structures: number {i} ({structure.formulas[0]}): {reason}")
    simulation = _simulation(inputs)
    with within("structures"):
        start.check_movable()
        simulation.check(start)
        if not any(simulation.can_move(run) for run in simulation.groups(start)):
            raise ValueError(
                "nothing would move in any simulation: all atoms are fixed, or move together alone"
            )
    if "pilot" in inputs:
        check_pilot(inputs["pilot"].get_dict(), simulation, start)
    moving = simulation.moving_cell
    if moving:
        check_stress(inputs["labelling"].value, inputs.get("label", {}))
    check_elements(inputs, start.elements)
    n, runs = strategy_of(inputs["query"]).n_final, len(simulation.groups(start))
    if n < runs and _watches_ends(stops.parse(inputs["stop"].get_list())):
        raise ValueError(
            f"query.n: {runs} simulations have as many last frames, and a stop wants labels "
            f"of them all: expected n of {runs} or more, got {n}"
        )
    dataset = inputs.get("dataset")
    if dataset is not None:
        with within("dataset"):
            moving.check_labels(dataset.configurations)
    if "potential" in inputs or "first_query" in inputs:  # nothing yet that the budget pays for
        return
    known = Configurations.empty() if dataset is None else dataset.configurations
    new = len(calcfunctions.unknown(start, known))
    check_budget(inputs["stop"], new, new + len(known.learnable))


def _check_label(inputs: Mapping[str, Any]) -> None:
    structures = inputs["structures"]
    if not isinstance(structures, DatasetData):
        structures = DatasetData(calcfunctions.beginnings(structures, None))
    check_label(inputs["labelling"].value, inputs.get("label", {}), structures)
    SIMULATION.check_inputs(
        inputs["simulating"].value,
        inputs.get("simulate", {}),
        {"structures": structures, "simulation": inputs["simulation"]},
        "simulate",
    )
    check_known(inputs)
