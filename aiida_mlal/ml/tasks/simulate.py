"""Run a simulation with a potential from each of some structures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from aiida_mlal.ml import load_potential, parts
from aiida_mlal.ml.formats.files import check_target, load, write
from aiida_mlal.ml.options import as_dict, within
from aiida_mlal.ml.tasks.base import Interrupted, Progress, Task

if TYPE_CHECKING:
    from aiida_mlal.ml.simulation.base import SimulationResult


@dataclass(frozen=True)
class Simulate(Task):
    """Run a simulation.

    Attributes
    ----------
    simulation
        Name and options of the simulation, such as ``{"name": "relax", "fmax": 0.03}``.
    potential
        File of the potential.
    dataset
        File of the structures to begin with, one simulation for each.
    elements
        Of the types 0, 1, ... in files that only number them.
    """

    OUTPUT: ClassVar[str] = "trajectory.safetensors"

    simulation: Mapping[str, Any]
    potential: str = "potential.safetensors"
    dataset: str = "structures.safetensors"
    elements: tuple[str, ...] | None = None
    output: str = OUTPUT

    def __post_init__(self) -> None:
        """Let the simulation judge its options."""
        parts.make("simulations", self.simulation, "simulation")

    def run(self) -> dict[str, Any]:
        """Simulate, and write all frames of all runs."""
        simulation = parts.make("simulations", self.simulation, "simulation")
        from aiida_mlal.ml.formats import potentials

        check_target(self.output)
        potential = load_potential(self.potential, self.elements)
        types = potentials.types(potential)
        contents = load(self.dataset, self.elements, types)
        structures = contents.configurations
        with within(self.dataset):
            structures.check_movable()
        try:
            result = simulation.run(potential, structures, Progress())
        except Interrupted as stop:
            raise Interrupted(str(stop), self._keep(stop.computed, types)) from stop
        return {**self._keep(result, types), "message": "; ".join(contents.remarks)}

    def _keep(self, result: "SimulationResult | None", types: tuple[str, ...]) -> dict[str, Any]:
        if result is None:
            return {}
        write(result.trajectory, self.output, types)
        return {"runs": [as_dict(run) for run in result.runs]}
