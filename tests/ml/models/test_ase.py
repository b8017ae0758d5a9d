import numpy as np
import pytest
import torch
from ase.build import add_adsorbate, bulk, fcc100
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

from aiida_mlal.ml.calculator import MLCalculator
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.options import build
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.training.options import TrainingOptions

EMT_PRIOR = {"architecture": "ase", "calculator": {"name": "emt"}}
LENNARD_JONES = {
    "architecture": "ase",
    "calculator": {"name": "lj", "options": {"sigma": 2.2, "epsilon": 0.3, "rc": 5.0}},
}
LEARNERS = {
    "bpnn": {"architecture": "bpnn", "cutoff": 4.0, "hidden": [5]},
    "mtp": {"architecture": "mtp", "level": 4, "cutoff": 4.0, "min_dist": 1.0},
}
LEAST_SQUARES = {
    "bpnn": {"name": "levenberg_marquardt"},
    "mtp": {"name": "variable_projection"},
}


def structures(n=6, seed=0):
    rng = np.random.default_rng(seed)
    slab = fcc100("Cu", (2, 2, 2), vacuum=6)
    slab.pbc = True, True, False
    add_adsorbate(slab, "C", 1.4, "hollow")
    crystal = bulk("Cu", cubic=True)
    crystal.numbers[0] = 6
    frames = [(slab, crystal)[i % 2].copy() for i in range(n)]
    for atoms in frames:
        atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
        atoms.calc = EMT()
        atoms.get_stress()
    return frames


def potential(**values):
    return ModelOptions.parse(values).build(["C", "Cu"], 1)


def test_says_what_the_calculator_says():
    found = potential(**EMT_PRIOR).predict(Configurations.from_ase(structures()))
    for atoms, one in zip(structures(), found, strict=True):
        assert one.energies[0] == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
        np.testing.assert_allclose(one.forces, atoms.get_forces(), atol=1e-12)
        if atoms.pbc.all():
            np.testing.assert_allclose(one.stresses[0], atoms.get_stress(voigt=False), atol=1e-12)
        else:
            assert np.isnan(one.stresses).all()


def test_moves_atoms_as_the_calculator_does():
    atoms = structures()[0]
    moved = atoms.copy()
    moved.calc = MLCalculator(potential(**EMT_PRIOR))
    np.testing.assert_allclose(moved.get_forces(), atoms.get_forces(), atol=1e-12)
    for one in (moved, atoms):
        one.rattle(0.05, seed=1)
    np.testing.assert_allclose(moved.get_forces(), atoms.get_forces(), atol=1e-12)


@pytest.mark.parametrize("learner", LEARNERS)
def test_what_a_perfect_prior_leaves_is_nothing(learner):
    """EMT is the prior for labels of EMT: all that can be learned is zero."""
    labelled = Configurations.from_ase(structures(8))
    model = potential(**LEARNERS[learner], prior=EMT_PRIOR)
    options = {
        "optimizer": LEAST_SQUARES[learner],
        "epochs": 60,
        "patience": None,
        "loss": {"energy": 100.0, "force": 1.0},
    }
    fit(model, labelled, build(TrainingOptions, options), 0)
    found = model.predict(labelled)
    np.testing.assert_allclose(found.energies, labelled.energies, atol=5e-3)
    np.testing.assert_allclose(found.forces, labelled.forces, atol=5e-3)


@pytest.mark.parametrize("learner", LEARNERS)
def test_the_rest_beyond_lennard_jones_is_learned(learner):
    labelled = Configurations.from_ase(structures(8))
    alone = potential(**LENNARD_JONES).predict(labelled)
    model = potential(**LEARNERS[learner], prior=LENNARD_JONES)
    options = {"optimizer": LEAST_SQUARES[learner], "epochs": 60, "loss": {"force": 1.0}}
    fit(model, labelled, build(TrainingOptions, options), 0)
    found = model.predict(labelled)
    error = np.sqrt(np.mean((found.forces - labelled.forces) ** 2))
    before = np.sqrt(np.mean((alone.forces - labelled.forces) ** 2))
    assert error < 0.2 * before


def test_a_calculator_that_lacks_an_element_is_refused_before_it_is_built():
    options = ModelOptions.parse({**LEARNERS["bpnn"], "prior": EMT_PRIOR})
    with pytest.raises(
        ValueError, match=r"calculator 'emt' knows .*, the structures have \['Ti'\]"
    ):
        options.check(["Ti"])


def test_an_unknown_calculator_is_named_with_its_place():
    with pytest.raises(ValueError, match=r"model\.prior.*unknown calculator 'emtt', did you mean"):
        ModelOptions.parse(
            {**LEARNERS["bpnn"], "prior": {"architecture": "ase", "calculator": {"name": "emtt"}}}
        )


def test_it_is_no_model_to_train():
    with pytest.raises(ValueError, match="has no weights to be trained"):
        ModelOptions.parse(EMT_PRIOR).learner()


class Springs(Calculator):
    """Harmonic bonds of 2 Å between all atoms, differentiated by torch as foundation models are."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Compute the energy, and forces by the chain rule."""
        super().calculate(atoms, properties, system_changes)
        positions = torch.tensor(atoms.positions, requires_grad=True)
        energy = (torch.pdist(positions) - 2).square().sum()
        (slope,) = torch.autograd.grad(energy, positions)
        self.results = {"energy": energy.item(), "forces": -slope.numpy()}


def test_calculators_of_torch_are_priors_too(monkeypatch):
    """What is learned beside a prior is computed without derivatives, the prior with its own."""
    monkeypatch.setenv("MLAL_ALLOWED_FACTORIES", __name__)
    springs = {"name": "springs", "factory": f"{__name__}:Springs"}
    labelled = Configurations.from_ase(structures(4))
    model = potential(**LEARNERS["mtp"], prior={"architecture": "ase", "calculator": springs})
    options = {"optimizer": LEAST_SQUARES["mtp"], "epochs": 2}
    fit(model, labelled, build(TrainingOptions, options), 0)
    with torch.inference_mode():
        found = model.predict(labelled)
    assert np.isfinite(found.forces).all()
