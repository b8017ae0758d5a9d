"""A simulation engine."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from aiida.engine import calcfunction
from aiida.orm import Dict

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.options import as_dict, build
from aiida_mlal.ml.simulation.base import Ending, Plan, summarise
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.simulation.recorder import Frame, Recorder, Store
from aiida_mlal.workflows.simulation.base import SimulationWorkChain


@dataclass(frozen=True)
class Damped(Plan):
    """Damped dynamics until forces are below ``fmax`` (eV/Å)."""

    name: Literal["damped"] = "damped"
    fmax: float = 0.05
    max_steps: int = 100
    guard: Guard = field(default_factory=Guard)


class MySimulationWorkChain(SimulationWorkChain):
    """Run simulations by damped dynamics of ASE, without a job."""

    @classmethod
    def plan(cls, options):
        return build(Damped, options, "simulation")

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.outline(cls.run_all)

    def run_all(self):
        names = ("potential", "structures", "simulation")
        found = run_all(**{name: self.inputs[name] for name in names})
        return self.give(found["trajectory"], found["results"])


@calcfunction
def run_all(potential, structures, simulation):
    from ase.optimize import MDMin

    from aiida_mlal.ml.calculator import MLCalculator  # torch is slow to import

    options = MySimulationWorkChain.plan(simulation.get_dict())
    trained, store, runs = potential.load(), Store(), []
    measure = options.guard.measure(trained, structures.configurations)
    for number, start in enumerate(structures.configurations):
        atoms = start.to_ase()[0]
        atoms.calc = MLCalculator(trained, measure)
        record, reason = Recorder(start, store, number), "max_steps"
        steps = MDMin(atoms, logfile=None).irun(options.fmax, options.max_steps)
        for step, converged in enumerate(steps):
            record(frame(step, atoms, options.guard))
            if converged:
                reason = "converged"
        record.close()
        runs.append(as_dict(summarise(start, record, Ending(reason, ""))))
    return {"trajectory": DatasetData(store.read()), "results": Dict({"runs": runs})}


def frame(step, atoms, guard):
    found = atoms.calc.results
    uncertainty = found.get("uncertainty", np.nan)
    return Frame(
        step=step,
        positions=atoms.positions.copy(),
        cell=atoms.cell.array.copy(),
        energy=found["energy"],
        forces=found["forces"],
        stress=np.full((3, 3), np.nan),
        uncertainty=uncertainty,
        uncertainties=found.get("uncertainties"),
        candidate=guard.wants_label(uncertainty),
    )
