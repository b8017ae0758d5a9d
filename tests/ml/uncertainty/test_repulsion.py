"""Repulsion of atoms that are nearer than labelled ones."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.data import covalent_radii

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.zbl import ZBL, ZBLOptions
from aiida_mlal.ml.uncertainty.repulsion import OVERLAP, Repulsion

ELEMENTS = ("C", "Cu")
ROWS = torch.full((119,), -1)
ROWS[[6, 29]] = torch.arange(2)


def seen(atoms):
    graph = Graph.of(Configurations.from_ase(atoms), 5.0)
    return graph, ROWS[graph.numbers]


def dimer(distance, symbols="CCu"):
    return Atoms(symbols, [(0, 0, 0), (0, 0, distance)])


def of(repulsion, atoms):
    return repulsion.of(*seen(atoms))


@pytest.fixture
def repulsion():
    return Repulsion.beyond(ELEMENTS, *seen([dimer(1.5), dimer(1.9)]))


def test_it_is_what_a_parabola_does_not_tell_of_the_repulsion(repulsion):
    """By finite differences of the potential at the smallest labelled distance."""
    potential, step = ZBL(ELEMENTS, ZBLOptions()), 1e-3

    def bare(distance):
        place = torch.tensor([distance], dtype=torch.float64)
        return potential.bare(place, torch.tensor([0]), torch.tensor([1])).item()

    low, middle, high = (bare(1.5 + d) for d in (-step, 0.0, step))
    slope, curvature = (high - low) / (2 * step), (high - 2 * middle + low) / step**2
    for distance in (1.1, 1.3, 1.49):
        beyond = distance - 1.5
        expected = bare(distance) - middle - slope * beyond - curvature * beyond**2 / 2
        found = of(repulsion, dimer(distance)).energies.item()
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_labels_have_none(repulsion):
    for distance in (1.5, 1.6, 2.0, 3.0):
        found = of(repulsion, dimer(distance))
        assert found.energies.item() == 0
        assert not found.forces.any()


@pytest.mark.parametrize("symbols", ["CCu", "CC", "Cu2"])
def test_bonds_that_were_never_labelled_have_none_either(symbols):
    """Distances of triple bonds, and those of metals at rest, are no overlaps."""
    never = Repulsion(ELEMENTS, torch.full((2, 2), torch.inf, dtype=torch.float64))
    begin = OVERLAP * covalent_radii[dimer(1.0, symbols).numbers].sum()
    assert of(never, dimer(begin + 1e-3, symbols)).energies.item() == 0
    assert of(never, dimer(begin - 0.1, symbols)).energies.item() > 0


def test_only_the_elements_that_were_near_are_known(repulsion):
    assert of(repulsion, dimer(1.5, "Cu2")).energies.item() > 1
    assert of(repulsion, dimer(1.2, "CC")).energies.item() == pytest.approx(0, abs=1e-3)


@pytest.fixture
def crowded():
    atoms = bulk("Cu", cubic=True, a=2.9)
    atoms.symbols[0] = "C"
    atoms.rattle(0.15, seed=1)
    return atoms


def test_forces_and_virials_are_derivatives_of_the_energy(repulsion, crowded):
    found, step = of(repulsion, crowded), 1e-4
    for atom in range(2):
        for axis in range(3):
            energies = []
            for sign in (1, -1):
                moved = crowded.copy()
                moved.positions[atom, axis] += sign * step
                energies.append(of(repulsion, moved).energies.item())
            expected = -(energies[0] - energies[1]) / (2 * step)
            assert found.forces[atom, axis].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    for i, j in ((0, 0), (0, 1), (2, 1)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * step / 2
            strain[j, i] += sign * step / 2
            moved = crowded.copy()
            moved.set_cell(moved.cell.array @ strain, scale_atoms=True)
            energies.append(of(repulsion, moved).energies.item())
        expected = (energies[0] - energies[1]) / (2 * step)
        assert found.virials[0, i, j].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_structures_of_a_batch_are_by_themselves(repulsion, crowded):
    together = of(repulsion, [dimer(1.2), crowded])
    assert together.energies[0] == of(repulsion, dimer(1.2)).energies[0]
    torch.testing.assert_close(together.energies[1:], of(repulsion, crowded).energies)
    torch.testing.assert_close(together.forces[2:], of(repulsion, crowded).forces)
    assert together.virials[0].isnan().all()
