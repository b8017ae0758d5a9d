import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential

from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.fit_morse import fit_morse


class PairCalculator(Calculator):
    """Two atoms on the x axis with the energy and slope of a given function."""

    implemented_properties = ("energy", "forces")

    def __init__(self, energy, slope):
        super().__init__()
        self.energy, self.slope = energy, slope

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        forces = np.zeros((len(atoms), 3))
        energy = 0.0
        if len(atoms) == 2:
            r = np.ptp(atoms.positions[:, 0])
            energy, forces[:, 0] = self.energy(r), [self.slope(r), -self.slope(r)]
        self.results = {"energy": energy, "forces": forces}


def test_a_box_in_which_the_dimer_is_not_alone_is_refused():
    with pytest.raises(ValueError, match=r"a box of .* Å or more around a dimer of .* got 2"):
        fit_morse("Cu", EMT(), box=2.0)


@pytest.mark.parametrize(("depth", "length", "stiffness"), [(2.7, 2.2, 1.4), (0.5, 3.0, 1.0)])
def test_recovers_the_parameters_of_a_morse_potential(depth, length, stiffness):
    reference = MorsePotential(
        epsilon=depth, r0=length, rho0=stiffness * length, rcut1=10.0, rcut2=12.0
    )
    found = fit_morse("Cu", reference, fmax=1e-5)
    assert found["De"] == pytest.approx(depth, rel=1e-6)
    assert found["re"] == pytest.approx(length, rel=1e-5)
    assert found["a"] == pytest.approx(stiffness, rel=1e-4)


def test_is_deterministic_and_what_the_option_wants():
    found = fit_morse("Cu", EMT())
    assert found == fit_morse("Cu", EMT())
    single({"architecture": "morse", "parameters": {"Cu": found}}, ["Cu"], seed=0)


def test_fit_stays_close_to_the_dimer_it_came_from():
    found = fit_morse("Cu", EMT(), box=12.0)
    assert found == pytest.approx({"De": 3.8386, "re": 2.1688, "a": 1.4399}, abs=1e-3)


def test_a_minimum_above_two_atoms_becomes_a_shallow_well():
    def energy(r):
        return 1.3 + 0.1 * (1 - np.exp(-1.2 * (r - 3))) ** 2

    def slope(r):
        return 0.1 * 2 * (1 - np.exp(-1.2 * (r - 3))) * 1.2 * np.exp(-1.2 * (r - 3))

    found = fit_morse("Sr", PairCalculator(energy, slope), fmax=1e-4)
    assert found == pytest.approx({"De": 0.1, "re": 3.0, "a": 1.2}, abs=2e-3)


def test_a_repulsive_dimer_is_refused():
    with pytest.raises(ValueError, match="dimer of He has no minimum"):
        fit_morse("He", PairCalculator(lambda r: 1 / r, lambda r: -1 / r**2))


def test_an_unknown_element_is_refused():
    with pytest.raises(ValueError, match="'Xx' is no chemical element"):
        fit_morse("Xx", EMT())
