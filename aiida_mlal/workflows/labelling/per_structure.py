"""Labels from a code that computes one structure at a time."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from uuid import UUID

from aiida.engine import ExitCode, while_
from aiida.orm import CalcJobNode, Data, Dict, FolderData, Int, ProcessNode

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.structures import to_structure
from aiida_mlal.ml.configurations import OK, UNLABELLED, Configurations
from aiida_mlal.ml.labelling.checks import FAILED, UNCONVERGED, Limits, check_geometry
from aiida_mlal.ml.labelling.fingerprint import Method
from aiida_mlal.ml.labelling.outcome import NotConverged, judged, unlabelled, unlabelled_by
from aiida_mlal.ml.labelling.outliers import without_outliers
from aiida_mlal.workflows.labelling.base import (
    LabellingWorkChain,
    failure,
    failure_reason,
    limits_of,
)


class PerStructureLabelWorkChain(LabellingWorkChain):
    """Labels each structure by a process of its own, and judges what that found.

    A subclass exposes the inputs of the process and says what belongs to its code: which inputs
    decide labels (``deciding``), how they are compared (``method``), what a structure is computed
    with (``prepare``, ``process_inputs``) and how the outputs are read (``read``). Its module has
    the two calcfunctions that ``calcfunctions`` returns, so that the graph shows whose they are.

    Attributes
    ----------
    PROCESS
        Class of the process that computes a structure: a WorkChain, or a CalcJob.
    OUTPUTS
        Its outputs that ``read`` wants. The process that made the first is the label's source.
    NOT_CONVERGED
        Its exit statuses that mean that the electrons did not converge.
    EXPLAINED_BY
        Classes of processes inside of it whose exit codes it may pass on.
    """

    PROCESS: ClassVar[Any]
    OUTPUTS: ClassVar[tuple[str, ...]]
    NOT_CONVERGED: ClassVar[tuple[int, ...]] = ()
    EXPLAINED_BY: ClassVar[tuple[Any, ...]] = ()

    @classmethod
    def calcfunctions(cls) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Return calcfunctions that call ``prepare_all`` and ``collect_all`` of this class."""
        raise NotImplementedError

    @classmethod
    def deciding(cls, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs that determine labels, under names of one's own.

        The other methods get them as ``nodes``. Namespaces are mappings of nodes.
        """
        raise NotImplementedError

    @classmethod
    def method(cls, nodes: Mapping[str, Any]) -> Method:
        """Return the method of the labels, by which they are compared with others."""
        raise NotImplementedError

    @classmethod
    def describe(cls, nodes: Mapping[str, Any]) -> dict[str, Any]:
        """Describe for a reader what makes the labels."""
        method = cls.method(nodes)
        return {**method.common, "elements": dict(method.elements)}

    @classmethod
    def prepare(cls, structure: Configurations, nodes: Mapping[str, Any]) -> dict[str, Data]:
        """Return new nodes that one structure is computed with: ``structure``, and others.

        Raises
        ------
        ValueError
            If the code cannot compute the structure with these inputs.
        """
        return {"structure": to_structure(structure)}

    def process_inputs(self, structure: Configurations, prepared: Mapping[str, Data]) -> Any:
        """Return the inputs of the process for one structure.

        Parameters
        ----------
        prepared
            What ``prepare`` made for it, now stored.
        """
        inputs = self.exposed_inputs(self.PROCESS)
        inputs.update(prepared)
        return inputs

    @classmethod
    def read(
        cls, structure: Configurations, nodes: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> Configurations:
        """Return the structure that was computed, with energy, forces and stress.

        It is built from what the code says that it computed, not from ``structure``: the two are
        compared, and so are the sizes of what was found with the limits of a label.

        Raises
        ------
        NotConverged
            If a self-consistent cycle did not converge.
        ValueError
            If something is missing or in other units than expected.
        """
        raise NotImplementedError

    @classmethod
    def failure(cls, process: ProcessNode) -> str:
        """Name the failure of a process by a word that link labels can hold."""
        return failure(process)

    @classmethod
    def version(cls, outputs: Mapping[str, Any]) -> str | None:
        """Return the version of the code, where the outputs tell it."""
        return None

    @classmethod
    def warning(cls, outputs: Mapping[str, Any]) -> str:
        """Return a warning about a label that is good all the same; empty without one."""
        return ""

    @classmethod
    def complaint(cls, retrieved: FolderData) -> str:
        """Return the error message in the output of the code; empty if there is none."""
        return ""

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare the outline."""
        super().define(spec)
        spec.inputs["batch_size"].default = lambda: Int(20)
        step: Any = cls
        spec.outline(
            step.make_structures,
            while_(step.structures_are_left)(step.submit_batch),
            step.collect,
        )

    @classmethod
    def label_method(cls, inputs: Mapping[str, Any]) -> Method:
        """Return the method of the labels."""
        return cls.method(cls.deciding(inputs))

    @classmethod
    def foresee(cls, inputs: Mapping[str, Any], structure: Configurations) -> dict[str, Any]:
        """Return the parameters of a structure, or why it is not worth a calculation."""
        nodes, limits = cls.deciding(inputs), limits_of(inputs.get("limits"))
        prepared, status, reason = cls._prepared(structure, nodes, limits)
        if prepared is None:
            return {"status": status, "reason": reason}
        return {k: node.get_dict() for k, node in prepared.items() if isinstance(node, Dict)}

    def make_structures(self) -> None:
        """Make the nodes of all structures that are worth a calculation, in one call."""
        self.ctx.submitted = 0
        make, _ = self.calcfunctions()
        self.ctx.prepared = make(
            dataset=self.inputs.dataset,
            metadata={"call_link_label": "structures"},
            **self.deciding(self.inputs),
            **self.limits(),
        )
        self.ctx.frames = sorted(self.ctx.prepared)

    def structures_are_left(self) -> bool:
        """Whether some structures have not been submitted."""
        return bool(self.ctx.submitted < len(self.ctx.frames))

    def submit_batch(self) -> None:
        """Submit as many structures as are allowed at a time."""
        names, first = self.ctx.frames, self.ctx.submitted
        batch = names[first : first + self.inputs.batch_size.value]
        if len(batch) < len(names):
            self.report(f"submitting structures {first}-{first + len(batch) - 1} of {len(names)}")
        configurations = self.inputs.dataset.configurations
        for name in batch:
            structure = configurations[int(name.removeprefix("frame_"))]
            inputs = self.process_inputs(structure, self.ctx.prepared[name])
            inputs.setdefault("metadata", {})
            inputs["metadata"] |= {"call_link_label": name, "label": f"label of {name}"}
            self.to_context(**{name: self.submit(self.PROCESS, **inputs)})
        self.ctx.submitted += len(batch)

    def collect(self) -> ExitCode | None:
        """Turn what the processes found into labels."""
        computed: dict[str, Any] = {}
        unfinished: dict[str, Any] = {}
        told: dict[str, Any] = {}
        for name in self.ctx.frames:
            child = self.ctx[name]
            if child.is_killed:  # by somebody who did not want the label, or not there
                continue
            missing = [key for key in self.OUTPUTS if key not in child.outputs]
            if child.is_finished_ok and not missing:
                computed[name] = {key: child.outputs[key] for key in self.OUTPUTS}
            else:
                word = f"without_{missing[0]}" if child.is_finished_ok else self.failure(child)
                structure = self.ctx.prepared[name]["structure"]
                unfinished[name] = {word: {UUID(child.uuid).hex: structure}}
                if files := _retrieved(child):
                    told[name] = files[-1]
        _, gather = self.calcfunctions()
        collected = gather(
            dataset=self.inputs.dataset,
            labels=computed,
            failed=unfinished,
            retrieved=told,
            metadata={"call_link_label": "collect"},
            **self.deciding(self.inputs),
            **self.limits(),
        )
        return self.give(collected["dataset"], collected["description"])

    @classmethod
    def prepare_all(
        cls, dataset: DatasetData, limits: Dict | None = None, **nodes: Any
    ) -> dict[str, Any]:
        """Return for each structure that is worth a calculation, by ``frame``, its new nodes."""
        bounds = limits_of(limits)
        made = {
            frame(i): cls._prepared(one, nodes, bounds)[0]
            for i, one in enumerate(dataset.configurations)
        }
        return {name: new for name, new in made.items() if new is not None}

    @classmethod
    def collect_all(
        cls,
        dataset: DatasetData,
        limits: Dict | None = None,
        labels: Mapping[str, Any] | None = None,
        failed: Mapping[str, Any] | None = None,
        retrieved: Mapping[str, Any] | None = None,
        **nodes: Any,
    ) -> dict[str, Data]:
        """Return the structures with labels, and a description of what made them.

        Parameters
        ----------
        labels
            The ``OUTPUTS`` of the structures that were computed.
        failed
            For each other structure how its process ended, in that the UUID of the process without
            its hyphens, in that the structure: link labels hold what is no node.
        retrieved
            The files of the last job of such a process, where it had one.
        """
        method, bounds = cls.method(nodes), limits_of(limits)
        frames, sources, versions = [], [], []
        for i, one in enumerate(dataset.configurations):
            source = ""
            if frame(i) in (labels or {}):
                outputs = (labels or {})[frame(i)]
                versions.append(cls.version(outputs))
                source = outputs[cls.OUTPUTS[0]].creator.uuid
                mark = method.fingerprint(versions[-1], one.elements)
                outcome = cls._labelled(one, nodes, outputs, mark, bounds)
            elif frame(i) in (failed or {}):
                ((word, origin),) = (failed or {})[frame(i)].items()
                source = str(UUID(next(iter(origin))))
                known = word in {f"exit_{status}" for status in cls.NOT_CONVERGED}
                reason = failure_reason(word, cls.PROCESS, *cls.EXPLAINED_BY)
                files = (retrieved or {}).get(frame(i))
                said = "" if files is None else cls.complaint(files)
                reason = f"{reason.rstrip('.')}; {said}" if said else reason
                outcome = unlabelled(one, reason, UNCONVERGED if known else FAILED)
            else:
                _, status, reason = cls._prepared(one, nodes, bounds)
                if status == OK:
                    status, reason = UNLABELLED, "its process was killed"
                outcome = unlabelled(one, reason, status)
            frames.append(outcome)
            sources.append(source)
        version = next((one for one in versions if one is not None), None)
        description = {**cls.describe(nodes), "version": version}
        return {
            "dataset": DatasetData(
                without_outliers(Configurations.concatenate(frames), bounds), sources
            ),
            "description": Dict(
                {"description": description, "fingerprint": method.fingerprint(version)}
            ),
        }

    @classmethod
    def _prepared(
        cls, structure: Configurations, nodes: Mapping[str, Any], limits: Limits
    ) -> tuple[dict[str, Data] | None, str, str]:
        """Prepare a structure: return its nodes if it is worth a calculation, a status and why."""
        status, reason = check_geometry(structure, limits)
        if status != OK:
            return None, status, reason
        try:
            return cls.prepare(structure, nodes), status, reason
        except ValueError as error:
            return None, FAILED, str(error)

    @classmethod
    def _labelled(
        cls,
        structure: Configurations,
        nodes: Mapping[str, Any],
        outputs: Mapping[str, Any],
        mark: str,
        limits: Limits,
    ) -> Configurations:
        try:
            label = cls.read(structure, nodes, outputs)
            warning = cls.warning(outputs)
        except NotConverged as error:
            return unlabelled(structure, str(error), UNCONVERGED)
        except ValueError as error:
            return unlabelled(structure, str(error))
        except Exception as error:  # an output that nobody thought of costs no other label
            return unlabelled_by(structure, error)
        return judged(structure, label, mark, limits, warning)


def _retrieved(process: ProcessNode) -> list[FolderData]:
    """Return the files of all jobs of a process, the last ones last."""
    called = [process, *process.called_descendants]
    jobs = [node for node in called if isinstance(node, CalcJobNode)]
    jobs.sort(key=lambda job: job.ctime)
    return [job.outputs.retrieved for job in jobs if "retrieved" in job.outputs]


def frame(i: int) -> str:
    """Return the link label of a structure."""
    return f"frame_{i:05d}"
