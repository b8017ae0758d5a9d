import numpy as np
import pytest
from ase.build import bulk

from aiida_mlal.ml.properties.hull import Hull


@pytest.fixture(scope="module")
def alloys(equilibrate):
    """Silver and gold by EMT: pure ones, an ordered alloy of both kinds, and a worse one."""
    cells = [bulk("Ag", cubic=True), bulk("Au", cubic=True)]
    for symbols in ("AgAuAuAu", "AgAgAuAu", "AgAgAgAu"):
        atoms = bulk("Ag", a=4.08, cubic=True)
        atoms.symbols = symbols
        cells.append(atoms)
    atoms = bulk("Ag", "bcc", a=3.25, cubic=True)
    atoms.symbols = "AgAu"
    cells.append(atoms)
    return [equilibrate(atoms) for atoms in cells]


def test_energies_above_the_hull_are_those_above_its_lowest_segments(alloys):
    found = [one.numbers for one in Hull().compute(alloys)]
    formation = np.array([one["formation_energy_eV_per_atom"] for one in found])
    above = np.array([one["above_hull_eV_per_atom"] for one in found])
    energies = np.array([crystal.energy_per_atom for crystal in alloys])
    x = np.array([np.mean(np.array(list(c.atoms.symbols)) == "Au") for c in alloys])
    np.testing.assert_allclose(formation, energies - energies[0] * (1 - x) - energies[1] * x)
    for xi, fi, ai in zip(x, formation, above):
        lines = [
            fa + (fb - fa) * (xi - xa) / (xb - xa)
            for xa, fa in zip(x, formation)
            for xb, fb in zip(x, formation)
            if xa < xi <= xb or (xa <= xi < xb)
        ]
        assert fi - ai == pytest.approx(min(lines), abs=1e-9)
    assert above.min() > -1e-9
    assert above[-1] > 1e-3


def test_a_hull_wants_all_elements_alone(alloys):
    with pytest.raises(ValueError, match=r"there is none of \['Au'\]"):
        Hull().compute([alloys[0], alloys[2]])
