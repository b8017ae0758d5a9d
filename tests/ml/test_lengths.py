import pytest
from ase import Atoms
from ase.build import bulk, fcc100, molecule
from ase.units import Bohr

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.lengths import doubtful_lengths

MATTER = {
    "copper": bulk("Cu", cubic=True),
    "stretched by 12 %": bulk("Al", cubic=True, a=4.5),
    "caesium": bulk("Cs"),
    "salt": bulk("NaCl", "rocksalt", a=5.64),
    "slab": fcc100("Cu", (2, 2, 3), vacuum=8),
    "ethanol": molecule("CH3CH2OH"),
    "hydrogen": molecule("H2"),
}


def scaled(atoms, factor):
    found = atoms.copy()
    found.positions *= factor
    found.cell *= factor
    return Configurations.from_ase(found)


@pytest.mark.parametrize("name", MATTER)
def test_matter_is_as_usual_and_in_other_units_it_is_not(name):
    assert doubtful_lengths(scaled(MATTER[name], 1.0)) == []
    (said,) = doubtful_lengths(scaled(MATTER[name], 1 / Bohr))
    assert "are positions in Bohr" in said
    (said,) = doubtful_lengths(scaled(MATTER[name], 0.1))
    assert "are positions in nm" in said


def test_angstroms_read_as_bohr_are_doubted():
    """As in data of n2p2 in eV and Å, which its files do not say."""
    (said,) = doubtful_lengths(scaled(MATTER["copper"], Bohr))
    assert "read as Bohr" in said


def test_one_structure_as_usual_is_enough():
    far = scaled(MATTER["copper"], 1 / Bohr)
    assert doubtful_lengths(Configurations.concatenate([far, scaled(MATTER["salt"], 1.0)])) == []


@pytest.mark.parametrize("atoms", [bulk("Ar"), Atoms("Cu"), Atoms("Cu2", [[0, 0, 0], [0, 0, 9.0]])])
def test_what_is_not_bound_is_not_judged(atoms):
    assert doubtful_lengths(Configurations.from_ase(atoms)) == []
    assert doubtful_lengths(Configurations.empty()) == []
