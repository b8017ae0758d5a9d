"""Direct relaxations to compare with."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.optimize import BFGS

from aiida_mlal.ml.simulation.cell import FIXED, MovingCell
from aiida_mlal.report.direct import (
    OPTIMIZERS,
    DirectRelaxation,
    read,
    relax,
    relax_frames,
    summary,
)


@pytest.fixture
def water():
    atoms = molecule("H2O")
    atoms.rattle(0.1, seed=1)
    return atoms


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_ends_at_the_first_label_below_the_limit(water, optimizer):
    direct = relax(water, EMT(), optimizer, fmax=0.05)
    assert direct.fmax[-1] < 0.05
    assert min(direct.fmax[:-1]) >= 0.05
    assert len(direct.energies) == direct.labels


def test_counts_each_geometry_once(water):
    atoms = water.copy()
    atoms.calc = EMT()
    with BFGS(atoms, logfile=None) as steps:
        steps.run(fmax=0.05)
        calls = steps.nsteps + 1
    assert relax(water, EMT(), "BFGS", fmax=0.05).labels == calls


def test_does_not_move_the_given_atoms(water):
    before = water.positions.copy()
    relax(water, EMT(), fmax=0.5)
    np.testing.assert_array_equal(water.positions, before)


def test_forces_on_fixed_atoms_do_not_count(slab):
    slab.set_constraint(slab.constraints)
    direct = relax(slab, EMT(), fmax=0.05)
    assert direct.fmax[-1] < 0.05


def test_reads_a_trajectory(water, tmp_path):
    atoms = water.copy()
    atoms.calc = EMT()
    path = tmp_path / "qe.traj"
    with BFGS(atoms, logfile=None, trajectory=str(path)) as steps:
        steps.run(fmax=0.05)
    found = summary("qe", frames := read(path), frames[0])
    np.testing.assert_allclose(found.fmax, relax(water, EMT(), fmax=0.05).fmax)


def test_atoms_of_a_file_are_fixed_that_are_in_the_start(slab):
    """As outputs of codes do not say which atoms were."""
    fixed = relax(slab, EMT(), fmax=0.05)
    frames = relax_frames(slab, EMT(), "BFGS", 0.05, 100, FIXED, 0.1)
    bare = replace(frames, fixed=np.zeros_like(frames.fixed))
    assert summary("file", bare, frames[0], fmax=0.05).fmax == fixed.fmax
    assert summary("file", bare, bare[0], fmax=0.05).fmax != fixed.fmax


def test_refuses_frames_without_forces(water, tmp_path):
    path = tmp_path / "bare.xyz"
    write(path, water)
    with pytest.raises(ValueError, match="expected frames with forces"):
        read(path)


def test_a_relaxation_that_never_gets_there_is_kept_whole():
    direct = DirectRelaxation("slow", (3.0, 2.0, 1.0), (0.0, -1.0, -2.0))
    assert direct.until(0.05) == direct
    assert direct.until(2.5).labels == 2


def test_unknown_optimizer_is_answered_with_the_nearest(water):
    with pytest.raises(ValueError, match="did you mean 'BFGS'"):
        relax(water, EMT(), "BFSG")


class TestMovingCell:
    @pytest.fixture
    def crystal(self):
        return bulk("Al", cubic=True, a=4.2)

    def test_relaxes_the_cell_to_the_limit_of_the_stress(self, crystal):
        """By symmetry all forces are zero from the start."""
        cell = MovingCell("full")
        direct = relax(crystal, EMT(), cell=cell, smax_GPa=0.05)
        assert max(direct.fmax) < 1e-9
        assert direct.smax_GPa[-1] < 0.05
        assert min(direct.smax_GPa[:-1]) >= 0.05
        frames = relax_frames(crystal, EMT(), "BFGS", 0.05, 100, cell, 0.05)
        assert len(frames) == direct.labels
        assert frames.cells[-1] == pytest.approx(3.994 * np.eye(3), abs=0.003)

    def test_a_cell_that_is_fixed_is_relaxed_at_once(self, crystal):
        assert relax(crystal, EMT()).labels == 1

    def test_reads_a_trajectory_with_stress_only(self, crystal, tmp_path):
        crystal.calc = EMT()
        crystal.get_stress()
        write(tmp_path / "whole.traj", crystal)
        frames = read(tmp_path / "whole.traj")
        found = summary("whole", frames, frames[0], MovingCell("full"))
        assert found.smax_GPa[0] > 1.0
        results = {"energy": crystal.get_potential_energy(), "forces": crystal.get_forces()}
        crystal.calc = SinglePointCalculator(crystal, **results)
        write(tmp_path / "bare.traj", crystal)
        bare = read(tmp_path / "bare.traj")
        with pytest.raises(ValueError, match="bare: expected frames with stress"):
            summary("bare", bare, bare[0], MovingCell("full"))
