"""Simulations that go on after an interruption."""

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida.engine import calcfunction
from aiida.orm import CalcJobNode, Data, Dict

from aiida_mlal.calculations.simulate import SimulateCalculation
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.simulation.continuation import join as join_parts
from aiida_mlal.ml.simulation.continuation import unfinished as unfinished_runs
from aiida_mlal.workflows.restart import TaskBaseWorkChain


class SimulateBaseWorkChain(TaskBaseWorkChain):
    """Runs a simulation from each of some structures.

    After an interruption, runs that came to their end are not done again, the one that was
    interrupted goes on from its last frame, and the outputs are those of all parts together. Each
    part may take as many steps as the options say.
    """

    NAMESPACE: ClassVar[str] = "simulate"
    _process_class = SimulateCalculation

    def go_on_from(self, node: CalcJobNode) -> bool:
        """Begin with the runs that are left."""
        if "trajectory" not in node.outputs:
            return False
        self._remember(node)
        self.ctx.inputs.structures = unfinished(  # type: ignore[call-arg]
            structures=self.inputs.simulate.structures,
            trajectory=self.ctx.trajectory,
            results=self.ctx.results,
            metadata={"call_link_label": f"unfinished_{self.ctx.iteration:02d}"},
        )
        self.report(f"simulation<{node.pk}>: {len(self.ctx.inputs.structures)} runs are left")
        return True

    def get_outputs(self, node: CalcJobNode) -> Mapping[str, Any]:
        """Return the trajectory of all parts."""
        outputs = dict(super().get_outputs(node))
        if "trajectory" in self.ctx:
            self._remember(node)
            outputs |= {"trajectory": self.ctx.trajectory, "results": self.ctx.results}
        return outputs

    def _remember(self, node: CalcJobNode) -> None:
        outputs = node.outputs
        found: Any = {"trajectory": outputs.trajectory, "results": outputs.results}
        if "trajectory" in self.ctx:
            found = join(  # type: ignore[call-arg]
                trajectory=self.ctx.trajectory,
                results=self.ctx.results,
                start=self.ctx.inputs.structures,
                continuation=outputs.trajectory,
                later_results=outputs.results,
                metadata={"call_link_label": f"join_{self.ctx.iteration:02d}"},
            )
        self.ctx.trajectory, self.ctx.results = found["trajectory"], found["results"]


@calcfunction
def unfinished(structures: DatasetData, trajectory: DatasetData, results: Dict) -> DatasetData:
    """Return where the runs that are left begin."""
    return DatasetData(
        unfinished_runs(
            structures.configurations, trajectory.configurations, results.get_dict()["runs"]
        )
    )


@calcfunction
def join(
    trajectory: DatasetData,
    results: Dict,
    start: DatasetData,
    continuation: DatasetData,
    later_results: Dict,
) -> dict[str, Data]:
    """Return all frames of all parts, and how each run ended."""
    frames, runs = join_parts(
        trajectory.configurations,
        results.get_dict()["runs"],
        start.configurations,
        continuation.configurations,
        later_results.get_dict()["runs"],
    )
    return {
        "trajectory": DatasetData(frames),
        "results": Dict({**later_results.get_dict(), "runs": runs}),
    }
