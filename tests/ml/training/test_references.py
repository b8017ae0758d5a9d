"""Absolute energies, of -10² to -10⁵ eV an atom, are learned as well as small ones."""

import numpy as np
import pytest
from ase.build import add_adsorbate, bulk, fcc100
from ase.calculators.emt import EMT

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.options import build
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.training.options import TrainingOptions

OFFSETS = {"Cu": -1305.0, "C": -152.0, "O": -43200.0}
MORSE = {"architecture": "morse", "cutoff": 4.0}
BPNN = {"architecture": "bpnn", "hidden": [5], "cutoff": 3.5}
MTP = {"architecture": "mtp", "level": 4, "cutoff": 3.5, "min_dist": 1.2, "radial_basis_size": 4}
GMNN = {
    "architecture": "gmnn",
    "hidden": [6],
    "cutoff": 3.5,
    "descriptor": {"n_radial": 2, "n_basis": 3},
}
LM = {"optimizer": {"name": "levenberg_marquardt", "ridge": 1e-4}}
LBFGS = {"epochs": 1}  # line searches make much of the last digits
VP = {"optimizer": {"name": "variable_projection"}}
MODELS = {
    "bpnn": (BPNN, LM),
    "bpnn on morse": ({**BPNN, "prior": MORSE}, LM),
    "ensemble on morse": ({**BPNN, "prior": MORSE, "ensemble": 2}, LM),
    "bpnn, lbfgs": (BPNN, LBFGS),
    "gmnn": (GMNN, LBFGS),
    "mtp": (MTP, LBFGS),
    "mtp, variable projection": (MTP, VP),
}


def structures(n, seed):
    """Return a crystal, a clean slab and slabs with C and O, in turns."""
    rng, found = np.random.default_rng(seed), []
    for k in range(n):
        atoms = bulk("Cu", cubic=True) if k % 4 == 0 else fcc100("Cu", (1, 1, 3), vacuum=5)
        atoms.pbc = True
        if k % 4 > 1:
            add_adsorbate(atoms, "CO"[k % 4 - 2], 1.4, "hollow")
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        atoms.calc = EMT()
        atoms.get_stress()
        found.append(atoms)
    return Configurations.from_ase(found)


TRAIN, TEST = structures(8, 1), structures(4, 2)


def of_atoms(configurations, offsets=OFFSETS):
    symbols = {29: "Cu", 6: "C", 8: "O"}
    per_atom = [offsets.get(symbols[z], 0.0) for z in configurations.numbers.tolist()]
    return np.bincount(configurations.owner, per_atom)


def shifted(configurations, offsets=OFFSETS):
    energies = configurations.energies + of_atoms(configurations, offsets)
    return configurations.with_labels(energies, configurations.forces, configurations.stresses)


def train(model, training, labels, seed=0, start=None):
    potential = ModelOptions.parse(model).build(["C", "O", "Cu"], seed)
    if start is not None:
        potential.warm_start(start)
    options = build(TrainingOptions, {"epochs": 6, "patience": None, "starts": 1, **training})
    return potential, fit(potential, labels, options, seed, initialise=start is None)


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("name", MODELS)
def test_energies_of_isolated_atoms_change_nothing(name, precision):
    model, training = MODELS[name]
    if precision == "single" and training is not LBFGS:
        pytest.skip("these optimizers are tried in double precision")
    training = {**training, "precision": precision}
    bare, expected = train(model, training, TRAIN)
    potential, record = train(model, training, shifted(TRAIN))
    without, found = bare.predict(TEST), potential.predict(TEST)
    limit = 1e-3 if precision == "double" else 2e-2
    np.testing.assert_allclose(found.forces, without.forces, atol=limit)
    rest = found.energies - of_atoms(TEST)
    np.testing.assert_allclose(rest / TEST.counts, without.energies / TEST.counts, atol=limit)
    for part in ("energy_rmse", "force_rmse"):
        wanted = expected.errors["train"][part]
        assert record.errors["train"][part] == pytest.approx(wanted, rel=0.03)


def test_single_precision_learns_from_what_is_beyond_the_reference_energies():
    """In single precision -43200 eV has steps of 4 meV."""
    labels = shifted(TRAIN)
    errors = [
        train(MTP, {"epochs": 30, "precision": precision}, labels)[1].errors["train"]["energy_mae"]
        for precision in ("double", "single")
    ]
    assert max(errors) < 2e-3
    assert errors[1] == pytest.approx(errors[0], abs=1e-3)


def test_given_energies_are_kept_and_the_others_found():
    given = {"Cu": -1304.0, "O": -43000.0}
    potential, record = train({**MTP, "reference_energies": given}, VP, shifted(TRAIN))
    assert potential.references["Cu"] == -1304.0
    assert potential.references["O"] == -43000.0
    assert potential.references["C"] == pytest.approx(-152.0, abs=30)
    assert record.errors["train"]["energy_rmse"] < 0.05


def test_going_on_keeps_them_and_finds_those_of_new_elements():
    known, new = TRAIN[[0, 1, 4, 5]], TRAIN[[0, 1, 2, 3, 6, 7]]
    first = ModelOptions.parse(MTP).build(["Cu"], 0)
    fit(first, shifted(known), build(TrainingOptions, {"epochs": 5, **VP}), 0)
    potential, record = train(MTP, VP, shifted(new), start=first)
    assert potential.references["Cu"] == first.references["Cu"]
    assert potential.references["O"] == pytest.approx(-43200, abs=30)
    assert record.errors["train"]["energy_rmse"] < 0.05


def test_an_element_that_is_not_in_the_labels_is_left_to_a_later_training():
    potential, _ = train(MTP, VP, shifted(TRAIN[[0, 1, 2, 4, 5, 6]]))
    assert sorted(potential.references) == ["C", "Cu"]


def test_a_prior_with_absolute_energies_is_learned_upon():
    teacher, _ = train(BPNN, LM, shifted(TRAIN))
    from aiida_mlal.ml.models.sum import Sum

    for weight in teacher.parameters():
        weight.requires_grad_(False)
    learner = ModelOptions.parse(BPNN).build(["C", "O", "Cu"], 5)
    both = Sum([teacher, learner])
    record = fit(both, shifted(TRAIN), build(TrainingOptions, {"epochs": 6, **LM}), 0)
    assert record.errors["train"]["energy_rmse"] < 0.1  # of 1e3 eV and more
    assert all(abs(energy) < 10 for energy in learner.references.values())
