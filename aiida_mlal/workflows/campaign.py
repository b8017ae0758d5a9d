"""What campaigns of active learning have in common, wherever their candidates come from."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Any, ClassVar

from aiida.engine import ExitCode, ProcessBuilder, WorkChain
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
    to_aiida_type,
)
from aiida.plugins import WorkflowFactory

from aiida_mlal import protocols
from aiida_mlal.calculations.select import SelectCalculation
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.numbers import to_float
from aiida_mlal.data.potential import PotentialData
from aiida_mlal.data.selection import SelectionData
from aiida_mlal.ml import plugins, stops
from aiida_mlal.ml.frames import REASON
from aiida_mlal.ml.options import build, check_seed, within
from aiida_mlal.ml.simulation.base import Plan
from aiida_mlal.ml.text import counted
from aiida_mlal.workflows import calcfunctions
from aiida_mlal.workflows.endings import failure_words
from aiida_mlal.workflows.labelling.base import LABELLING, validate_limits
from aiida_mlal.workflows.labelling.lookup import check_method
from aiida_mlal.workflows.ports import called, check_overrides
from aiida_mlal.workflows.train import TrainBaseWorkChain
from aiida_mlal.workflows.validators import share

OPTIONS = {
    "model": 'Architecture and its options, such as `{"architecture": "bpnn", "ensemble": 5}`.',
    "training": "Options of training.",
    "uncertainty": "Name and options of a measure that potentials are trained for, such as "
    '`{"name": "grade"}`; by default that of the model.',
    "query": 'Name and options of the query strategy, such as `{"name": "random", "n": 2}`.',
    "filters": "What is not worth a label.",
}
"""Inputs of every campaign that are options, and what they are."""

TRAIN_INPUTS = tuple(
    f"train.{x}"
    for x in (
        "dataset", "model", "training", "uncertainty", "seed", "initial", "validation",
        "more_elements",
    )
)  # fmt: skip
EXCHANGEABLE = ("simulate", "label")
"""Steps that are a WorkChain by its entry point."""

SELECT_INPUTS = ("potential", "pool", "train", "query", "filters", "seed", "taken")


class CampaignWorkChain(WorkChain):
    """Train, look for candidates, choose some and label them, until a stop says that it is enough.

    A subclass says where candidates come from, writes the outline from the steps here and its own,
    and judges an iteration. Each pair of steps submits a process and takes what it gave. Whatever
    way a campaign ends, its outputs are what was achieved. Potentials know all elements of
    ``ctx.scope``, structures that they will have to predict, whether or not these have labels yet.

    Attributes
    ----------
    ROLES
        Steps whose jobs may have a code of their own.
    """

    ROLES: ClassVar[tuple[str, ...]] = ("train", "select", "label")

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, outputs and exit codes."""
        super().define(spec)
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
            help="Begins instead of one trained on `dataset`. Where the graph says that it has not "
            "learned from all labels there, one is trained first.",
        )
        for name, about in OPTIONS.items():
            spec.input(name, valid_type=Dict, serializer=to_aiida_type, help=about)
        spec.inputs["training"].default = lambda: Dict({})
        spec.inputs["filters"].default = lambda: Dict({})
        spec.inputs["uncertainty"].required = False
        spec.input(
            "warm_start",
            valid_type=Bool,
            serializer=to_aiida_type,
            default=lambda: Bool(False),
            help="Whether training begins with the weights of the potential before, if there is "
            "one, instead of random ones.",
        )
        spec.input(
            "stop",
            valid_type=List,
            serializer=to_aiida_type,
            help='When to end, such as `[{"name": "labels", "n": 100}, '
            '{"name": "iterations", "n": 25}]`.',
        )
        spec.input(
            "seed",
            valid_type=Int,
            serializer=to_aiida_type,
            default=lambda: Int(0),
            validator=validate_seed,
            help="Of everything random.",
        )
        spec.input(
            "labelling",
            valid_type=Str,
            serializer=to_aiida_type,
            validator=LABELLING.validate,
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
            serializer=to_float,
            default=lambda: Float(0.75),
            validator=share,
            help="The campaign ends if a larger share of all labels asked for failed.",
        )
        spec.expose_inputs(TrainBaseWorkChain, namespace="train", exclude=TRAIN_INPUTS)
        spec.expose_inputs(SelectCalculation, namespace="select", exclude=SELECT_INPUTS)

        spec.output("potential", valid_type=PotentialData, required=False, help="The last one.")
        spec.output(
            "dataset",
            valid_type=DatasetData,
            required=False,
            help="All structures that were labelled, or tried in vain.",
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
        spec.exit_code(
            410, "ERROR_OUT_OF_BUDGET", message="The budget is spent before convergence: {reason}"
        )
        spec.exit_code(
            411,
            "ERROR_NOTHING_TO_QUERY",
            message="Nothing is left that is worth a label, before convergence: {reason}",
        )
        spec.exit_code(
            420,
            "ERROR_TOO_MANY_FAILED",
            message="{failed} of {total} labels are of no use: {reason}",
        )
        spec.exit_code(421, "ERROR_LABELLING_FAILED", message="{process} gave no labels: {why}")
        spec.exit_code(
            calcfunctions.MIXED_LABELS,
            "ERROR_MIXED_LABELS",
            message="Labels do not fit together: {why}",
        )
        spec.exit_code(440, "ERROR_TRAINING_FAILED", message="{process} failed: {why}")
        spec.exit_code(442, "ERROR_SELECTION_FAILED", message="{process} failed: {why}")

    @classmethod
    def check_overrides(cls, overrides: Mapping[str, Any]) -> None:
        """Raise ``ValueError`` for unknown inputs, and for values that are none of an input.

        What is inside of those that are exchangeable is for their own builders to check.
        """
        ports = cls.spec().inputs
        check_overrides(overrides, ports, [name for name in EXCHANGEABLE if name in ports])

    @classmethod
    def job_inputs(
        cls,
        codes: Mapping[str, AbstractCode],
        inputs: Mapping[str, Any],
        options: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        """Return the inputs with codes, and options where there are any, of all jobs.

        WorkChains that are exchangeable say themselves where theirs are.
        """
        completed = dict(inputs)
        for step in (role for role in cls.ROLES if role not in EXCHANGEABLE):
            job: dict[str, Any] = {"code": codes[step]}
            if options:
                job["metadata"] = {"options": options}
            nested = {"train": job} if step == "train" else job  # within that of restarts
            completed[step] = protocols.merge(nested, completed.get(step, {}))
        return completed

    def begin_context(self) -> None:
        """Initialise the context: iteration, outcome, query, data set and potential."""
        inputs = self.inputs
        self.ctx.iteration = 0
        self.ctx.going_on, self.ctx.outcome, self.ctx.verdict = True, "", ""
        self.ctx.trained = "potential" in inputs and calcfunctions.has_learned(
            inputs.potential, inputs.get("dataset")
        )
        self.ctx.query = inputs.query
        for name in ("dataset", "potential"):
            if name in inputs:
                self.ctx[name] = inputs[name]

    def initial_labels_are_due(self) -> bool:
        """Whether some initial structures have no label."""
        return "unlabelled" in self.ctx

    def is_going_on(self) -> bool:
        """Begin the next iteration; False where the campaign ends."""
        if self.ctx.going_on:
            self.ctx.iteration += 1
        return bool(self.ctx.going_on)

    def training_is_due(self) -> bool:
        """Whether there are labels that no potential has learned from."""
        return not self.ctx.trained

    def train(self) -> None:
        """Train on all labels."""
        self._submit("training", "train", TrainBaseWorkChain, self._training())

    def _training(self) -> Any:
        """Return the inputs of the next training."""
        inputs = self.exposed_inputs(TrainBaseWorkChain, "train")
        inputs.train.update(
            dataset=self.ctx.dataset,
            model=self.inputs.model,
            training=self.inputs.training,
            seed=self.inputs.seed,
        )
        if "uncertainty" in self.inputs:
            inputs.train.uncertainty = self.inputs.uncertainty
        if self.inputs.warm_start and "potential" in self.ctx:
            inputs.train.initial = self.ctx.potential
        if "validation" in self.ctx:
            inputs.train.validation = self.ctx.validation
        if set(elements_of(self.ctx.scope)) - set(elements_of(self.ctx.dataset)):
            if "elements" not in self.ctx:
                find: Any = calcfunctions.elements
                metadata = {"call_link_label": "elements"}
                self.ctx.elements = find(self.ctx.scope, metadata=metadata)
            inputs.train.more_elements = self.ctx.elements
        return inputs

    def take_potential(self) -> ExitCode | None:
        """Take the potential, if there is one."""
        child = self.ctx.child
        if not child.is_finished_ok:
            return self._fail("ERROR_TRAINING_FAILED", child)
        self._take_potential(child.outputs)
        return None

    def _take_potential(self, outputs: Any) -> None:
        """Take the outputs of a training."""
        self.ctx.potential = outputs.potential
        self.ctx.trained = True
        results = outputs.results.get_dict()
        errors = results.get("errors", {}).get("train") or {}
        doubt = "" if results.get("learned", True) else "; they are explained badly, see its report"
        learned = counted(self._n_learnable(), "structure")
        self._tell(f"trained on {learned}{_errors(errors)}{doubt}")

    @abstractmethod
    def candidates(self) -> dict[str, Any]:
        """Return the ``pool`` to choose from, with other inputs of the choice that go with it."""

    def choose(self) -> None:
        """Choose which candidates are labelled."""
        inputs = {**self._choice(), **self.candidates()}
        if strategy_of(inputs["query"]).wants_potential:
            inputs["potential"] = self.ctx.potential
        self._select(**inputs)

    def _choice(self) -> dict[str, Any]:
        """Return the inputs of the next selection, without the candidates."""
        known = {"train": self.ctx.dataset} if "dataset" in self.ctx else {}
        return {
            "query": self.ctx.query,
            "filters": self.inputs.filters,
            "seed": self.inputs.seed,
            **known,
        }

    def take_selection(self) -> ExitCode | None:
        """Take what was chosen, which may be nothing."""
        child = self.ctx.child
        if not child.is_finished_ok:
            return self._fail("ERROR_SELECTION_FAILED", child)
        self._take_selection(child.outputs)
        return None

    def _take_selection(self, outputs: Any) -> None:
        """Take the outputs of a selection."""
        self.ctx.selection = outputs.selection
        self.out(f"selections.iteration_{self.ctx.iteration:02d}", outputs.selection)
        self.ctx.pop("unlabelled", None)
        if "selected" in outputs and len(outputs.selected):
            self.ctx.unlabelled = outputs.selected

    def labels_are_due(self) -> bool:
        """Whether structures were chosen."""
        return "unlabelled" in self.ctx

    def label(self) -> None:
        """Label what was chosen, or at first what the campaign begins with."""
        self._label("label")

    def take_labels(self) -> ExitCode | None:
        """Extend the data set, if labels fit to those that are there and enough succeeded."""
        child = self.ctx.child
        self.ctx.pop("unlabelled", None)
        if "dataset" not in child.outputs:
            return self._fail("ERROR_LABELLING_FAILED", child)
        labelled = child.outputs.dataset
        if not len(labelled.configurations.tried):
            return self._fail("ERROR_LABELLING_FAILED", child)
        self.ctx["labelled" if self.ctx.iteration else "initial"] = labelled
        known = {"dataset": self.ctx.dataset} if "dataset" in self.ctx else {}
        limits = self.inputs.get("label", {}).get("limits")
        if isinstance(limits, Dict) and validate_limits(limits, None) is None:
            known["limits"] = limits
        extend: Any = calcfunctions.extend
        extended, node = extend.run_get_node(
            labelled=labelled,
            allow_mixed_labels=self.inputs.allow_mixed_labels,
            metadata={"call_link_label": f"extend_{self.ctx.iteration:02d}"},
            **known,
        )
        if not node.is_finished_ok:
            return self._fail("ERROR_MIXED_LABELS", node)
        self.ctx.dataset = extended
        if self.ctx.iteration and calcfunctions.has_labels(labelled):
            self.ctx.trained = False
        status = labelled.configurations.status
        counts = ", ".join(f"{(status == word).sum()} {word}" for word in sorted(set(status)))
        self._tell(f"labelled {counted(len(labelled), 'structure')} ({counts})")
        failed, total = calcfunctions.failed_share(extended)
        if failed > self.inputs.max_failed_share.value * total or not calcfunctions.has_labels(
            extended
        ):
            reasons = REASON.of(extended.configurations)
            unusable = extended.configurations.status != "ok"
            failed = max(failed, 0 if calcfunctions.has_labels(extended) else int(unusable.sum()))
            return self._finish(
                "ERROR_TOO_MANY_FAILED", failed=failed, total=total, reason=reasons[unusable][-1]
            )
        return None

    @abstractmethod
    def judge(self, given: Mapping[str, Any], metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the ``row`` of the learning curve, and the next ``query`` if it is another one.

        ``given`` are those nodes of ``labelled``, ``initial`` and ``previous`` (the row before)
        that there are.
        """

    def check(self) -> None:
        """Judge whether the campaign goes on, and note a row of the learning curve."""
        names = ("labelled", "initial", "previous")
        given = {name: self.ctx.pop(name) for name in names if name in self.ctx}
        self.ctx.new = given.get("labelled")
        judged = self.judge(given, {"call_link_label": f"check_{self.ctx.iteration:02d}"})
        row = judged["row"]
        self.ctx[f"row_{self.ctx.iteration:02d}"] = self.ctx.previous = row
        self.ctx.query = judged.get("query", self.ctx.query)
        self.ctx.outcome, self.ctx.verdict = row["outcome"], row["reason"]
        self.ctx.going_on = row["outcome"] == "go on" and "labelled" in given
        labels = counted(row["labels"], "label")
        self._tell(f"{labels}, {row['outcome']}: {row['reason']}")

    def end(self) -> ExitCode | None:
        """Attach the outputs and say how the campaign ended."""
        if self.ctx.outcome == "converged":
            return self._finish("")
        label = (
            "ERROR_OUT_OF_BUDGET" if self.ctx.outcome == "exhausted" else "ERROR_NOTHING_TO_QUERY"
        )
        return self._finish(label, reason=self.ctx.verdict)

    def attach(self) -> None:
        """Attach outputs that only this kind of campaign has."""

    def _select(self, **inputs: Any) -> None:
        given = self.exposed_inputs(SelectCalculation, "select")
        given.update(inputs)
        self._submit("selection", "select", SelectCalculation, given)

    def _select_first(self, pool: DatasetData, query: Dict) -> None:
        """Choose before any potential has learned something."""
        given = {}
        if strategy_of(query).wants_potential:
            untrained: Any = calcfunctions.untrained
            given["potential"] = untrained(
                model=self.inputs.model,
                seed=self.inputs.seed,
                structures=pool,
                metadata={"call_link_label": "untrained"},
            )
        self._select(
            pool=pool, query=query, filters=self.inputs.filters, seed=self.inputs.seed, **given
        )

    def _label(self, step: str) -> None:
        workflow = WorkflowFactory(self.inputs.labelling.value)
        inputs = {**self.inputs.get("label", {}), "dataset": self.ctx.unlabelled}
        self._submit("labels", step, workflow, inputs)

    def _submit(self, what: str, step: str, process: Any, inputs: Any) -> None:
        self.to_context(child=self._launch(what, step, process, inputs))

    def _launch(self, what: str, step: str, process: Any, inputs: Any) -> ProcessNode:
        metadata = dict(inputs.get("metadata", {}))
        metadata["call_link_label"] = f"{step}_{self.ctx.iteration:02d}"
        metadata.setdefault("label", f"{what} {self.ctx.iteration}")
        child: ProcessNode = self.submit(process, **{**inputs, "metadata": metadata})
        return child

    def _tell(self, text: str) -> None:
        self.report(f"iteration {self.ctx.iteration}: {text}")

    def _n_learnable(self) -> int:
        return int(self.ctx.dataset.base.attributes.get("n_labelled"))

    def _fail(self, label: str, child: ProcessNode) -> ExitCode | None:
        return self._finish(label, **failure_words(child))

    def _finish(self, label: str, **words: Any) -> ExitCode | None:
        """Attach whatever there is, and return the exit code."""
        rows = {key: value for key, value in self.ctx.items() if key.startswith("row_")}
        if rows:
            gather: Any = calcfunctions.gather
            self.out("curve", gather(**rows, metadata={"call_link_label": "curve"}))
        for name in ("potential", "dataset"):
            if name in self.ctx:
                self.out(name, self.ctx[name])
        self.attach()
        if not label:
            return None
        code: ExitCode = getattr(self.exit_codes, label).format(**words)
        return code


def check_campaign(
    inputs: Mapping[str, Any],
    simulation: Plan | None = None,
    validation: str | None = None,
) -> None:
    """Raise ``ValueError`` for wrong inputs of any campaign, its structures aside.

    Parameters
    ----------
    inputs
        All that are required.
    simulation
        Where candidates come from; None where they are given.
    validation
        The file of a validation set, if trainings will have one.
    """
    given = {name: inputs[name].get_dict() for name in OPTIONS if name in inputs}
    check_options(given, validation)
    for stop in stops.parse(inputs["stop"].get_list()):
        with plugins.named("stops", stop):
            stop.check_simulation(simulation)
    if "first_query" in inputs:
        check_first(inputs["first_query"].get_dict(), given["model"])
    guard = getattr(simulation, "guard", None)
    measured = simulation is not None and (guard is None or guard.uncertainty is not None)
    wants = plugins.make("strategies", given["query"], "query").wants_uncertainty
    if wants and not measured and not is_measured(given):
        raise without_uncertainty(f"query {given['query']['name']!r} needs")
    if "potential" in inputs and not calcfunctions.has_labels(inputs.get("dataset")):
        raise ValueError(f"potential: give {called('dataset')} too, which it was trained on")


def without_uncertainty(reason: str) -> ValueError:
    """Make the error for options that need an uncertainty where the model has none."""
    return ValueError(
        f"{reason} an uncertainty, and a single potential has none by default: give the model an "
        f"'ensemble' of 2 or more, or name one as {called('uncertainty')}"
    )


def check_budget(stop: List, n_labels: int, n_known: int) -> None:
    """Raise ``ValueError`` if the stops allow nothing beyond what a campaign begins with.

    Parameters
    ----------
    n_labels
        Structures that it labels at first.
    n_known
        Structures to learn from that there are then.
    """
    for limit in stops.parse(stop.get_list()):
        where = f"stop.{plugins.name_of('stops', type(limit))}"
        if stops.labels_left([limit], n_labels) == 0:
            raise ValueError(
                f"{where}: the budget of labels is spent on the first {n_labels} structures, which "
                "are labelled before there is a potential"
            )
        if stops.structures_left([limit], n_known) == 0:
            raise ValueError(
                f"{where}: the {n_known} structures to learn from that there are before a "
                "potential chooses any are enough for it"
            )


def check_options(given: Mapping[str, Mapping[str, Any]], validation: str | None = None) -> None:
    """Raise ``ValueError`` for the first of the options of every campaign that is wrong.

    Parameters
    ----------
    given
        JSON values of the inputs in ``OPTIONS``, those without a default at least.
    validation
        The file of a validation set, if trainings will have one.
    """
    from aiida_mlal.ml.models.factory import ModelOptions

    training: dict[str, Any] = {key: given.get(key, {}) for key in ("model", "training")}
    training |= {"uncertainty": given.get("uncertainty"), "validation": validation}
    build(plugins.find("tasks", "train"), training)
    query = plugins.make("strategies", given["query"], "query")
    with within("query"), plugins.named("strategies", query):
        query.check_model(ModelOptions.parse(given["model"]))
    selection = {"strategy": given["query"], "filters": given.get("filters", {})}
    build(plugins.find("tasks", "select"), selection)


def check_first(query: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` if a query cannot choose before any potential has learned something."""
    from aiida_mlal.ml.models.factory import ModelOptions

    strategy, options = plugins.make("strategies", query, "first_query"), ModelOptions.parse(model)
    with within("first_query"), plugins.named("strategies", strategy):
        strategy.check_model(options)
        if strategy.wants_trained or (strategy.wants_uncertainty and options.ensemble == 1):
            raise ValueError(
                f"{query['name']!r} asks a potential that has learned something, and there is none "
                "yet: choose another one, such as 'random'"
            )


def is_measured(given: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a measure of uncertainty is wanted; ``given`` as for ``check_options``."""
    return given["model"].get("ensemble", 1) > 1 or trained_for(given) is not None


def trained_for(given: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return the measure that potentials are trained for, or None; ``given`` as above."""
    from aiida_mlal.ml.models.factory import ModelOptions

    usual = ModelOptions.parse(given["model"]).uncertainty
    options = given.get("uncertainty") or (usual and {"name": usual})
    return plugins.make("uncertainties", options, "uncertainty") if options else None


def measure_for(given: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return the measure of uncertainty unless one is named, or None; ``given`` as above."""
    measure = trained_for(given)
    if measure is None and given["model"].get("ensemble", 1) > 1:
        return plugins.make("uncertainties", {"name": "force_std"})
    return measure


def validate_seed(node: Int | None, _: Any) -> str | None:
    """Validate the seed of random numbers."""
    try:
        check_seed(0 if node is None else node.value)
    except ValueError as error:
        return str(error)
    return None


def check_elements(inputs: Mapping[str, Any], elements: Sequence[str]) -> None:
    """Raise ``ValueError`` if the model, or the potential given, cannot know these elements."""
    from aiida_mlal.ml.models.factory import ModelOptions

    known = {*elements, *(elements_of(inputs["dataset"]) if "dataset" in inputs else ())}
    ModelOptions.parse(inputs["model"].get_dict()).check(sorted(known))
    if "potential" in inputs:
        knows: list[str] = inputs["potential"].elements
        if strange := sorted(set(elements) - set(knows)):
            raise ValueError(f"potential: it knows {knows}, but not {strange}")


def check_known(inputs: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` if labels to go on from do not fit to those that will be made."""
    mixed = inputs.get("allow_mixed_labels")
    if "dataset" in inputs and not (mixed is not None and mixed.value):
        check_method(inputs["labelling"].value, inputs.get("label", {}), inputs["dataset"])


def elements_of(structures: DatasetData) -> list[str]:
    """Return the elements of structures."""
    elements: list[str] = structures.base.attributes.get("elements")
    return elements


def strategy_of(query: Dict) -> Any:
    """Return the strategy of a query."""
    return plugins.make("strategies", query.get_dict(), "query")


def label_inputs(
    entry_point: str,
    code: AbstractCode,
    structure: StructureData | DatasetData,
    protocol: str | None,
    overrides: Mapping[str, Any],
    options: Mapping[str, Any] | None,
    **others: Any,
) -> dict[str, Any]:
    """Return the inputs of a labelling WorkChain, by its protocol, without the structures."""
    workflow = LABELLING.buildable(entry_point, "get_builder_from_protocol", "LabellingWorkChain")
    with within("label"):
        builder = workflow.get_builder_from_protocol(
            code, structure, protocol=protocol, overrides=overrides, options=options, **others
        )
    inputs: dict[str, Any] = builder._inputs(prune=True)
    inputs.pop("dataset", None)
    return inputs


def _errors(errors: Mapping[str, Any]) -> str:
    energy, force = errors.get("energy_mae"), errors.get("force_mae")
    told = [] if energy is None else [f"{1000 * energy:.3g} meV/atom"]
    told += [] if force is None else [f"{force:.3g} eV/Å"]
    return f", mean errors {' and '.join(told)}" if told else ""


def name_campaign(
    builder: ProcessBuilder,
    about: str,
    protocol: str | None,
    labels: str | Mapping[str, Any],
) -> None:
    """Write on the node of a campaign what it is about, and what its labels are made by."""
    made_by = labels if isinstance(labels, str) else labels.get("name")
    builder["metadata"]["label"] = shorten(about, 255, placeholder=" ...")
    builder["metadata"]["description"] = f"protocol {protocol or 'default'}, labels by {made_by}"
