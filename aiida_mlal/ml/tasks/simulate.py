"""Run a simulation with a potential from each of some structures."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from aiida_mlal.ml import load_potential, plugins
from aiida_mlal.ml.formats.describe import untaught
from aiida_mlal.ml.formats.files import check_target, load, write
from aiida_mlal.ml.formats.table import CONFIGURATIONS, by_name
from aiida_mlal.ml.options import as_dict, within
from aiida_mlal.ml.tasks.base import Progress, Task
from aiida_mlal.ml.wholefile import write_whole

if TYPE_CHECKING:
    from aiida_mlal.ml.simulation.base import SimulationResult
    from aiida_mlal.ml.simulation.recorder import Store
    from aiida_mlal.ml.simulation.state import Checkpoint


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
    begun
        File of the state of the same simulations, to go on from there.
    earlier
        File of the frames until then, which are written before the later ones. Those that a job
        which was killed left in ``trajectory.frames`` are found without.
    checkpoint_seconds
        How often the state and all frames before it are written, so that a job can go on that was
        killed.
    keep_state
        Whether the state of a single run is written when it is over too, so that another potential
        can go on.
    output
        File of the frames.
    """

    OUTPUT: ClassVar[str] = "trajectory.safetensors"
    STATE: ClassVar[str] = "state.safetensors"
    FRAMES: ClassVar[str] = "trajectory.frames"
    LEFT: ClassVar[tuple[str, ...]] = (STATE, f"{FRAMES}/*.safetensors")

    simulation: Mapping[str, Any]
    potential: str = "potential.safetensors"
    dataset: str = "structures.safetensors"
    elements: tuple[str, ...] | None = None
    output: str = OUTPUT
    begun: str | None = None
    earlier: str | None = None
    checkpoint_seconds: float = 60.0
    keep_state: bool = False

    def __post_init__(self) -> None:
        """Let the simulation judge its options."""
        if not self.checkpoint_seconds >= 0:
            raise ValueError(
                f"expected checkpoint_seconds of 0 or more, got {self.checkpoint_seconds}"
            )
        plugins.make("simulations", self.simulation, "simulation")
        if self.earlier is not None and self.begun is None:
            raise ValueError("earlier: frames before a state, which 'begun' has to name")

    def run(self) -> dict[str, Any]:
        """Simulate, and write all frames of all runs."""
        simulation = plugins.make("simulations", self.simulation, "simulation")
        from aiida_mlal.ml.formats import potentials

        check_target(self.output, several=True)
        potential = load_potential(self.potential, self.elements)
        types = potentials.types(potential)
        contents = load(self.dataset, self.elements, types, named=True)
        structures = contents.configurations
        with within(self.dataset):
            structures.check_movable()
            structures.check_not_empty()
            potential.check_structures(structures)
        n_runs = len(simulation.groups(structures))
        if self.keep_state and n_runs != 1:
            raise ValueError(
                f"keep_state: a state is that of one run, and {self.dataset} has structures for "
                f"{n_runs}"
            )
        counts = ("steps", "step", "n_steps") if n_runs == 1 else ("runs", "run", "n_runs")
        from aiida_mlal.ml.models.checkpoint import mark_of
        from aiida_mlal.ml.simulation.recorder import Store
        from aiida_mlal.ml.simulation.state import Checkpoint

        begun = None
        if self.begun is not None:
            begun = Checkpoint.load(self.begun)
            with within(self.begun):
                simulation.check_begun(begun, structures)
        store = Store(Path(self.FRAMES))
        self._restore(store, begun)
        try:
            result = simulation.run(
                potential,
                structures,
                Progress(*counts),
                begun,
                store,
                self._save,
                self.checkpoint_seconds,
            )
        except BaseException as error:
            computed: SimulationResult | None = getattr(error, "computed", None)
            if computed is not None and computed.checkpoint is not None:
                with contextlib.suppress(Exception):  # the first error is the one to be told
                    results = self._keep(computed, types)
                    self._save(computed.checkpoint)
                    results["message"] = (
                        f"frames are in {self.output}, and the state to go on from (option "
                        f"'begun') in {self.STATE}"
                    )
                    setattr(error, "result", results)  # noqa: B010
            raise
        results = self._keep(result, types)
        if self.keep_state and result.checkpoint is not None:
            self._save(result.checkpoint)
        elif self.begun is None or Path(self.begun).resolve() != Path(self.STATE).resolve():
            Path(self.STATE).unlink(missing_ok=True)  # but what was given stays
        if begun is not None and begun.state is not None:
            results["went_on_from"] = {
                "run": begun.run,
                "step": begun.step,
                "other_potential": begun.is_of_another(mark_of(potential)),
            }
        said = [*contents.warnings, results["message"], *result.warnings]
        said += untaught(self.potential) if simulation.moving_cell else []
        return {**results, "message": "; ".join(filter(None, said))}

    def _restore(self, store: "Store", begun: "Checkpoint | None") -> None:
        """Leave in the store the frames before a state: those given, or that a killed job left."""
        from aiida_mlal.ml.simulation.continuation import before

        if begun is not None and self.earlier is None and not store.is_empty:
            store.restrict(partial(before, checkpoint=begun))
            return
        if begun is not None and self.earlier is None and Path(self.output).exists():
            raise ValueError(
                f"{self.output} is there, maybe with the frames before {self.begun}: name it as "
                "'earlier' to have all frames together, or give another output"
            )
        store.clear()
        if begun is not None and self.earlier is not None:
            store.add(before(load(self.earlier).configurations, begun))

    def _save(self, checkpoint: "Checkpoint") -> None:
        write_whole(self.STATE, checkpoint.to_bytes())

    def _keep(self, result: "SimulationResult", types: tuple[str, ...]) -> dict[str, Any]:
        lost: list[str] = []
        if by_name(self.output).name == CONFIGURATIONS:
            result.store.save(self.output)
        else:
            lost = write(result.trajectory, self.output, types)
        result.store.clear()  # whose parts are there until all is written
        return {"message": "; ".join(lost), "runs": [as_dict(run) for run in result.runs]}
