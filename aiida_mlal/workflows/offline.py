"""Offline active learning: simulations run to their end, then some of their frames are labelled."""

from collections.abc import Mapping
from typing import Any

from aiida.common.exceptions import EntryPointError
from aiida.engine import ExitCode, ProcessBuilder, WorkChain, if_, while_
from aiida.engine.processes.ports import PortNamespace
from aiida.orm import (
    AbstractCode,
    Bool,
    Dict,
    Float,
    Int,
    List,
    ProcessNode,
    Str,
    StructureData,
    load_code,
    to_aiida_type,
)
from aiida.plugins import WorkflowFactory
from aiida.plugins.entry_point import get_entry_point_names

from aiida_mlal import protocols
from aiida_mlal.calculations.select import SelectCalculation
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.potential import PotentialData
from aiida_mlal.data.selection import SelectionData
from aiida_mlal.data.structures import STRUCTURES
from aiida_mlal.ml import parts, stops
from aiida_mlal.ml.options import build, suggest
from aiida_mlal.ml.selection.final_uncertainty import FinalUncertainty
from aiida_mlal.ml.selection.uncertainty import MostUncertain
from aiida_mlal.workflows import steps
from aiida_mlal.workflows.labelling.base import check_interface, share
from aiida_mlal.workflows.ports import check_names, fill, names
from aiida_mlal.workflows.simulate import SimulateBaseWorkChain
from aiida_mlal.workflows.train import TrainBaseWorkChain

OPTIONS = {
    "model": 'Architecture and its options, such as `{"architecture": "bpnn", "ensemble": 5}`.',
    "training": "Options of training.",
    "simulation": 'Name and options of the simulation, such as `{"name": "relax"}`.',
    "query": 'Name and options of the query strategy, such as `{"name": "final", "n": 2}`.',
    "filters": "What is not worth a label.",
}
"""Inputs that are options, and what they are."""

TRAIN_INPUTS = tuple(f"train.{x}" for x in ("dataset", "model", "training", "seed", "initial"))
SIMULATE_INPUTS = tuple(f"simulate.{x}" for x in ("potential", "structures", "simulation"))
SELECT_INPUTS = ("potential", "pool", "train", "query", "filters", "seed")


class OfflineWorkChain(WorkChain):
    """Train, simulate, label some of what was seen, and again until it is right.

    All simulations begin where they began in the first iteration. What is labelled is decided by
    the query, how by any WorkChain with the interface of ``LabellingWorkChain``, and when it is
    enough by the stops. Whatever way the campaign ends, its outputs are what was achieved.
    """

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, outputs, the outline and exit codes."""
        super().define(spec)
        spec.input(
            "structures",
            valid_type=(*STRUCTURES, DatasetData),
            help="Where simulations begin, one for each structure.",
        )
        spec.input(
            "fixed",
            valid_type=List,
            serializer=to_aiida_type,
            required=False,
            help="Atoms that do not move: an index for each, or [index, [x, y, z]] with three "
            "booleans for one that is fixed along some directions.",
        )
        spec.input(
            "dataset",
            valid_type=DatasetData,
            required=False,
            help="Labels of an earlier campaign, to go on from.",
        )
        spec.input(
            "potential",
            valid_type=PotentialData,
            required=False,
            help="Runs the first simulations instead of one trained on `dataset`.",
        )
        for name, about in OPTIONS.items():
            spec.input(name, valid_type=Dict, serializer=to_aiida_type, help=about)
        spec.inputs["training"].default = lambda: Dict({})
        spec.inputs["filters"].default = lambda: Dict({})
        spec.input(
            "stop",
            valid_type=List,
            serializer=to_aiida_type,
            help='When to end, such as `[{"name": "oracle_force", "fmax": 0.03}, '
            '{"name": "iterations", "n": 25}]`.',
        )
        spec.input(
            "seed",
            valid_type=Int,
            serializer=to_aiida_type,
            default=lambda: Int(0),
            help="Of everything random.",
        )
        spec.input(
            "labelling",
            valid_type=Str,
            serializer=to_aiida_type,
            validator=validate_labelling,
            help="Entry point of the WorkChain that labels, such as `mlal.label.ase`.",
        )
        spec.input_namespace("label", dynamic=True, help="Its inputs, without the structures.")
        spec.input(
            "allow_mixed_labels",
            valid_type=Bool,
            serializer=to_aiida_type,
            default=lambda: Bool(False),
            help="Whether labels of different codes or parameters may be learned from together.",
        )
        spec.input(
            "max_failed_share",
            valid_type=Float,
            serializer=to_aiida_type,
            default=lambda: Float(0.75),
            validator=share,
            help="The campaign ends if a larger share of all labels asked for failed.",
        )
        spec.expose_inputs(TrainBaseWorkChain, namespace="train", exclude=TRAIN_INPUTS)
        spec.expose_inputs(SimulateBaseWorkChain, namespace="simulate", exclude=SIMULATE_INPUTS)
        spec.expose_inputs(SelectCalculation, namespace="select", exclude=SELECT_INPUTS)
        spec.inputs.validator = validate

        spec.output(
            "potential",
            valid_type=PotentialData,
            required=False,
            help="The last one: it ran the last simulations.",
        )
        spec.output(
            "dataset",
            valid_type=DatasetData,
            required=False,
            help="All structures that were labelled, or tried in vain.",
        )
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
            help="The one of `relaxed` with the smallest labelled force.",
        )
        spec.output_namespace(
            "selections", valid_type=SelectionData, help="What was chosen in each iteration."
        )
        spec.output(
            "curve",
            valid_type=Dict,
            required=False,
            help="The learning curve: `rows`, one for each iteration.",
        )

        step: Any = cls
        spec.outline(
            step.begin,
            if_(step.initial_labels_are_due)(step.label, step.take_labels),
            while_(step.is_going_on)(
                if_(step.training_is_due)(step.train, step.take_potential),
                if_(step.simulation_is_due)(step.simulate, step.take_trajectory),
                step.choose,
                step.take_selection,
                if_(step.labels_are_due)(step.label, step.take_labels),
                step.check,
            ),
            step.end,
        )
        spec.exit_code(
            410, "ERROR_OUT_OF_BUDGET", message="The budget is spent before convergence: {reason}"
        )
        spec.exit_code(
            411,
            "ERROR_NOTHING_TO_QUERY",
            message="Nothing is left that is worth a label, before convergence: {reason}",
        )
        spec.exit_code(
            420, "ERROR_TOO_MANY_FAILED", message="{failed} of {total} labels failed: {reason}"
        )
        spec.exit_code(421, "ERROR_LABELLING_FAILED", message="{process} gave no data set: {why}")
        spec.exit_code(
            steps.MIXED_LABELS, "ERROR_MIXED_LABELS", message="Labels do not fit together: {why}"
        )
        spec.exit_code(440, "ERROR_TRAINING_FAILED", message="{process} failed: {why}")
        spec.exit_code(441, "ERROR_SIMULATION_FAILED", message="{process} failed: {why}")
        spec.exit_code(442, "ERROR_SELECTION_FAILED", message="{process} failed: {why}")

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
        kwargs
            Passed on to the builder of the labelling WorkChain, such as ``electronic_type``.
        """
        codes = _codes(code)
        overrides = dict(overrides or {})
        known = names(cls.spec().inputs) | {"label": None}  # which is for its own builder to check
        check_names(overrides, known, "overrides")
        label_overrides = overrides.pop("label", {})

        inputs = protocols.inputs("offline", protocol, overrides)
        entry_point, kwargs["calculator"] = _labelling(labels)
        if "labelling" in overrides:
            entry_point = overrides["labelling"]
        inputs["labelling"] = entry_point
        if isinstance(structure, DatasetData) and "n" not in overrides.get("query", {}):
            inputs["query"]["n"] = max(len(structure), inputs["query"].get("n", 1))
        workflow = _labelling_class(entry_point)
        label = workflow.get_builder_from_protocol(
            codes["label"],
            structure,
            protocol=protocol,
            overrides=label_overrides,
            options=options,
            **kwargs,
        )._inputs(prune=True)
        label.pop("dataset", None)

        for step in ("train", "simulate"):
            inputs[step] = protocols.merge({step: {"code": codes[step]}}, inputs.get(step, {}))
        inputs["select"] = protocols.merge({"code": codes["select"]}, inputs.get("select", {}))
        if options:
            for metadata in (inputs["train"]["train"], inputs["simulate"]["simulate"]):
                metadata["metadata"] = protocols.merge(
                    {"options": options}, metadata.get("metadata", {})
                )
        inputs |= {"structures": structure, "label": label}
        if fixed is not None:
            inputs["fixed"] = list(fixed)
        builder = cls.get_builder()
        fill(builder, {key: value for key, value in inputs.items() if key != "label"})
        builder["label"] = label
        what = ", ".join(
            DatasetData(steps.beginnings(structure, None)).base.attributes.get("formulas")
        )
        builder["metadata"]["label"] = f"offline learning of {what}"
        builder["metadata"]["description"] = (
            f"protocol {protocol or 'default'}, labels by {_name(labels)}"
        )
        return builder

    # Each pair of steps submits a process and takes what it gave.

    def begin(self) -> None:
        """Find out where to begin, and what has to be labelled first."""
        inputs = self.inputs
        self.ctx.iteration = 0
        self.ctx.going_on, self.ctx.outcome, self.ctx.verdict = True, "", ""
        self.ctx.trained, self.ctx.simulated = "potential" in inputs, False
        self.ctx.query = inputs.query
        for name in ("dataset", "potential"):
            if name in inputs:
                self.ctx[name] = inputs[name]
        given = {k: inputs[k] for k in ("fixed", "dataset", "potential") if k in inputs}
        found: Any = steps.begin(  # type: ignore[call-arg]
            structures=inputs.structures,
            query=inputs.query,
            stop=inputs.stop,
            metadata={"call_link_label": "begin"},
            **given,
        )
        self.ctx.structures = found["structures"]
        for name in ("unlabelled", "query"):
            if name in found:
                self.ctx[name] = found[name]

    def initial_labels_are_due(self) -> bool:
        """Return whether some structures have no label to begin with."""
        return "unlabelled" in self.ctx

    def is_going_on(self) -> bool:
        """Return whether there is another iteration, and count it."""
        if self.ctx.going_on:
            self.ctx.iteration += 1
        return bool(self.ctx.going_on)

    def training_is_due(self) -> bool:
        """Return whether there are labels that no potential has learned from."""
        return not self.ctx.trained

    def train(self) -> None:
        """Train on all labels."""
        inputs = self.exposed_inputs(TrainBaseWorkChain, "train")
        inputs.train.update(
            dataset=self.ctx.dataset,
            model=self.inputs.model,
            training=self.inputs.training,
            seed=self.inputs.seed,
        )
        self._submit("training", "train", TrainBaseWorkChain, inputs)

    def take_potential(self) -> ExitCode | None:
        """Take the potential, if there is one."""
        child = self.ctx.child
        if not child.is_finished_ok:
            return self._fail("ERROR_TRAINING_FAILED", child)
        self.ctx.potential = child.outputs.potential
        self.ctx.trained, self.ctx.simulated = True, False
        errors = child.outputs.results.get_dict().get("errors", {}).get("train") or {}
        self._tell(f"trained on {self._n_learnable()} structures{_errors(errors)}")
        return None

    def simulation_is_due(self) -> bool:
        """Return whether the potential has not run the simulations."""
        return not self.ctx.simulated

    def simulate(self) -> None:
        """Run the simulations, always from where they began."""
        inputs = self.exposed_inputs(SimulateBaseWorkChain, "simulate")
        inputs.simulate.update(
            potential=self.ctx.potential,
            structures=self.ctx.structures,
            simulation=self.inputs.simulation,
        )
        self._submit("simulation", "simulate", SimulateBaseWorkChain, inputs)

    def take_trajectory(self) -> ExitCode | None:
        """Take the frames, if there are any."""
        child = self.ctx.child
        if not child.is_finished_ok:
            return self._fail("ERROR_SIMULATION_FAILED", child)
        self.ctx.simulated = True
        self.ctx.trajectory = child.outputs.trajectory
        self.ctx.results = child.outputs.results
        ends = [run["reason"] for run in child.outputs.results.get_dict().get("runs", [])]
        counts = ", ".join(f"{ends.count(end)} {end}" for end in sorted(set(ends)))
        self._tell(f"simulated {len(self.ctx.trajectory)} frames, runs ended: {counts}")
        return None

    def choose(self) -> None:
        """Choose which frames are labelled."""
        inputs = self.exposed_inputs(SelectCalculation, "select")
        query = self.ctx.query.get_dict()
        if parts.find("strategies", query["name"]).wants_potential:  # type: ignore[attr-defined]
            inputs.potential = self.ctx.potential
        inputs.update(
            pool=self.ctx.trajectory,
            train=self.ctx.dataset,
            query=self.ctx.query,
            filters=self.inputs.filters,
            seed=self.inputs.seed,
        )
        self._submit("selection", "select", SelectCalculation, inputs)

    def take_selection(self) -> ExitCode | None:
        """Take what was chosen, which may be nothing."""
        child = self.ctx.child
        if not child.is_finished_ok:
            return self._fail("ERROR_SELECTION_FAILED", child)
        selection = child.outputs.selection
        self.out(f"selections.iteration_{self.ctx.iteration:02d}", selection)
        self.ctx.pop("unlabelled", None)
        if "selected" in child.outputs and len(child.outputs.selected):
            self.ctx.unlabelled = child.outputs.selected
        return None

    def labels_are_due(self) -> bool:
        """Return whether something was chosen."""
        return "unlabelled" in self.ctx

    def label(self) -> None:
        """Label what was chosen, or at first what the simulations begin with."""
        workflow = WorkflowFactory(self.inputs.labelling.value)
        inputs = {**self.inputs.label, "dataset": self.ctx.unlabelled}
        self._submit("labels", "label", workflow, inputs)

    def take_labels(self) -> ExitCode | None:
        """Extend the data set, if labels fit to those that are there and enough succeeded."""
        child = self.ctx.child
        if "dataset" not in child.outputs:
            return self._fail("ERROR_LABELLING_FAILED", child)
        labelled = child.outputs.dataset
        self.ctx["labelled" if self.ctx.iteration else "initial"] = labelled
        known = {"dataset": self.ctx.dataset} if "dataset" in self.ctx else {}
        extend: Any = steps.extend
        extended, node = extend.run_get_node(
            labelled=labelled,
            allow_mixed_labels=self.inputs.allow_mixed_labels,
            metadata={"call_link_label": f"extend_{self.ctx.iteration:02d}"},
            **known,
        )
        if not node.is_finished_ok:
            return self._fail("ERROR_MIXED_LABELS", node)
        self.ctx.dataset = extended
        if self.ctx.iteration and steps.has_labels(labelled):
            self.ctx.trained = False
        status = labelled.configurations.status
        counts = ", ".join(f"{(status == word).sum()} {word}" for word in sorted(set(status)))
        self._tell(f"labelled {len(labelled)} structures ({counts})")
        failed, total = steps.failed_share(extended)
        if failed > self.inputs.max_failed_share.value * total or not steps.has_labels(extended):
            reasons = extended.configurations.info["reason"]
            unusable = extended.configurations.status != "ok"
            return self._finish(
                "ERROR_TOO_MANY_FAILED", failed=failed, total=total, reason=reasons[unusable][-1]
            )
        return None

    def check(self) -> None:
        """Judge whether the campaign goes on, and note a row of the learning curve."""
        names = ("labelled", "initial", "previous")
        given = {name: self.ctx.pop(name) for name in names if name in self.ctx}
        found: Any = steps.check(  # type: ignore[call-arg]
            stop=self.inputs.stop,
            query=self.inputs.query,
            dataset=self.ctx.dataset,
            trajectory=self.ctx.trajectory,
            results=self.ctx.results,
            metadata={"call_link_label": f"check_{self.ctx.iteration:02d}"},
            **given,
        )
        row = found["row"]
        self.ctx[f"row_{self.ctx.iteration:02d}"] = self.ctx.previous = row
        self.ctx.query = found.get("query", self.ctx.query)
        self.ctx.outcome, self.ctx.verdict = row["outcome"], row["reason"]
        self.ctx.going_on = row["outcome"] == "go on" and "labelled" in given
        self._tell(f"{row['labels']} labels, {row['outcome']}: {row['reason']}")

    def end(self) -> ExitCode | None:
        """Attach the outputs and say how the campaign ended."""
        if self.ctx.outcome == "converged":
            return self._finish("")
        label = (
            "ERROR_OUT_OF_BUDGET" if self.ctx.outcome == "exhausted" else "ERROR_NOTHING_TO_QUERY"
        )
        return self._finish(label, reason=self.ctx.verdict)

    def _submit(self, what: str, step: str, process: Any, inputs: Any) -> None:
        metadata = dict(inputs.get("metadata", {}))
        metadata["call_link_label"] = f"{step}_{self.ctx.iteration:02d}"
        metadata.setdefault("label", f"{what} {self.ctx.iteration}")
        self.to_context(child=self.submit(process, **{**inputs, "metadata": metadata}))

    def _tell(self, text: str) -> None:
        self.report(f"iteration {self.ctx.iteration}: {text}")

    def _n_learnable(self) -> int:
        return int(self.ctx.dataset.base.attributes.get("n_labelled"))

    def _fail(self, label: str, child: ProcessNode) -> ExitCode | None:
        why = child.exit_message or f"it was {child.process_state.value}"  # type: ignore[union-attr]
        return self._finish(label, process=f"{child.process_label}<{child.pk}>", why=why)

    def _finish(self, label: str, **words: Any) -> ExitCode | None:
        """Attach whatever there is, and return the exit code."""
        rows = {key: value for key, value in self.ctx.items() if key.startswith("row_")}
        if rows:
            gather: Any = steps.gather
            self.out("curve", gather(**rows, metadata={"call_link_label": "curve"}))
        for name in ("potential", "dataset"):
            if name in self.ctx:
                self.out(name, self.ctx[name])
        if "trajectory" in self.ctx and "dataset" in self.ctx:
            found: Any = steps.last_frames(  # type: ignore[call-arg]
                trajectory=self.ctx.trajectory,
                dataset=self.ctx.dataset,
                metadata={"call_link_label": "last_frames"},
            )
            for name, node in found.items():
                self.out(name, node)
        if not label:
            return None
        code: ExitCode = getattr(self.exit_codes, label).format(**words)
        return code


def validate_labelling(node: Str, _: Any) -> str | None:
    """Want an installed WorkChain with the interface of labelling."""
    try:
        _labelling_class(node.value)
    except ValueError as error:
        return str(error)
    return None


def validate(inputs: Mapping[str, Any], ports: PortNamespace) -> str | None:
    """Find mistakes before anything is submitted: names at any depth, options, what fits what."""
    try:
        check_names(inputs, names(ports) | {"label": None})
        if any(port.required and name not in inputs for name, port in ports.items()):
            return None  # the ports say it themselves
        _check_options(inputs)
        _check_structures(inputs)
        _check_label(inputs)
    except ValueError as error:
        return str(error)
    return None


def _check_options(inputs: Mapping[str, Any]) -> None:
    given = {name: inputs[name].get_dict() for name in OPTIONS if name in inputs}
    training = {key: given.get(key, {}) for key in ("model", "training")}
    build(parts.find("tasks", "train"), training)
    simulation = parts.make("simulations", given["simulation"], "simulation")
    query = parts.make("strategies", given["query"], "query")
    selection = {"strategy": given["query"], "filters": given.get("filters", {})}
    build(parts.find("tasks", "select"), selection)
    chosen = stops.parse(inputs["stop"].get_list())

    if not query.wants_final and (watching := _watches_ends(chosen)):
        name = parts.name_of("stops", type(watching[0]))
        known: dict[str, Any] = {s: parts.find("strategies", s) for s in parts.names("strategies")}
        good = [s for s, strategy in known.items() if strategy.wants_final]
        raise ValueError(
            f"stop {name!r} judges the last frames of simulations, which the query "
            f"{given['query']['name']!r} does not label: choose one of {good}"
        )
    guard: Any = getattr(simulation, "guard", None)
    if guard is None or guard.uncertainty is not None or given["model"].get("ensemble", 1) > 1:
        return
    reasons = {"simulation.guard: 'select' and 'break' need": guard.select or guard.break_}
    reasons[f"query {given['query']['name']!r} needs"] = isinstance(
        query, (MostUncertain, FinalUncertainty)
    )
    for reason, holds in reasons.items():
        if holds:
            raise ValueError(
                f"{reason} an uncertainty, and a single potential has none by default: give the "
                "model an 'ensemble' of 2 or more, or name one as simulation.guard.uncertainty"
            )


def _watches_ends(chosen: list[stops.Stop]) -> list[stops.Stop]:
    """Return the stops that need labels of the last frames."""
    return [stop for stop in chosen if isinstance(stop, (stops.OracleForce, stops.Agreement))]


def _check_structures(inputs: Mapping[str, Any]) -> None:
    start = steps.beginnings(inputs["structures"], inputs.get("fixed"))
    if not len(start):
        raise ValueError("structures: there is none to begin with")
    n = inputs["query"].get_dict().get("n", 1)
    if n < len(start) and _watches_ends(stops.parse(inputs["stop"].get_list())):
        raise ValueError(
            f"query.n: {len(start)} simulations have as many last frames, and a stop wants labels "
            f"of them all: expected n of {len(start)} or more, got {n}"
        )
    dataset, potential = inputs.get("dataset"), inputs.get("potential")
    if potential is not None:
        if not steps.has_labels(dataset):
            raise ValueError("potential: give the 'dataset' too that it was trained on")
        strange = sorted(set(start.elements) - set(potential.elements))
        if strange:
            raise ValueError(f"potential: it knows {potential.elements}, but not {strange}")
        return
    new = steps.unknown(start, None if dataset is None else dataset.configurations)
    left = stops.labels_left(stops.parse(inputs["stop"].get_list()), len(new))
    if left == 0:
        raise ValueError(
            f"stop: the budget of labels is spent on the {len(new)} structures to begin with"
        )


def _check_label(inputs: Mapping[str, Any]) -> None:
    spec = _labelling_class(inputs["labelling"].value).spec().inputs
    label = dict(inputs.get("label", {}))
    if "dataset" in label:
        raise ValueError("label.dataset: what is labelled is chosen by the campaign")
    check_names(label, names(spec), "label")
    structures = inputs["structures"]
    if not isinstance(structures, DatasetData):
        structures = DatasetData(steps.beginnings(structures, None))
    problem = spec.validate(spec.pre_process({**label, "dataset": structures}))
    if problem is not None:
        raise ValueError(f"label: {problem.message}")


def _codes(code: AbstractCode | str | Mapping[str, AbstractCode | str]) -> dict[str, AbstractCode]:
    given = dict(code) if isinstance(code, Mapping) else {"mlal": code}
    roles = ("train", "simulate", "select", "label")
    for role in given:
        if role not in ("mlal", *roles):
            raise ValueError(f"unknown role {role!r} of a code{suggest(role, ('mlal', *roles))}")
    missing = [role for role in roles if role not in given and "mlal" not in given]
    if missing:
        raise ValueError(f"no code for {missing}: give 'mlal' for all, or one for each")
    found = {role: given.get(role, given.get("mlal")) for role in roles}
    return {k: load_code(c) if isinstance(c, str) else c for k, c in found.items()}  # type: ignore[misc]


def _labelling(labels: str | Mapping[str, Any]) -> tuple[str, Any]:
    """Return the entry point that labels, and the calculator if it is one of ASE."""
    if isinstance(labels, str):
        for name in (labels, f"mlal.label.{labels}"):
            if name in get_entry_point_names("aiida.workflows"):
                return name, "emt"
    return "mlal.label.ase", labels


def _name(labels: str | Mapping[str, Any]) -> str:
    return labels if isinstance(labels, str) else str(labels.get("name"))


def _labelling_class(entry_point: str) -> Any:
    try:
        found: Any = WorkflowFactory(entry_point)
    except EntryPointError as error:
        known = [n for n in get_entry_point_names("aiida.workflows") if "label" in n]
        raise ValueError(
            f"unknown labelling workflow {entry_point!r}{suggest(entry_point, known)}"
        ) from error
    check_interface(found)
    return found


def _errors(errors: Mapping[str, Any]) -> str:
    energy, force = errors.get("energy_mae"), errors.get("force_mae")
    found = [] if energy is None else [f"{1000 * energy:.3g} meV/atom"]
    found += [] if force is None else [f"{force:.3g} eV/Å"]
    return f", mean errors {' and '.join(found)}" if found else ""
