import numpy as np
import pytest
import torch
from ase.build import bulk

from aiida_mlal.ml.calculator import MLCalculator
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.simulation.relax import Relax
from aiida_mlal.ml.uncertainty.active_set import ActiveSet
from aiida_mlal.ml.uncertainty.grade import Grade
from aiida_mlal.ml.uncertainty.rows import SelectionWeights


def copper(n, rattle=0.05, seed=0):
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n):
        atoms = bulk("Cu", "fcc", rng.uniform(3.5, 3.7), cubic=True)
        atoms.rattle(rattle, rng=rng)
        frames.append(atoms)
    return Configurations.from_ase(frames)


@pytest.fixture(params=["configuration", "neighbourhood"])
def potential(request):
    options = {"architecture": "mtp", "level": 4, "radial_basis_size": 4}
    potential = single(options, ["Cu"], 0)
    ActiveSet.of(potential, copper(40), request.param).store(potential)
    return potential


def test_measures_what_the_active_set_says(potential):
    structures = copper(5, 0.2, seed=1)
    found = Grade().measure(potential, structures, batch=2)
    wanted = ActiveSet.stored(potential).grades(potential, structures)
    np.testing.assert_allclose(found.values, wanted.values)
    if wanted.per_atom is not None:
        np.testing.assert_allclose(found.per_atom, wanted.per_atom)


def test_the_calculator_finds_it_with_the_fast_evaluator(potential):
    structures = copper(3, 0.2, seed=2)
    wanted = ActiveSet.stored(potential).grades(potential, structures)
    for i, atoms in enumerate(structures.to_ase()):
        atoms.calc = MLCalculator(potential, Grade())
        atoms.get_forces()
        assert atoms.calc.engine.name == "numba"
        assert atoms.calc.results["uncertainty"] == pytest.approx(wanted.values[i], rel=1e-6)
        if wanted.per_atom is not None:
            mine = wanted.per_atom[4 * i : 4 * i + 4]
            np.testing.assert_allclose(atoms.calc.results["uncertainties"], mine, rtol=1e-6)


def test_rows_of_forces_need_the_model_itself():
    options = {"architecture": "mtp", "level": 4, "radial_basis_size": 4}
    potential = single(options, ["Cu"], 0)
    active = ActiveSet.of(potential, copper(10), SelectionWeights(1.0, force_weight=0.1))
    active.store(potential)
    atoms = copper(1, 0.2, seed=2).to_ase()[0]
    atoms.calc = MLCalculator(potential, Grade())
    atoms.get_forces()
    assert atoms.calc.engine.name == "numba"  # which leaves the rows to torch
    wanted = active.grades(potential, copper(1, 0.2, seed=2)).values[0]
    assert atoms.calc.results["uncertainty"] == pytest.approx(wanted)


def test_a_simulation_ends_where_the_grade_breaks(potential):
    """Both thresholds, without saying which uncertainty they are of."""
    start = copper(2, 0.4, seed=3)
    off = {"max_force": None, "min_distance": None, "escape": False}
    free = Relax(max_steps=5, guard=Guard(**off)).run(potential, start)
    grades = free.trajectory.info["uncertainty"]
    assert grades[0] > 1
    limits = {"select": float(grades[0]) / 2, "break_": float(grades[0]) * 0.99}
    watched = Relax(max_steps=5, guard=Guard(**off, **limits)).run(potential, start)
    assert watched.runs[0].reason == "uncertain"
    assert watched.runs[0].steps == 0
    assert watched.trajectory.info["candidate"][0]


def test_without_an_active_set():
    bare = single({"architecture": "mtp", "level": 2}, ["Cu"], 0)
    with pytest.raises(ValueError, match="carries no active set"):
        Grade().measure(bare, copper(1))
    with pytest.raises(ValueError, match="carries no active set"):
        MLCalculator(bare, Grade())


def test_what_training_keeps_is_the_active_set(potential):
    train = copper(40)
    mode = ActiveSet.stored(potential).mode
    fitted = Grade(mode=mode).fitted(potential, train)
    assert fitted.extras.keys() == potential.extras.keys()
    for name, tensor in fitted.extras.items():
        assert torch.equal(tensor, potential.extras[name]), name
    assert fitted.about["mode"] == mode
    assert fitted.about["rank"] == ActiveSet.stored(potential).rank


def test_a_measure_of_another_mode_says_what_to_do(potential):
    other = {"configuration": "neighbourhood", "neighbourhood": "configuration"}
    mode = other[ActiveSet.stored(potential).mode]
    with pytest.raises(ValueError, match=f"for '{mode}' it has to be made again"):
        Grade(mode=mode).measure(potential, copper(1))


def test_thresholds_that_every_swap_meets_are_refused():
    with pytest.raises(ValueError, match="threshold above 1, got 1"):
        Grade(threshold=1.0)
    with pytest.raises(ValueError, match="start above 0, got 0"):
        Grade(start=0.0)
