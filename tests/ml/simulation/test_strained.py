"""Coordinates of a cell that moves, and bands in them."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import GPa
from continuing import check_goes_on

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import STEP
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.simulation import path
from aiida_mlal.ml.simulation.cell import MovingCell
from aiida_mlal.ml.simulation.neb import Band, Neb
from aiida_mlal.ml.simulation.strained import Strained, largest, length, strained

FULL = MovingCell("full")
A = 3.61


def vacancy(n=2, a=A):
    """Ends of the path of a vacancy in copper to the next site."""
    crystal = bulk("Cu", a=a, cubic=n == 2) * n
    begin, end = crystal.copy(), crystal.copy()
    near = int(np.argsort(crystal.get_distances(0, range(len(crystal)), mic=True))[1])
    begin.positions[near], end.positions[near] = crystal.positions[near], crystal.positions[0]
    del begin[0], end[0]
    return begin, end


def sheared():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    reference = atoms.cell.array.copy()
    atoms.set_cell(reference @ [[1.02, 0.03, 0], [0.01, 0.98, -0.02], [0, 0.02, 1.01]], True)
    atoms.calc = EMT()
    return atoms, reference


@pytest.fixture(scope="module")
def potential():
    model = {"architecture": "ase", "calculator": {"name": "emt"}}
    return ModelOptions.parse(model).build(["Cu"], 0)


@pytest.fixture(scope="module")
def whole(potential):
    """The path of a vacancy, whose cell moves; tests only read it."""
    simulation = Neb(cell="full", fmax=0.02, smax_GPa=0.05)
    assert simulation.reached == (0.02, 0.05)
    return simulation.run(potential, Configurations.from_ase(vacancy()))


def test_forces_are_the_derivative_of_the_energy():
    atoms, reference = sheared()
    image = Strained(atoms, FULL, reference)
    start, forces = image.get_positions().copy(), image.get_forces().copy()
    assert start.shape == forces.shape == (len(image), 3) == (7, 3)
    found = np.empty_like(forces)
    for i in np.ndindex(found.shape):
        sides = []
        for sign in (1, -1):
            there = start.copy()
            there[i] += sign * 1e-4
            image.set_positions(there)
            sides.append(image.get_potential_energy())
        found[i] = (sides[1] - sides[0]) / 2e-4
    np.testing.assert_allclose(found, forces, atol=2e-6)


def test_a_strain_is_as_long_as_in_the_paper():
    """The length of an atom in the crystal, times the root of their number."""
    atoms, reference = sheared()
    a = np.cbrt(np.linalg.det(reference))
    assert length(reference, 4) == pytest.approx(a / 4 ** (1 / 3) * 2)
    image = Strained(atoms, FULL, reference)
    deformation = np.linalg.solve(reference, atoms.cell.array)
    np.testing.assert_allclose(image.positions[4:], deformation.T * length(reference, 4))
    np.testing.assert_allclose(image.positions[:4] @ deformation, atoms.positions)


def test_rows_of_the_cell_are_stresses_in_GPa():
    atoms, _ = sheared()
    image = Strained(atoms, FULL, atoms.cell.array)
    fmax, smax = largest(image.get_forces()[None], 4, atoms.cell.array)
    assert fmax == pytest.approx(np.linalg.norm(atoms.get_forces(), axis=1).max())
    assert smax == pytest.approx(np.abs(atoms.get_stress()).max() / GPa)
    assert largest(atoms.get_forces()[None], 4, atoms.cell.array) == pytest.approx((fmax, 0.0))


def test_a_fixed_cell_has_no_coordinates():
    atoms, reference = sheared()
    assert strained(atoms, MovingCell(), reference) is atoms
    images = [atoms.copy() for _ in range(3)]
    for i, image in enumerate(images):
        image.positions[0] += 0.2 * i
        image.calc = EMT()
    assert Band(images, 0.1).get_forces().shape == (4, 3)


def test_forces_and_stress_vanish_at_ends_and_saddle(potential, whole):
    (run,) = whole.runs
    assert run.converged
    frames = whole.trajectory
    last = frames[STEP.of(frames) == run.steps]
    again = potential.predict(last)
    stationary = list(run.stationary)
    assert stationary == [2, 0, 4]
    assert max(again.max_forces[stationary]) < 0.02
    assert max(FULL.largest(again.stresses)[stationary]) < 0.05
    assert run.results["saddle_fmax"] == pytest.approx(again.max_forces[2])
    assert run.results["modes"]["n_imaginary"] == 1
    volumes = np.linalg.det(last.cells)
    assert volumes[0] < volumes[1] < volumes[2]
    slopes = np.array(run.results["slopes"])
    assert np.abs(slopes[[0, 2, 4]]).max() < 5e-3 < slopes[1]


def test_the_barrier_is_lower_where_the_cell_gives_way(potential, whole):
    """Both from relaxed ends: the one band in their cell, the other with it."""
    frames = whole.trajectory
    ends = frames[STEP.of(frames) == whole.runs[0].steps][[0, 4]].bare
    kept = Neb().run(potential, ends)
    assert kept.runs[0].converged
    barriers = [one.runs[0].results["barrier"] for one in (kept, whole)]
    assert 0.005 < barriers[0] - barriers[1] < 0.1


def test_only_the_volume_moves_if_so_asked(potential):
    frames = Neb(cell="volume").run(potential, Configurations.from_ase(vacancy(3))).trajectory
    cells = frames.cells / np.cbrt(np.linalg.det(frames.cells))[:, None, None]
    np.testing.assert_allclose(cells, np.broadcast_to(cells[0], cells.shape), atol=1e-9)
    assert np.ptp(np.linalg.det(frames.cells)) > 1.0


def test_a_path_whose_cell_moves_goes_on_to_the_last_bit():
    model = {"architecture": "morse", "cutoff": 4.0}
    potential = ModelOptions.parse(model).build(["Cu"], seed=0)
    structures = Configurations.from_ase(vacancy(3, 3.0))
    simulation = Neb(cell="full", max_steps=8, climb_below=10.0, fmax_ends=0.5, smax_GPa=20.0)
    whole = simulation.run(potential, structures)
    n = whole.runs[0].steps
    assert n > 6
    assert np.ptp(np.linalg.det(whole.trajectory.cells)) > 0.1
    for at in (1, n // 2, n - 1):
        check_goes_on(simulation, potential, structures, whole, at)


def test_images_between_different_cells():
    begin, end = vacancy()
    end.set_cell(end.cell.array * [[1.02], [1.0], [0.99]], scale_atoms=True)
    images = path.interpolated([begin, end], [0, 4], "linear", True)
    assert [image.cell.lengths()[0] for image in images] == pytest.approx(
        begin.cell.lengths()[0] * (1 + 0.005 * np.arange(5))
    )
    ways = np.diff([image.cell.scaled_positions(image.positions) for image in images], axis=0)
    ways -= ways.round()
    np.testing.assert_allclose(ways, np.broadcast_to(ways[0], ways.shape), atol=1e-12)
    np.testing.assert_allclose(images[-1].positions, end.positions, atol=1e-12)


def test_cells_that_make_no_path_are_refused():
    begin, end = vacancy()
    end.set_cell(end.cell.array * 1.01, scale_atoms=True)
    pair = Configurations.from_ase([begin, end])
    with pytest.raises(ValueError, match=r"same cell: .*, and what moves of the cell is 'fixed'"):
        Neb().check(pair)
    Neb(cell="full").check(pair)
    Neb(cell="volume").check(pair)
    wide = end.copy()
    wide.set_cell(wide.cell.array * [[1.01], [1], [1]], scale_atoms=True)
    with pytest.raises(ValueError, match=r"what moves of the cell is 'volume'"):
        Neb(cell="volume").check(Configurations.from_ase([begin, wide]))
    end.rotate(20, "z", rotate_cell=True)
    with pytest.raises(ValueError, match=r"number 1 is turned by 20 degrees"):
        Neb(cell="full").check(Configurations.from_ase([begin, end]))


def test_a_path_may_be_that_of_the_cell_alone():
    """As from fcc to bcc."""
    begin = bulk("Cu", cubic=True)
    end = begin.copy()
    end.set_cell(begin.cell.array * [[1], [1], [0.75]], scale_atoms=True)
    Neb(cell="full").check(Configurations.from_ase([begin, end]))
    with pytest.raises(ValueError, match="the same structure"):
        Neb(cell="full").check(Configurations.from_ase([begin, begin]))
