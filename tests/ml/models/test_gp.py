import numpy as np
import pytest
import torch
from ase.build import add_adsorbate, bulk, fcc100
from ase.calculators.emt import EMT
from ase.units import GPa

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.models.observed import LEAST, sensitivities
from aiida_mlal.ml.options import build
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.training.options import TrainingOptions

MODEL = {"architecture": "gp", "cutoff": 5.0}
OPTIMIZER = {"name": "marginal_likelihood"}


def slab():
    atoms = fcc100("Cu", (2, 2, 2), vacuum=6)
    atoms.pbc = True, True, False
    add_adsorbate(atoms, "C", 1.4, "hollow")
    return atoms


def crystal():
    return bulk("Cu", cubic=True)


def labelled(make, n, seed, strain=0.0):
    rng, frames = np.random.default_rng(seed), []
    for _ in range(n):
        atoms = make()
        atoms.set_cell(atoms.cell @ (np.eye(3) + strain * rng.normal(size=(3, 3))), True)
        atoms.positions += rng.normal(0, 0.08, atoms.positions.shape)
        atoms.calc = EMT()
        atoms.get_forces()
        if atoms.pbc.all():
            atoms.get_stress()
        frames.append(atoms)
    return Configurations.from_ase(frames)


def trained(train, loss=None, **optimizer):
    potential = ModelOptions.parse(MODEL).build(list(train.elements), 0)
    options = {"optimizer": {**OPTIMIZER, **optimizer}, "epochs": 12, "loss": loss or {}}
    return potential, fit(potential, train, build(TrainingOptions, options), 0)


def test_labels_are_met_to_their_noise():
    train = labelled(slab, 4, 0)
    potential, _ = trained(train)
    said = potential.predict(train)
    np.testing.assert_allclose(said.energies, train.energies, atol=2e-3)
    np.testing.assert_allclose(said.forces, train.forces, atol=1e-2)


@pytest.mark.parametrize("sigma", [0.0, 0.05])
def test_noise_of_labels_is_found_where_there_is_some(sigma):
    train = labelled(slab, 6, 0)
    noise = sigma * np.random.default_rng(1).normal(size=train.forces.shape)
    noisy = train.with_labels(train.energies, train.forces + noise, train.stresses)
    potential, record = trained(noisy, displacement=1.5, noise_width=3.0)
    found = float(potential.process().noise[1])
    assert found == pytest.approx(max(sigma, 1e-3), rel=0.5)
    told = [said for said in record.warnings if "labels contradict each other by about" in said]
    assert len(told) == (sigma > 0)
    given = trained(noisy, displacement=1.5)[0].process().noise
    assert given[:2].tolist() == pytest.approx([1e-4, 1e-3])


def test_median_lengths_are_what_features_change_by():
    """By the definition: features of rattled structures, in every group, images each for itself."""
    train = labelled(slab, 2, 0)
    potential, _ = trained(train, width=1e-4, displacement=1.5)
    rng, h, n = np.random.default_rng(0), 1e-4, 90
    base = [atoms * (2, 2, 1) for atoms in train.to_ase()]
    squares, n_atoms = 0.0, int(train.counts[0])
    for k in range(n):
        moved = [atoms.copy() for atoms in base]
        fixed = k % n_atoms  # an atom stays with its images, which it doesn't see; others move
        for atoms in moved:
            step = rng.normal(0, h / 3**0.5, atoms.positions.shape)
            step[fixed::n_atoms] = 0
            atoms.positions += step
        before, after = (
            potential.describe(potential.graph(Configurations.from_ase(frames))).features
            for frames in (base, moved)
        )
        mine = torch.arange(len(before)) % n_atoms == fixed
        if base[0].symbols[fixed] == "Cu":
            change = ((after - before)[mine] / h).square()
            squares = squares + change / (n * 8 / 9)
    by_group = [squares.mean(0)[potential.groups == group].sum() ** 0.5 for group in (0, 1)]
    row = potential.elements.index("Cu")
    wanted = 1.5 * torch.stack(by_group)
    np.testing.assert_allclose(potential.lengths[row].detach(), wanted.detach(), rtol=0.1)


@pytest.mark.parametrize("sizes", [(2, 2, 2), (1, 2, 3)])
def test_median_lengths_of_a_crystal_are_the_same_in_any_cell(sizes):
    process = ModelOptions.parse(MODEL).build(["Cu"], 0)
    found = [
        sensitivities(process.describe(process.graph(Configurations.from_ase([atoms]))), process)
        for atoms in (bulk("Cu"), crystal(), crystal() * sizes)
    ]
    torch.testing.assert_close(found, [found[-1]] * 3, rtol=1e-8, atol=0)
    assert found[0].min() > 2 * LEAST


def test_a_prior_of_the_deviation_holds_it():
    train = labelled(slab, 1, 0)
    free, held = (trained(train, **more)[0] for more in ({}, {"deviation_width": 1e-3}))
    assert float(held.variance) == pytest.approx(1.0, rel=1e-2)
    assert abs(float(free.variance) - 1) > 0.1


def test_four_structures_tell_of_others():
    test = labelled(slab, 4, 1)
    potential, _ = trained(labelled(slab, 4, 0))
    said = potential.predict(test)
    typical = np.abs(test.forces).mean()
    assert np.abs(said.forces - test.forces).mean() < 0.1 * typical


def test_stresses_teach_volumes():
    """Forces at one volume say nothing of the pressure; a stress does."""
    train, test = labelled(crystal, 3, 0, strain=0.01), labelled(crystal, 4, 1, strain=0.02)
    without, _ = trained(train[:1], {"stress": 0.0})
    with_stress, _ = trained(train, {"stress": 1.0})
    errors = [
        np.abs(potential.predict(test).stresses - test.stresses).mean()
        for potential in (without, with_stress)
    ]
    assert errors[1] < 0.2 * errors[0]


def test_energies_of_elements_of_any_size_are_learned():
    """With -1300 eV an atom of copper and -150 of carbon forces are what they were."""
    train, test = labelled(slab, 4, 0), labelled(slab, 4, 1)
    offsets = np.array([np.where(one.numbers == 29, -1300.0, -150.0).sum() for one in train])
    shifted = train.with_labels(train.energies + offsets, train.forces, train.stresses)
    plain, _ = trained(train)
    absolute, _ = trained(shifted)
    np.testing.assert_allclose(absolute.predict(test).forces, plain.predict(test).forces, atol=5e-3)
    np.testing.assert_allclose(
        absolute.predict(test).energies - offsets, plain.predict(test).energies, atol=5e-3
    )


def test_it_goes_on_with_what_it_has_learned():
    """An iteration from length scales that were found ends nearer to them than one from nothing."""
    train = labelled(slab, 4, 0)
    found, _ = trained(train)
    before = found.lengths.detach().clone()
    options = build(TrainingOptions, {"optimizer": OPTIMIZER, "epochs": 1, "starts": 1})
    fresh = ModelOptions.parse(MODEL).build(list(train.elements), 0)
    fit(fresh, train, options, 0)
    fit(found, train, options, 0, initialise=False)
    away = [float((p.lengths.detach() / before).log().abs().max()) for p in (found, fresh)]
    assert away[0] < 0.5 * away[1]


def test_a_trained_one_survives_its_file():
    train = labelled(slab, 2, 0)
    potential, _ = trained(train)
    again = Checkpoint.from_bytes(Checkpoint(potential).to_bytes()).potential
    np.testing.assert_array_equal(again.predict(train).forces, potential.predict(train).forces)


def test_an_ensemble_of_it_is_refused():
    with pytest.raises(ValueError, match="members of an ensemble of 'gp' would all be the same"):
        ModelOptions.parse({**MODEL, "ensemble": 3})


def test_another_model_has_no_likelihood():
    train = labelled(slab, 2, 0)
    potential = ModelOptions.parse({"architecture": "bpnn"}).build(["C", "Cu"], 0)
    options = build(TrainingOptions, {"optimizer": OPTIMIZER})
    with pytest.raises(ValueError, match="marginal_likelihood is for Gaussian processes"):
        fit(potential, train, options, 0)


def test_a_fresh_one_begins_with_what_another_has_learned():
    train = labelled(slab, 3, 0)
    known, _ = trained(train)
    fresh = ModelOptions.parse(MODEL).build(list(train.elements), 1)
    fresh.warm_start(known)
    np.testing.assert_array_equal(fresh.predict(train).forces, known.predict(train).forces)
    other = ModelOptions.parse({**MODEL, "cutoff": 4.0}).build(list(train.elements), 1)
    with pytest.raises(ValueError, match=r"options\.cutoff is 4\.0, in the file 5\.0"):
        other.warm_start(known)


def test_labels_nearly_the_same_are_learned_from():
    """Their covariance matrix is singular but for the noise, or less than that."""
    train = Configurations.concatenate([labelled(slab, 1, 0)] * 3)
    potential, _ = trained(train, energy_noise=1e-12, force_noise=1e-12)
    assert np.abs(potential.predict(train).forces - train.forces).max() < 0.01


def test_stresses_are_met_though_energies_say_another_pressure():
    """As with plane waves up to a cutoff, whose stress is off by 1 GPa (Pulay)."""
    train = labelled(crystal, 4, 0, strain=0.02)
    pulay = GPa * np.eye(3)
    train = train.with_labels(train.energies, train.forces, train.stresses + pulay)
    test = labelled(crystal, 4, 7, strain=0.015)
    found, _ = trained(train, {"stress": 1.0})
    believed, _ = trained(train, {"stress": 1.0}, pressure=1e-6)
    off, worse = (
        np.abs(potential.predict(test).stresses - test.stresses - pulay).max() / GPa
        for potential in (found, believed)
    )
    assert off < 0.1 * worse


def test_a_pressure_does_not_move_the_mean_of_energies():
    """Labels of EMT disagree by none: what is found of it in noise is no energy of an atom."""
    train = labelled(crystal, 6, 0, strain=0.02)
    potential, _ = trained(train, {"stress": 1.0})
    said = potential.predict(train)
    off = (said.energies - train.energies) / train.counts
    assert np.abs(off.mean()) < 2e-5


@pytest.fixture(scope="module")
def sparse():
    """A process of environments of 8 crystals that stand for those of 24, with stresses."""
    train = labelled(crystal, 24, 0, strain=0.03)
    loss = {"energy": 1.0, "force": 1.0, "stress": 1.0}
    potential, record = trained(train, loss, sample=8 * 19, exact=8 * 19, inducing=60)
    return potential, record, train, loss


def test_many_labels_are_learned_by_some_environments(sparse):
    """It knows more than the structures alone that its length scales are of."""
    potential, record, train, loss = sparse
    assert potential.is_sparse
    assert len(potential.heights) <= 60
    assert not potential.slopes.any()
    assert record.n_structures == len(train)
    held_out = labelled(crystal, 10, 1, strain=0.03)

    def error(one):
        return np.sqrt(np.mean((one.predict(held_out).forces - held_out.forces) ** 2))

    few, _ = trained(train[:8], loss)
    assert not few.is_sparse
    assert error(potential) < 0.8 * error(few)


def test_a_sparse_process_is_kept_and_goes_on(sparse):
    potential, _, train, loss = sparse
    read = Checkpoint.from_bytes(Checkpoint(potential).to_bytes()).potential
    assert read.config() == potential.config()
    np.testing.assert_array_equal(read.predict(train).forces, potential.predict(train).forces)
    again = ModelOptions.parse(MODEL).build(list(train.elements), 0)
    again.warm_start(read)
    assert again.is_sparse
    options = {"optimizer": OPTIMIZER, "epochs": 3, "loss": loss}
    fit(again, train[:3], build(TrainingOptions, options), 0, initialise=False)
    assert not again.is_sparse


def test_a_structure_of_too_many_labels_is_named():
    train = labelled(slab, 2, 0)
    with pytest.raises(ValueError, match=r"a structure has 28 labels .* more than the 20 that"):
        trained(train, exact=20)


def test_length_scales_of_some_labels_are_those_of_a_process_of_all():
    """Between ``sample`` and ``exact`` all labels are solved for, as by their structures alone."""
    train = labelled(slab, 6, 0)
    potential, _ = trained(train, sample=3 * 28)
    assert not potential.is_sparse
    assert len(potential.heights) == len(train.numbers)
    said = potential.predict(train)
    np.testing.assert_allclose(said.forces, train.forces, atol=1e-2)
    other, _ = trained(train)
    assert not torch.equal(potential.lengths, other.lengths)
