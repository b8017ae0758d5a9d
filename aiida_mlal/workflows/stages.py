"""Campaigns one after the other: first cheap labels, then better ones of some of the structures."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from aiida.engine import ExitCode, ProcessBuilder, WorkChain, if_, while_
from aiida.orm import Dict, Node, ProcessNode, Str
from aiida.plugins import WorkflowFactory
from aiida.plugins.entry_point import get_entry_point_from_class

from aiida_mlal.calculations.select import SelectCalculation
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.potential import PotentialData
from aiida_mlal.ml import plugins
from aiida_mlal.ml.options import within
from aiida_mlal.workflows.calcfunctions import learnable
from aiida_mlal.workflows.campaign import CampaignWorkChain, strategy_of
from aiida_mlal.workflows.endings import failure_words
from aiida_mlal.workflows.ports import check_inputs

OUT_OF_BUDGET = CampaignWorkChain.spec().exit_codes.ERROR_OUT_OF_BUDGET.status
"""Exit status of a campaign that used all the labels that it was allowed.

A stage may end so, but for the last one.
"""


class StagesWorkChain(WorkChain):
    """Runs campaigns in stages of rising fidelity, each from what the one before found.

    Between two stages a query chooses among the labelled structures of the first, those are
    labelled as the second labels, and its campaign begins with these labels. Labels of two stages
    are never learned from together. A stage with ``warm_start`` begins with the weights of the
    potential before.
    """

    SETTINGS: ClassVar[tuple[str, ...]] = ("campaign", "sparsify")
    """What a stage has beside the inputs of its campaign."""

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, outputs and the outline."""
        super().define(spec)
        spec.input_namespace(
            "stages",
            dynamic=True,
            help="Stages in the order of their names, `stage_00` and so on. Each has `campaign`, "
            "the entry point of a campaign, its inputs, and after the first `sparsify`, the query "
            "that chooses which structures of the stage before are labelled.",
        )
        spec.inputs.validator = validate
        spec.output("potential", valid_type=PotentialData, help="The last one of the last stage.")
        spec.output("dataset", valid_type=DatasetData, help="Labels of the last stage.")
        spec.output("curve", valid_type=Dict, help="Learning curve of the last stage.")
        spec.output_namespace(
            "datasets", valid_type=DatasetData, help="Labels of each stage, by its name."
        )
        step: Any = cls
        spec.outline(
            step.begin,
            while_(step.stages_are_left)(
                if_(step.comes_after_another)(
                    step.choose, step.take_choice, step.label, step.take_labels
                ),
                step.campaign,
                step.take_campaign,
            ),
            step.end,
        )
        spec.exit_code(
            OUT_OF_BUDGET, "ERROR_OUT_OF_BUDGET", message="The last stage, {stage}: {why}"
        )
        spec.exit_code(420, "ERROR_STAGE_FAILED", message="{stage}: {process} failed: {why}")

    @classmethod
    def get_builder_from_campaigns(
        cls,
        campaigns: Sequence[ProcessBuilder],
        sparsify: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    ) -> ProcessBuilder:
        """Return a builder that is ready to be run.

        Parameters
        ----------
        campaigns
            Builders of campaigns, such as those of ``OfflineWorkChain``, cheap labels first.
        sparsify
            Name and options of the query between two stages, or one for each two.

        Raises
        ------
        ValueError
            For fewer than two campaigns, and for another number of queries.
        """
        n = len(campaigns) - 1
        queries = [sparsify] * n if isinstance(sparsify, Mapping) else list(sparsify)
        if n < 1 or len(queries) != n:
            raise ValueError(
                "expected two or more campaigns and a query between each two of them, got "
                f"{n + 1} campaigns and {len(queries)} queries"
            )
        builder = cls.get_builder()
        stages: dict[str, Any] = {}
        for i, campaign in enumerate(campaigns):
            stages[name_of(i)] = dict(campaign._inputs(prune=True))
            stages[name_of(i)]["campaign"] = Str(_entry_point(campaign.process_class))
            if i:
                stages[name_of(i)]["sparsify"] = Dict(dict(queries[i - 1]))
        builder["stages"] = stages
        return builder

    def begin(self) -> None:
        """Begin with the first stage."""
        self.ctx.left = sorted(self.inputs.stages)

    def stages_are_left(self) -> bool:
        """Go to the next stage; False after the last one."""
        if not self.ctx.left:
            return False
        self.ctx.stage, *self.ctx.left = self.ctx.left
        return True

    def comes_after_another(self) -> bool:
        """Whether there is a stage before."""
        return "dataset" in self.ctx

    def choose(self) -> None:
        """Choose which of the structures are worth a better label."""
        stage = self._stage()
        given: dict[str, Any] = {k: stage[k] for k in ("filters", "seed") if k in stage}
        if strategy_of(stage["sparsify"]).wants_potential:
            given["potential"] = self.ctx.potential
        query = {"pool": self._labelled(), "query": stage["sparsify"]}
        self._submit("choose", SelectCalculation, {**stage["select"], **query, **given})

    def take_choice(self) -> ExitCode | None:
        """Take what was chosen."""
        child = self.ctx.child
        if not child.is_finished_ok:
            return self._fail(child)
        if "selected" not in child.outputs or not len(child.outputs.selected):
            return self._fail(child, "it chose nothing")
        self.ctx.chosen = child.outputs.selected
        self._tell(f"{len(self.ctx.chosen)} of {len(self.ctx.dataset)} structures are labelled")
        return None

    def label(self) -> None:
        """Label what was chosen, as this stage labels."""
        stage = self._stage()
        workflow = WorkflowFactory(stage["labelling"].value)
        self._submit("label", workflow, {**stage.get("label", {}), "dataset": self.ctx.chosen})

    def take_labels(self) -> ExitCode | None:
        """Begin the campaign with these labels."""
        child = self.ctx.child
        if "dataset" not in child.outputs:
            return self._fail(child)
        self.ctx.labelled = child.outputs.dataset
        if not len(self.ctx.labelled.configurations.learnable):
            return self._fail(child, "it gave no good label")
        return None

    def campaign(self) -> None:
        """Run the campaign of this stage."""
        stage = self._stage()
        inputs = {key: value for key, value in stage.items() if key not in self.SETTINGS}
        if "labelled" in self.ctx:
            inputs["dataset"] = self.ctx.labelled
            if stage["warm_start"].value:
                inputs["potential"] = self.ctx.potential
        self._submit("campaign", WorkflowFactory(stage["campaign"].value), inputs)

    def take_campaign(self) -> ExitCode | None:
        """Take what the campaign found; one that is out of its budget is good enough."""
        child = self.ctx.child
        if child.exit_status not in (0, OUT_OF_BUDGET) or "dataset" not in child.outputs:
            return self._fail(child)
        for name in ("potential", "dataset", "curve"):
            self.ctx[name] = child.outputs[name]
        self.out(f"datasets.{self.ctx.stage}", self.ctx.dataset)
        self._tell(f"{self.ctx.dataset.base.attributes.get('n_labelled')} labels")
        return None

    def end(self) -> ExitCode | None:
        """Attach what the last stage found, and say so if it had to end before convergence."""
        for name in ("potential", "dataset", "curve"):
            self.out(name, self.ctx[name])
        if self.ctx.child.exit_status != OUT_OF_BUDGET:
            return None
        code: ExitCode = self.exit_codes.ERROR_OUT_OF_BUDGET.format(
            stage=self.ctx.stage, why=self.ctx.child.exit_message
        )
        return code

    def _labelled(self) -> DatasetData:
        """Return the structures of the stage before that have a label."""
        labelled: DatasetData = self.ctx.dataset
        if len(labelled.configurations.learnable) < len(labelled):
            metadata = {"call_link_label": f"learnable_{self.ctx.stage}"}
            labelled = learnable(labelled, metadata=metadata)  # type: ignore[call-arg]
        return labelled

    def _stage(self) -> dict[str, Any]:
        inputs: dict[str, Any] = _thawed(self.inputs.stages[self.ctx.stage])
        return inputs

    def _submit(self, what: str, process: Any, inputs: Mapping[str, Any]) -> None:
        label = f"{what}_{self.ctx.stage}"
        metadata = {**inputs.get("metadata", {}), "call_link_label": label}
        self.to_context(child=self.submit(process, **{**inputs, "metadata": metadata}))

    def _tell(self, text: str) -> None:
        self.report(f"{self.ctx.stage}: {text}")

    def _fail(self, child: ProcessNode, why: str | None = None) -> ExitCode:
        words = failure_words(child) | ({} if why is None else {"why": why})
        code: ExitCode = self.exit_codes.ERROR_STAGE_FAILED.format(stage=self.ctx.stage, **words)
        return code


def name_of(i: int) -> str:
    """Return the name of a stage."""
    return f"stage_{i:02d}"


def validate(inputs: Mapping[str, Any], _: Any) -> str | None:
    """Let campaigns judge their inputs, all of them before the first one begins."""
    stages = inputs.get("stages", {})
    try:
        if len(stages) < 2:
            raise ValueError(f"stages: expected two or more, got {sorted(stages)}")
        for number, name in enumerate(sorted(stages)):
            with within(f"stages.{name}"):
                _check_stage(stages[name], number)
    except (ValueError, plugins.PluginError) as error:
        return str(error)
    return None


def _check_stage(stage: Mapping[str, Any], number: int) -> None:
    for key in StagesWorkChain.SETTINGS[: 1 + bool(number)]:
        if key not in stage:
            raise ValueError(f"there is no {key!r}")
    workflow: Any = WorkflowFactory(stage["campaign"].value)
    if not issubclass(workflow, CampaignWorkChain):
        raise ValueError(f"campaign: {stage['campaign'].value!r} is no campaign")
    inputs = {k: value for k, value in stage.items() if k not in StagesWorkChain.SETTINGS}
    if number:
        if "dataset" in inputs:
            raise ValueError("dataset: the labels to begin with come of the stage before")
        strategy_of(stage["sparsify"])
    check_inputs(inputs, workflow.spec().inputs)


def _entry_point(campaign: Any) -> str:
    _, point = get_entry_point_from_class(campaign.__module__, campaign.__name__)
    if point is None:
        raise ValueError(f"the campaign {campaign.__name__} has no entry point")
    return str(point.name)


def _thawed(values: Any) -> Any:
    """Return inputs in dictionaries that processes can fill up with defaults."""
    if not isinstance(values, Mapping) or isinstance(values, Node):
        return values
    return {key: _thawed(value) for key, value in values.items()}
