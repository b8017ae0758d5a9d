import numpy as np
import pytest
from ase.calculators.lj import LennardJones
from ase.neighborlist import neighbor_list

from aiida_mlal.ml.properties.cold_curve import ColdCurve, holes
from aiida_mlal.ml.properties.dimer import Dimer


class Hole(LennardJones):
    """Repels at first, and attracts without end nearer than 2 Å: as a bad fit may."""

    def calculate(self, *arguments):
        super().calculate(*arguments)
        d = neighbor_list("d", self.atoms, 2.0)
        self.results["energy"] -= 200 * ((2.0 - d) ** 2).sum()
        self.results["free_energy"] = self.results["energy"]


def test_a_sound_crystal_has_one_minimum(bonds, fcc):
    found = ColdCurve().of(fcc)
    assert found.warnings == []
    assert found.numbers["energy_at_shortest_eV_per_atom"] > 1
    energies = found.curves["energy_eV_per_atom"]
    assert energies.min() == pytest.approx(-6 * bonds.energy, rel=1e-3)
    assert energies[-1] == 0  # all bonds are broken


def test_a_hole_under_compression_is_named(bonds, equilibrate, fcc):
    calculator = Hole(sigma=bonds.d / 2 ** (1 / 6), epsilon=0.01, rc=1.2 * bonds.d)
    crystal = equilibrate(fcc.atoms, calculator)
    (below, hole) = ColdCurve(shortest=0.6).of(crystal).warnings
    assert "eV below that of the minimum" in below
    assert "a hole: the energy falls under compression, below" in hole


def test_dimers_have_the_depth_and_length_of_their_bond(bonds, fcc):
    """Whatever the distances of the curve are, and though none of them is that of the minimum."""
    for n in (39, 14):
        found = Dimer(n=n).of(fcc)
        assert found.numbers["Cu_Cu_distance_A"] == pytest.approx(bonds.d, abs=3e-4)
        assert found.numbers["Cu_Cu_depth_eV"] == pytest.approx(bonds.energy, rel=1e-5)
        assert found.warnings == []


def test_a_dimer_that_has_no_minimum_is_named(equilibrate, fcc):
    repulsive = LennardJones(sigma=2.3, epsilon=0.01, rc=20.0)
    said = Dimer(shortest=0.5, longest=0.8).of(equilibrate(fcc.atoms, repulsive)).warnings
    assert said == ["Cu-Cu: the energy is lowest at the longest distance"]


def test_a_dimer_that_falls_in_is_named(bonds, equilibrate, fcc):
    calculator = Hole(sigma=bonds.d / 2 ** (1 / 6), epsilon=0.01, rc=1.2 * bonds.d)
    said = Dimer(shortest=0.5).of(equilibrate(fcc.atoms, calculator)).warnings
    assert said == ["Cu-Cu: the energy is lowest at the shortest distance"]


def test_a_dent_is_a_hole():
    x = np.arange(6.0)
    (said,) = holes(x, np.array([5.0, 3.0, 4.0, 1.0, 0.0, 1.0]), 4, "approach", "Å")
    assert said == "a hole: the energy falls under approach, below 2 Å"
    assert holes(x, np.array([5.0, 4.0, 3.0, 1.0, 0.0, 1.0]), 4, "approach", "Å") == []
