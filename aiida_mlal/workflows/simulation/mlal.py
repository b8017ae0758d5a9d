"""Simulations by the command ``mlal``, which go on after an interruption."""

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida.engine import calcfunction
from aiida.orm import CalcJobNode

from aiida_mlal.calculations.simulate import SimulateCalculation
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.state import StateData
from aiida_mlal.ml.simulation.continuation import join as join_parts
from aiida_mlal.workflows.restart import TaskBaseWorkChain
from aiida_mlal.workflows.simulation.base import SimulationWorkChain


class SimulateBaseWorkChain(TaskBaseWorkChain, SimulationWorkChain):
    """Runs simulations with ASE, in one job.

    After an interruption it goes on where it was, and the outputs are those of all parts together:
    the same as without the interruption.
    """

    CODE: ClassVar[str] = "simulate.code"
    NAMESPACE: ClassVar[str] = "simulate"
    OUTSIDE: ClassVar[tuple[str, ...]] = (
        "potential", "structures", "simulation", "state", "keep_state",
    )  # fmt: skip
    _process_class = SimulateCalculation

    def go_on_from(self, node: CalcJobNode) -> bool:
        """Go on from the state that the job left."""
        if "state" not in node.outputs or "trajectory" not in node.outputs:
            return False
        self.ctx.trajectory = self._joined(node)
        self.ctx.inputs.state = state = node.outputs.state
        self.report(
            f"simulation<{node.pk}> goes on from step {state.checkpoint.step} of run "
            f"{state.checkpoint.run}"
        )
        return True

    def get_outputs(self, node: CalcJobNode) -> Mapping[str, Any]:
        """Return the trajectory of all parts."""
        outputs = dict(super().get_outputs(node))
        if "trajectory" in outputs:
            outputs["trajectory"] = self._joined(node)
        return outputs

    def _joined(self, node: CalcJobNode) -> DatasetData:
        """Return the frames of all parts until now."""
        if "trajectory" not in self.ctx:
            trajectory: DatasetData = node.outputs.trajectory
            return trajectory
        joined: DatasetData = join(  # type: ignore[call-arg]
            trajectory=self.ctx.trajectory,
            state=self.ctx.inputs.state,
            continuation=node.outputs.trajectory,
            metadata={"call_link_label": f"join_{self.ctx.iteration:02d}"},
        )
        return joined


@calcfunction
def join(trajectory: DatasetData, state: StateData, continuation: DatasetData) -> DatasetData:
    """Return the frames of both parts, the second of which went on from the state."""
    return DatasetData(
        join_parts(trajectory.configurations, state.checkpoint, continuation.configurations)
    )
