"""Simulations side by side: some of the runs in each job."""

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida.engine import ExitCode, calcfunction, while_
from aiida.orm import Data, Dict, Int, to_aiida_type

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import RUN
from aiida_mlal.workflows.endings import failure_words
from aiida_mlal.workflows.simulation.base import SimulationWorkChain
from aiida_mlal.workflows.simulation.mlal import SimulateBaseWorkChain
from aiida_mlal.workflows.validators import at_least_one


class SimulateBatchesWorkChain(SimulationWorkChain):
    """Runs simulations in several jobs, which a cluster runs at once.

    Runs know nothing of each other, so that frames and results are those of one job with all of
    them. Each job goes on after an interruption by itself.
    """

    CODE: ClassVar[str] = "simulate.code"

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs and the outline."""
        super().define(spec)
        for name in ("state", "keep_state"):  # of a single run
            del spec.inputs[name]
        del spec.outputs["state"]
        spec.expose_inputs(SimulateBaseWorkChain, exclude=SimulateBaseWorkChain.OUTSIDE)
        spec.input(
            "runs_per_job",
            valid_type=Int,
            serializer=to_aiida_type,
            default=lambda: Int(1),
            validator=at_least_one,
            help="How many runs a job does, one after the other.",
        )
        spec.input(
            "jobs_at_once",
            valid_type=Int,
            serializer=to_aiida_type,
            required=False,
            validator=at_least_one,
            help="How many jobs are submitted at a time; all of them without it.",
        )
        step: Any = cls
        spec.outline(step.split, while_(step.jobs_are_left)(step.submit_some), step.merge)
        spec.exit_code(
            412, "ERROR_JOB_FAILED", message="{failed} of {total} jobs failed, {process}: {why}"
        )

    def split(self) -> None:
        """Find out which runs there are, and which job does them."""
        batches: Any = split_runs(  # type: ignore[call-arg]
            structures=self.inputs.structures,
            simulation=self.inputs.simulation,
            runs_per_job=self.inputs.runs_per_job,
            metadata={"call_link_label": "split"},
        )
        self.ctx.structures = batches
        self.ctx.left = sorted(batches)

    def jobs_are_left(self) -> bool:
        """Whether some jobs have not been submitted."""
        return bool(self.ctx.left)

    def submit_some(self) -> None:
        """Submit as many jobs as are allowed at a time."""
        n = len(self.ctx.left)
        if "jobs_at_once" in self.inputs:
            n = min(n, self.inputs.jobs_at_once.value)
        for name in self.ctx.left[:n]:
            inputs = self.exposed_inputs(SimulateBaseWorkChain)
            inputs.update(
                potential=self.inputs.potential,
                simulation=self.inputs.simulation,
                structures=self.ctx.structures[name],
                metadata={"call_link_label": name, "label": f"simulation, {name}"},
            )
            self.to_context(**{name: self.submit(SimulateBaseWorkChain, **inputs)})
        self.ctx.left = self.ctx.left[n:]

    def merge(self) -> ExitCode | None:
        """Put the frames and results of all jobs together."""
        jobs = {name: self.ctx[name] for name in sorted(self.ctx.structures)}
        bad = [job for job in jobs.values() if not job.is_finished_ok]
        if bad:
            code: ExitCode = self.exit_codes.ERROR_JOB_FAILED.format(
                failed=len(bad), total=len(jobs), **failure_words(bad[0])
            )
            return code
        merged: Any = merge_runs(
            metadata={"call_link_label": "merge"},
            **{
                name: {key: job.outputs[key] for key in ("trajectory", "results")}
                for name, job in jobs.items()
            },
        )
        return self.give(merged["trajectory"], merged["results"])


@calcfunction
def split_runs(structures: DatasetData, simulation: Dict, runs_per_job: Int) -> dict[str, Data]:
    """Split structures into those that the runs of each job begin from: ``job_000`` and so on."""
    plan = SimulateBatchesWorkChain.plan(simulation.get_dict())
    groups, n = plan.groups(structures.configurations), runs_per_job.value
    jobs = [groups[first : first + n] for first in range(0, len(groups), n)]
    return {
        f"job_{i:03d}": DatasetData(Configurations.concatenate(job)) for i, job in enumerate(jobs)
    }


@calcfunction
def merge_runs(**jobs: Mapping[str, Any]) -> dict[str, Data]:
    """Return trajectory and results of all jobs, runs counted through.

    Parameters
    ----------
    jobs
        ``trajectory`` and ``results`` of each.
    """
    frames: list[Configurations] = []
    runs: list[Mapping[str, Any]] = []
    messages: list[str] = []
    for name in sorted(jobs):
        trajectory, results = jobs[name]["trajectory"].configurations, jobs[name]["results"]
        frames.append(trajectory.with_columns({RUN: RUN.of(trajectory) + len(runs)}))
        runs += results["runs"]
        if (message := results.get("message")) and message not in messages:
            messages.append(message)
    return {
        "trajectory": DatasetData(Configurations.concatenate(frames)),
        "results": Dict({"message": "; ".join(messages), "runs": runs}),
    }
