"""A property."""

from dataclasses import dataclass

from ase import Atoms

from aiida_mlal.ml.properties.base import CrystalProperty, Found


@dataclass(frozen=True)
class Cohesion(CrystalProperty):
    """Energy that it costs to take a crystal apart, into atoms in a box of ``box`` Å."""

    box: float = 12.0

    def of(self, crystal):
        atoms, apart = crystal.atoms, 0.0
        for symbol in atoms.symbols:
            alone = Atoms(symbol, cell=[self.box] * 3, pbc=True)
            apart += crystal.evaluator.evaluate(alone, "cohesion").energy
        cohesion = (apart - crystal.relaxed.energy) / len(atoms)
        said = [] if cohesion > 0 else ["the crystal falls apart"]
        return Found({"cohesive_energy_eV_per_atom": cohesion}, warnings=said)
