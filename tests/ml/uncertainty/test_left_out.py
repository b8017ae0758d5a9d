"""What the labels of a Gaussian process say of each other."""

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.gaussian_process import Posterior
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.options import build
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.training.options import TrainingOptions
from aiida_mlal.ml.uncertainty.carried import carry
from aiida_mlal.ml.uncertainty.gp_std import ProcessForceStd, _beyond, _observed
from aiida_mlal.ml.uncertainty.left_out import left_out, scale


def water(seed, size=0.1):
    atoms = molecule("H2O", cell=[8, 8, 8])
    atoms.rattle(size, seed=seed)
    atoms.calc = EMT()
    atoms.get_forces()
    return atoms


def copper(seed, size=0.1):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(size, seed=seed)
    atoms.calc = EMT()
    atoms.get_stress()
    return atoms


def posterior(potential, structures):
    """Return the posterior of some structures, its prior that of the potential."""
    process = potential.process()
    targets = _beyond(potential, process, structures)
    with torch.no_grad():
        return Posterior(*_observed(process, structures, targets), process.prior)


@pytest.fixture(scope="module", params=["molecules", "crystals", "both, on a prior"])
def learned(request):
    """A process, and four structures that it learned from."""
    frames = {
        "molecules": [water(seed) for seed in range(4)],
        "crystals": [copper(seed) for seed in range(4)],
    }
    mixed = [water(0), copper(0), copper(1), water(1)]
    train = Configurations.from_ase(frames.get(request.param, mixed))
    prior = {"prior": {"architecture": "second_moment"}} if request.param not in frames else {}
    potential = ModelOptions.parse({"architecture": "gp", "cutoff": 4.0, **prior}).build(
        list(train.elements), 0
    )
    options = {"epochs": 5, "optimizer": {"name": "marginal_likelihood"}}
    fit(potential, train, build(TrainingOptions, options), 0)
    return potential, train


def test_they_are_what_the_others_foretell(learned):
    """In closed form as by leaving each out in turn, with the same prior."""
    potential, train = learned
    whole = posterior(potential, train)
    one_by_one = list(left_out(whole))
    assert len(one_by_one) == len(train)
    process = potential.process()
    known = _observed(process, train, _beyond(potential, process, train))
    places = np.cumsum([0, *(len(one) for one in known.structures)])
    for k, (errors, variances) in enumerate(one_by_one):
        mine = slice(places[k], places[k + 1])
        others = np.setdiff1d(np.arange(places[-1]), np.arange(mine.start, mine.stop))
        kept = [one for j, one in enumerate(known.structures) if j != k]
        with torch.no_grad():
            apart = Posterior(
                kept, *(part[others] for part in (known.values, known.noise, known.shared)),
                process.prior,
            )  # fmt: skip
            one = known.structures[k]
            mean = apart.known(one.scaled(process.prior.lengths)).T @ apart.weights
            if known.shared[mine].any():  # what energies and stresses have in common
                mean += known.shared[mine] * (known.shared[others] @ apart.weights)
            expected = (known.values[mine] - mean)[one.heights == 0]
            spread = (
                apart.variances(one)[one.heights == 0] + known.noise[mine][one.heights == 0] ** 2
            )
        np.testing.assert_allclose(errors, expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(variances, spread, rtol=1e-4, atol=1e-8)


def test_a_prior_that_is_too_sure_is_made_up_for(learned):
    """With a hundredth of the deviation, errors of what is left out are far too large."""
    potential, train = learned
    process, before = potential.process(), scale(posterior(potential, train))
    assert before >= 1
    kept = process.variance.clone()
    process.variance /= 100**2
    after = scale(posterior(potential, train))
    process.variance.copy_(kept)
    assert after > 10 * before


def test_deviations_are_larger_by_it(learned):
    potential, train = learned
    about = carry(potential, {"name": "gp_std"}, train)
    assert about["scale"] == pytest.approx(scale(posterior(potential, train)))
    asked = Configurations.from_ase([water(9)] if "H" in train.elements else [copper(9)])
    found = ProcessForceStd().measure(potential, asked).per_atom
    extras = potential.extras
    potential.extras = {**extras, "gp_std.scale": torch.tensor(1.0, dtype=torch.float64)}
    bare = ProcessForceStd().measure(potential, asked).per_atom
    potential.extras = extras
    np.testing.assert_allclose(found, about["scale"] * bare, rtol=1e-10)


def test_energies_alone_say_nothing_of_forces():
    train = Configurations.from_ase([water(seed) for seed in range(3)])
    bare = train.with_labels(train.energies, np.full_like(train.forces, np.nan))
    potential = ModelOptions.parse({"architecture": "gp", "cutoff": 4.0}).build(["H", "O"], 0)
    options = {"epochs": 2, "optimizer": {"name": "marginal_likelihood"}}
    fit(potential, bare, build(TrainingOptions, options), 0)
    assert carry(potential, {"name": "gp_std"}, bare)["scale"] == 1
