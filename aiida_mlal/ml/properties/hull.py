"""Formation energies and the convex hull of several structures."""

from collections.abc import Sequence
from dataclasses import dataclass

from ase.phasediagram import PhaseDiagram

from aiida_mlal.ml.properties.base import Found, Property
from aiida_mlal.ml.properties.crystal import Crystal


@dataclass(frozen=True)
class Hull(Property):
    """Formation energies, and energies above the convex hull of all structures.

    References are the structures of one element with the lowest energy; all elements must have one.
    """

    def compute(self, crystals: Sequence[Crystal]) -> list[Found]:
        """Compare each structure with the hull of all (by ASE)."""
        pure: dict[str, float] = {}
        for crystal in crystals:
            (first, *more) = set(crystal.atoms.symbols)
            if not more:
                pure[first] = min(pure.get(first, crystal.energy_per_atom), crystal.energy_per_atom)
        elements = {symbol for crystal in crystals for symbol in crystal.atoms.symbols}
        if elements - set(pure):
            raise ValueError(
                f"a hull wants a structure of each element alone, there is none of "
                f"{sorted(elements - set(pure))}"
            )
        phases = [
            (crystal.atoms.symbols.formula.count(), crystal.relaxed.energy) for crystal in crystals
        ]
        diagram = PhaseDiagram(phases, verbose=False) if len(elements) > 1 else None
        results = []
        for crystal in crystals:
            symbols, e = crystal.atoms.symbols, crystal.energy_per_atom
            formation = e - sum(pure[symbol] for symbol in symbols) / len(symbols)
            best = pure[symbols[0]] * len(symbols)
            if diagram is not None:
                best = diagram.decompose(**symbols.formula.count())[0]
            results.append(
                Found(
                    {
                        "formation_energy_eV_per_atom": float(formation),
                        "above_hull_eV_per_atom": float(e - best / len(symbols)),
                    }
                )
            )
        return results
