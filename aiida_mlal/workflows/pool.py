"""Active learning over a pool: candidates are given, and labelled where it pays."""

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida.engine import ExitCode, ProcessBuilder, if_, while_
from aiida.engine.processes.ports import PortNamespace
from aiida.orm import AbstractCode, Dict, Float, to_aiida_type

from aiida_mlal import protocols
from aiida_mlal.calculations.evaluate import EvaluateCalculation
from aiida_mlal.calculations.train import TrainCalculation
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.numbers import to_float
from aiida_mlal.ml import plugins, stops
from aiida_mlal.ml.options import build
from aiida_mlal.workflows import pool_calcfunctions
from aiida_mlal.workflows.calcfunctions import has_labels
from aiida_mlal.workflows.campaign import (
    CampaignWorkChain,
    check_budget,
    check_campaign,
    check_elements,
    check_known,
    elements_of,
    label_inputs,
    name_campaign,
)
from aiida_mlal.workflows.codes import codes_of
from aiida_mlal.workflows.labelling.lookup import check_label, labelling_of
from aiida_mlal.workflows.pool_calcfunctions import ValidationOptions
from aiida_mlal.workflows.ports import called, check_names, fill, names

EVALUATE_INPUTS = ("potential", "dataset", "uncertainty")

GIVEN = "given"
"""Name of the labels that the candidates have."""


class PoolWorkChain(CampaignWorkChain):
    """Train, choose from a pool what is labelled next, and again until it is enough.

    Candidates with labels serve to compare queries: a label is looked up when its structure is
    chosen, and until then neither training nor query sees it. Candidates without labels are
    labelled by any WorkChain with the interface of ``LabellingWorkChain``. The last potential has
    learned from all labels.
    """

    ROLES: ClassVar[tuple[str, ...]] = ("train", "evaluate", "select", "label")

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, the outline and exit codes."""
        super().define(spec)
        spec.input("candidates", valid_type=DatasetData, help="The pool.")
        spec.input(
            "test",
            valid_type=DatasetData,
            required=False,
            help="Labels that are never learned from: each potential is compared with them, and "
            "its uncertainty with its errors.",
        )
        spec.input(
            "first_query",
            valid_type=Dict,
            serializer=to_aiida_type,
            default=lambda: Dict({"name": "random", "n": 100}),
            help="Chooses the first structures, before there is a potential.",
        )
        spec.input(
            "growth",
            valid_type=Float,
            serializer=to_float,
            required=False,
            help="Share of the training set that is added in each iteration, instead of a number "
            "`n` in the query.",
        )
        spec.input(
            "validation",
            valid_type=Dict,
            serializer=to_aiida_type,
            default=lambda: Dict({}),
            help='Structures that decide which weights are kept: `{"n": 200, "redraw": true}`.',
        )
        spec.inputs["labelling"].required = spec.inputs["label"].required = False
        spec.inputs["labelling"].help += " Without it the labels are those of the candidates."
        spec.expose_inputs(
            EvaluateCalculation,
            namespace="evaluate",
            exclude=EVALUATE_INPUTS,
            namespace_options={"required": False, "populate_defaults": False},
        )
        spec.inputs.validator = validate

        step: Any = cls

        def learn() -> tuple[Any, ...]:
            return (
                if_(step.training_is_due)(
                    if_(step.validation_is_due)(step.draw),
                    if_(step.validation_is_unlabelled)(step.label_validation, step.take_validation),
                    step.train,
                    step.take_potential,
                ),
                if_(step.test_is_due)(step.evaluate, step.take_errors),
            )

        query = (
            step.take_selection,
            if_(step.labels_are_due)(step.label, step.take_labels),
        )
        spec.outline(
            step.begin,
            if_(step.first_choice_is_due)(step.choose_first, *query),
            step.plan,
            while_(step.is_going_on)(*learn(), step.choose, *query, step.check),
            if_(step.labels_are_new)(*learn(), step.check),
            step.end,
        )
        spec.exit_code(443, "ERROR_EVALUATION_FAILED", message="{process} failed: {why}")

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode | str | Mapping[str, AbstractCode | str],
        candidates: DatasetData,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        labels: str | Mapping[str, Any] = GIVEN,
        options: Mapping[str, Any] | None = None,
        test: DatasetData | None = None,
        **kwargs: Any,
    ) -> ProcessBuilder:
        """Return a builder that is ready to be run.

        Parameters
        ----------
        code
            The command ``mlal``. Where another code is needed, codes by name: ``mlal`` for all,
            and ``train``, ``evaluate``, ``select`` and ``label`` for one step each.
        candidates
            The pool.
        protocol
            ``fast``, ``balanced`` or ``stringent``; it goes for the labelling WorkChain as well.
        overrides
            Of any inputs, nested as they are. Options with a ``name`` or an ``architecture``
            replace those of the protocol, others are merged with them.
        labels
            ``given`` for those that the candidates have; or an ASE calculator by name, or by name
            and options; or ``quantumespresso``, or the entry point of another labelling WorkChain.
        options
            Of all jobs, such as resources.
        test
            Labels that are never learned from.
        kwargs
            Passed on to the builder of the labelling WorkChain, such as ``electronic_type``.
        """
        codes = codes_of(code, cls.ROLES)
        overrides = protocols.as_overrides(overrides)
        if "candidates" in overrides:
            raise ValueError("overrides.candidates: they are an argument of their own")
        cls.check_overrides(overrides)
        label_overrides = overrides.pop("label", {})

        inputs = protocols.inputs("pool", protocol, overrides)
        label: dict[str, Any] = {}
        if labels != GIVEN or "labelling" in overrides:
            inputs["labelling"], asked = labelling_of(labels, overrides.get("labelling"))
            label = label_inputs(
                inputs["labelling"],
                codes["label"],
                candidates,
                protocol,
                label_overrides,
                options,
                **asked,
                **kwargs,
            )
        elif label_overrides:
            raise ValueError(
                "overrides.label: nothing labels, since the labels are those of the candidates: "
                f"give {called('labelling')}"
            )
        inputs = cls.job_inputs(codes, inputs, options) | {"candidates": candidates}
        if test is None:
            del inputs["evaluate"]
        else:
            inputs["test"] = test
        builder = cls.get_builder()
        fill(builder, inputs)
        if label:
            builder["label"] = label
        formulas = list(candidates.base.attributes.get("formulas"))
        what = ", ".join(formulas[:3]) + (" and others" if len(formulas) > 3 else "")
        name_campaign(builder, f"learning from a pool of {what}", protocol, labels)
        return builder

    def begin(self) -> None:
        """Take the labels out of the pool, and find out what is known of it."""
        self.begin_context()
        self.ctx.pool = candidates = self.inputs.candidates
        if not pool_calcfunctions.is_bare(candidates.configurations):
            self.ctx.pool = pool_calcfunctions.strip(  # type: ignore[call-arg]
                candidates, metadata={"call_link_label": "strip"}
            )
        self.ctx.scope = self.ctx.pool
        if "dataset" in self.inputs:
            self.ctx.taken = pool_calcfunctions.find(  # type: ignore[call-arg]
                self.ctx.pool, self.inputs.dataset, metadata={"call_link_label": "find"}
            )

    def first_choice_is_due(self) -> bool:
        """Whether there is no label to learn from."""
        return "dataset" not in self.ctx

    def choose_first(self) -> None:
        """Choose the first structures, without a potential that has learned something."""
        self._select_first(self.ctx.pool, self.inputs.first_query)

    def take_selection(self) -> ExitCode | None:
        """Take what was chosen, and note that it is no candidate any more."""
        code = super().take_selection()
        if code is not None:
            return code
        selection = self.ctx.child.outputs.selection
        if not self.ctx.iteration and not selection.selected:
            why = selection.base.attributes.get("message")
            return self._finish("ERROR_NOTHING_TO_QUERY", reason=why)
        known = {"taken": self.ctx.taken} if "taken" in self.ctx else {}
        self.ctx.taken = pool_calcfunctions.take(  # type: ignore[call-arg]
            selection,
            metadata={"call_link_label": f"take_{self.ctx.iteration:02d}"},
            **known,
        )
        return None

    def take_labels(self) -> ExitCode | None:
        """Extend the data set; what was not tried is a candidate again."""
        code = super().take_labels()
        outputs = self.ctx.child.outputs
        if code is None and len(outputs.dataset.configurations.tried) < len(outputs.dataset):
            self.ctx.taken = pool_calcfunctions.give_back(  # type: ignore[call-arg]
                self.ctx.taken,
                outputs.dataset,
                metadata={"call_link_label": f"give_back_{self.ctx.iteration:02d}"},
            )
        return code

    def plan(self) -> None:
        """Find out how many structures are asked for in the first iteration."""
        given = {k: self.ctx[k] for k in ("dataset", "initial") if k in self.ctx}
        self.ctx.query = pool_calcfunctions.plan(  # type: ignore[call-arg]
            query=self.inputs.query,
            stop=self.inputs.stop,
            validation=self.inputs.validation,
            metadata={"call_link_label": "plan"},
            **self._growth(),
            **given,
        )

    def validation_is_due(self) -> bool:
        """Whether a validation set is to be drawn, for the first time or again."""
        options = self._validation()
        return options.n > 0 and (options.redraw or "validation" not in self.ctx)

    def draw(self) -> None:
        """Draw structures for validation, with their labels if these are given anew each time."""
        given = {"taken": self.ctx.taken} if "taken" in self.ctx else {}
        given |= {"validation": self.inputs.validation, "seed": self.inputs.seed}
        metadata = {"call_link_label": f"draw_{self.ctx.iteration:02d}"}
        if self._validation().redraw:
            self.ctx.validation = pool_calcfunctions.redraw(  # type: ignore[call-arg]
                self.inputs.candidates, metadata=metadata, **given
            )
            return
        drawn: Any = pool_calcfunctions.draw(self.ctx.pool, metadata=metadata, **given)  # type: ignore[call-arg]
        self.ctx.unlabelled, self.ctx.taken = drawn["drawn"], drawn["taken"]

    def validation_is_unlabelled(self) -> bool:
        """Whether structures of the validation set have no labels yet."""
        return self._validation().n > 0 and "validation" not in self.ctx

    def label_validation(self) -> None:
        """Label what is not learned from."""
        self._label("validation")

    def take_validation(self) -> ExitCode | None:
        """Keep the labels for validation apart from the others."""
        child = self.ctx.child
        if "dataset" not in child.outputs:
            return self._fail("ERROR_LABELLING_FAILED", child)
        self.ctx.validation = self.ctx.kept = child.outputs.dataset
        self.ctx.pop("unlabelled")
        return None

    def test_is_due(self) -> bool:
        """Whether there are labels to compare the potential with."""
        return "test" in self.inputs

    def evaluate(self) -> None:
        """Compare the potential with labels that it never learns from."""
        inputs = self.exposed_inputs(EvaluateCalculation, "evaluate")
        inputs.update(potential=self.ctx.potential, dataset=self.inputs.test)
        if "uncertainty" in self.inputs:
            inputs.uncertainty = self.inputs.uncertainty
        self._submit("evaluation", "evaluate", EvaluateCalculation, inputs)

    def take_errors(self) -> ExitCode | None:
        """Take the errors, and how well they are foreseen."""
        child = self.ctx.child
        if not child.is_finished_ok:
            return self._fail("ERROR_EVALUATION_FAILED", child)
        self.ctx.evaluation = child.outputs.results
        return None

    def candidates(self) -> dict[str, Any]:
        """Return the pool, what of it was chosen before, and the potential."""
        inputs = {"pool": self.ctx.pool, "potential": self.ctx.potential}
        return inputs | ({"taken": self.ctx.taken} if "taken" in self.ctx else {})

    def labels_are_due(self) -> bool:
        """Whether structures were chosen that are worth their labels."""
        limits = stops.parse(self.inputs.stop.get_list())
        scores = pool_calcfunctions.scores_of(self.ctx.selection) if self.ctx.iteration else ()
        if not stops.are_worth_labels(limits, scores):
            self.ctx.pop("unlabelled", None)
        return super().labels_are_due()

    def labels_are_new(self) -> bool:
        """Begin the iteration that learns from the last labels, if there are such."""
        new = self.training_is_due() and not self.ctx.going_on
        if new:
            self.ctx.iteration += 1
            self.ctx.pop("selection", None)
        return new

    def judge(self, given: Mapping[str, Any], metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        """Judge by sizes, scores and budgets."""
        more = {k: self.ctx[k] for k in ("selection", "evaluation") if k in self.ctx}
        more |= self._growth()
        if "previous" not in given and "kept" in self.ctx:
            more["validation"] = self.ctx.kept
        judged: Any = pool_calcfunctions.judge(  # type: ignore[call-arg]
            stop=self.inputs.stop,
            query=self.inputs.query,
            dataset=self.ctx.dataset,
            metadata=metadata,
            **more,
            **given,
        )
        return judged

    def _label(self, step: str) -> None:
        if "labelling" in self.inputs:
            super()._label(step)
            return
        reveal: Any = pool_calcfunctions.reveal
        self.ctx.child = reveal.run_get_node(
            candidates=self.inputs.candidates,
            chosen=self.ctx.unlabelled,
            metadata={"call_link_label": f"{step}_{self.ctx.iteration:02d}"},
        )[1]

    def _growth(self) -> dict[str, Any]:
        return {"growth": self.inputs.growth} if "growth" in self.inputs else {}

    def _validation(self) -> ValidationOptions:
        return build(ValidationOptions, self.inputs.validation.get_dict(), "validation")


def validate(inputs: Mapping[str, Any], ports: PortNamespace) -> str | None:
    """Find mistakes before anything is submitted: names at any depth, options, what fits what."""
    try:
        check_names(inputs, names(ports) | {"label": None})
        if any(port.required and name not in inputs for name, port in ports.items()):
            return None  # the ports say it themselves
        _check_options(inputs)
        _check_candidates(inputs)
        if "labelling" in inputs:
            some = inputs["candidates"].configurations[:1]
            label = inputs.get("label", {})
            check_label(inputs["labelling"].value, label, DatasetData(some.bare))
            check_known(inputs)
    except (ValueError, plugins.PluginError) as error:
        return str(error)
    return None


def _check_options(inputs: Mapping[str, Any]) -> None:
    validation = build(ValidationOptions, inputs["validation"].get_dict(), "validation")
    check_campaign(inputs, validation=TrainCalculation.VALIDATION if validation.n else None)
    if validation.redraw and "labelling" in inputs:
        raise ValueError(
            "validation.redraw: each set would cost labels, so that others can be drawn only where "
            f"the candidates have labels and no {called('labelling')} is given"
        )
    growth = inputs.get("growth")
    if growth is not None and not growth.value > 0:
        raise ValueError(f"growth: expected a share above 0, got {growth.value:g}")


def _check_candidates(inputs: Mapping[str, Any]) -> None:
    candidates, dataset = inputs["candidates"], inputs.get("dataset")
    if not len(candidates):
        raise ValueError("candidates: there are none to choose from")
    if "labelling" not in inputs and not candidates.base.attributes.get("n_labelled"):
        raise ValueError(
            "candidates: none has a label, so that something must label them: give "
            f"{called('labelling')}"
        )
    if dataset is not None and not has_labels(dataset):
        raise ValueError("dataset: it has no labels to begin with")
    check_elements(inputs, elements_of(candidates))
    if "test" in inputs:
        known = {x for node in (candidates, dataset) if node is not None for x in elements_of(node)}
        strange = sorted(set(elements_of(inputs["test"])) - known)
        if strange:
            raise ValueError(f"test: it has {strange}, of which there is nothing to learn from")
        if not inputs["test"].base.attributes.get("n_labelled"):
            raise ValueError("test: there are no labels to compare with")
        if "code" not in inputs.get("evaluate", {}):
            raise ValueError("evaluate.code: a test set needs a code that compares with it")
    first = 0
    if dataset is None:
        first = plugins.make("strategies", inputs["first_query"].get_dict(), "first_query").n
    kept = build(ValidationOptions, inputs["validation"].get_dict(), "validation").n
    n = len(candidates)
    if first < stops.MANY and first + kept > n:
        raise ValueError(
            f"candidates: there are {n}, fewer than the {first} of first_query and the {kept} for "
            "validation together"
        )
    paid = first + (0 if inputs["validation"].get_dict().get("redraw") else kept)
    if first < stops.MANY:  # else it chooses what it needs
        n_known = first if dataset is None else len(dataset.configurations.learnable)
        check_budget(inputs["stop"], paid, n_known)
