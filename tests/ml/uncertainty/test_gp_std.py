"""What a Gaussian process says of its own errors."""

from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import add_adsorbate, bulk, fcc100
from ase.calculators.emt import EMT
from scipy.stats import spearmanr

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats.files import read
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.options import build
from aiida_mlal.ml.selection.select import select
from aiida_mlal.ml.simulation.cell import MovingCell
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.training.options import TrainingOptions
from aiida_mlal.ml.uncertainty.carried import carry, measure_of
from aiida_mlal.ml.uncertainty.gp_std import ProcessCellStd, ProcessEnergyStd, ProcessForceStd

HERE = Path(__file__).parent
MODEL = {"architecture": "gp", "cutoff": 5.0}
OPTIONS = {"epochs": 12, "optimizer": {"name": "marginal_likelihood"}}


def slab(seed, size=0.08):
    atoms = fcc100("Cu", (2, 2, 2), vacuum=6)
    atoms.pbc = True, True, False
    add_adsorbate(atoms, "C", 1.4, "hollow")
    atoms.rattle(size, seed=seed)
    atoms.calc = EMT()
    atoms.get_forces()
    return atoms


def learned(train, model=MODEL, **options):
    potential = ModelOptions.parse(model).build(list(train.elements), 0)
    fit(potential, train, build(TrainingOptions, OPTIONS | options), 0)
    return potential


@pytest.fixture(scope="module")
def frames():
    return Configurations.from_ase([slab(seed) for seed in range(6)])


@pytest.fixture(scope="module", params=[None, {"architecture": "morse"}], ids=["alone", "on Morse"])
def potential(request, frames):
    found = learned(frames[:3], MODEL | ({} if request.param is None else {"prior": request.param}))
    carry(found, {"name": "gp_std"}, frames[:3])
    return found


def by_definition(potential, train, asked):
    """Standard deviations of energy, forces and strains from covariances of displaced structures.

    A force is a difference of energies of displaced structures, whose covariances are sums of the
    kernel over pairs of atoms; so is a derivative by a strain, of those in the order of Voigt.
    """
    process, step = potential.process(), 1e-3
    lengths, variance = process.scales.detach(), float(process.variance)

    def rows(one, strained=False):
        """Features and weights of the structures whose energies make up each observation."""
        n = len(one.numbers)
        moved = [one.positions]
        for k in range(3 * n):
            for sign in (1, -1):
                there = one.positions.copy()
                there.flat[k] += sign * step
                moved.append(there)
        atoms = one.to_ase()[0]
        images = []
        for positions in moved:
            image = atoms.copy()
            image.set_constraint()
            image.positions = positions
            images.append(image)
        for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)) if strained else ():
            for sign in (1, -1):
                image, strain = atoms.copy(), np.eye(3)
                image.set_constraint()
                strain[i, j] += sign * step / 2
                strain[j, i] += sign * step / 2
                image.set_cell(image.cell.array @ strain, scale_atoms=True)
                images.append(image)
        n_queries = 1 + (len(images) - 1) // 2
        graph = process.graph(Configurations.from_ase(images))
        x = process.features(graph).detach().reshape(len(images), n, -1)
        combine = torch.zeros(n_queries, len(images), dtype=torch.float64)
        combine[0, 0] = 1
        for k in range(n_queries - 1):
            combine[1 + k, 1 + 2 * k], combine[1 + k, 2 + 2 * k] = -0.5 / step, 0.5 / step
        return x, process.species(graph.numbers).reshape(len(images), n)[0], combine

    def covariances(one, other):
        (x, kinds, a), (y, others, b) = one, other
        total = torch.zeros(len(x), len(y), dtype=torch.float64)
        for i, z in enumerate(kinds):
            mine = others == z
            scaled = x[:, i] / lengths[z]
            near = (scaled[:, None, None] - (y[:, mine] / lengths[z])[None]).square().sum(-1)
            total += (variance * torch.exp(-near / 2)).sum(-1)
        counts = [torch.bincount(k, minlength=len(lengths)).double() for k in (kinds, others)]
        total += float(process.offset) * float(counts[0] @ counts[1])
        return a @ total @ b.T

    known, query = [rows(one) for one in train], rows(asked, asked.pbc.all())
    whole = torch.cat([torch.cat([covariances(a, b) for b in known], 1) for a in known])
    noise = torch.cat(
        [torch.tensor([process.noise[0]] + [process.noise[1]] * (len(k[2]) - 1)) for k in known]
    )
    whole.diagonal().add_(noise**2)
    beside = torch.cat([covariances(query, k) for k in known], 1)
    left = covariances(query, query) - beside @ torch.linalg.solve(whole, beside.T)
    return left.diagonal().clamp(min=0).sqrt().numpy() * potential.extras["gp_std.scale"].item()


def test_it_is_the_dense_definition_with_finite_differences(potential, frames):
    asked = frames[4]
    expected = by_definition(potential, frames[:3], asked)
    found = ProcessForceStd().measure(potential, asked)
    per_atom = np.sqrt((expected[1:].reshape(-1, 3) ** 2).sum(axis=1))
    np.testing.assert_allclose(found.per_atom, per_atom, rtol=2e-2, atol=2e-3)
    assert found.values == pytest.approx(found.per_atom.max())
    energy = ProcessEnergyStd().measure(potential, asked).values
    assert energy * len(asked.numbers) == pytest.approx(expected[0], rel=2e-2, abs=2e-3)


def crystal(a, seed=0, kick=0.05):
    atoms = bulk("Cu", cubic=True, a=a)
    atoms.rattle(kick, seed=seed)
    atoms.calc = EMT()
    atoms.get_stress()
    return atoms


@pytest.fixture(scope="module")
def of_crystals():
    """A process that has learned energies and forces of crystals of one volume, no stresses."""
    train = Configurations.from_ase([crystal(3.6, seed) for seed in range(2)])
    found = learned(train, loss={"stress": 0.0})
    carry(found, {"name": "gp_std"}, train)
    return found, train


def test_that_of_the_cell_is_the_dense_definition_with_finite_differences(of_crystals):
    potential, train = of_crystals
    asked = Configurations.from_ase(crystal(3.8, 5))
    expected = by_definition(potential, train, asked)
    volume, n = abs(np.linalg.det(asked.cells[0])), len(asked.numbers)
    squares = expected[-6:] ** 2 @ [1, 1, 1, 2, 2, 2]
    of_cell = np.sqrt(squares) / volume * (volume / n) ** (2 / 3)
    found, of_forces = (
        one.measure(potential, asked) for one in (ProcessCellStd(), ProcessForceStd())
    )
    assert of_cell > 2 * of_forces.values[0]
    assert found.values == pytest.approx(of_cell, rel=2e-2)
    np.testing.assert_allclose(found.per_atom, of_forces.per_atom, rtol=1e-6)


def test_a_volume_that_was_not_learned_is_uncertain_though_forces_are_zero():
    train = Configurations.from_ase([crystal(a) for a in (3.6, 3.75)])
    potential = learned(train)
    carry(potential, {"name": "gp_std"}, train)
    perfect = Configurations.from_ase([crystal(a, kick=0.0) for a in (3.6, 3.9, 4.3)])
    assert ProcessForceStd().measure(potential, perfect).values.max() < 1e-6
    found = ProcessCellStd().measure(potential, perfect).values
    assert (np.diff(found) > 0).all()
    errors = np.abs(potential.predict(perfect).stresses - perfect.stresses).max(axis=(1, 2))
    assert (np.diff(errors) > 0).all()
    assert found[-1] > 20 * found[0]


def test_where_the_cell_moves_a_guard_looks_at_the_stress(of_crystals):
    potential, train = of_crystals
    for moves, kind in (("fixed", "gp_std"), ("full", "gp_cell_std")):
        measure = Guard(break_=1.0).measure(potential, train, MovingCell(moves))
        assert measure.kind == kind
        Guard(break_=1.0).check_cell(measure, MovingCell(moves))
    named = Guard(uncertainty={"name": "gp_std"}, break_=1.0)
    with pytest.raises(ValueError, match="such as 'gp_cell_std'"):
        named.check_cell(named.measure(potential, train, MovingCell("full")), MovingCell("full"))


def test_kernels_say_what_torch_says(potential, monkeypatch):
    away = Configurations.from_ase([slab(9, size) for size in (0.1, 0.3)])
    found = ProcessForceStd().measure(potential, away).per_atom
    monkeypatch.setattr(type(potential.process()), "functions", None)
    expected = ProcessForceStd().measure(potential, away).per_atom
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_it_is_small_on_labels_and_grows_away_from_them(potential, frames):
    near = ProcessForceStd().measure(potential, frames[:3])
    assert near.values.max() < 0.02
    sizes = (0.08, 0.2, 0.4)
    away = Configurations.from_ase([slab(9, size) for size in sizes])
    values = ProcessForceStd().measure(potential, away).values
    assert (np.diff(values) > 0).all()
    assert values[-1] > 20 * near.values.max()


def test_an_order_of_structures_or_atoms_changes_nothing(potential, frames):
    whole = ProcessForceStd().measure(potential, frames)
    single = np.concatenate([ProcessForceStd().measure(potential, one).per_atom for one in frames])
    np.testing.assert_allclose(whole.per_atom, single, rtol=1e-6, atol=1e-8)
    atoms = frames[5].to_ase()[0]
    order = np.random.default_rng(0).permutation(len(atoms))
    turned = ProcessForceStd().measure(potential, Configurations.from_ase(atoms[order]))
    np.testing.assert_allclose(
        turned.per_atom, ProcessForceStd().measure(potential, frames[5]).per_atom[order], rtol=1e-6
    )


def test_it_goes_with_errors_at_other_volumes():
    """Copper trained at one volume, where committees of networks said 0.000 (EMT)."""
    train, pool = read(str(HERE / "cu_train.extxyz")), read(str(HERE / "cu_pool.extxyz"))
    potential = learned(train)
    carry(potential, {"name": "gp_std"}, train)
    squares = ((potential.predict(pool).forces - pool.forces) ** 2).mean(axis=1)
    errors = np.sqrt(np.add.reduceat(squares, pool.offsets[:-1]) / pool.counts)
    values = ProcessForceStd().measure(potential, pool).values
    assert spearmanr(values, errors).statistic > 0.75
    assert values[1:].min() > values[0]


def test_it_survives_a_file_and_speaks_for_the_potential(potential, frames):
    again = Checkpoint.from_bytes(Checkpoint(potential).to_bytes()).potential
    assert measure_of(again, frames) == ProcessForceStd()
    assert Guard(select=0.1).measure(again, frames) == ProcessForceStd()
    np.testing.assert_array_equal(
        ProcessForceStd().measure(again, frames).values,
        ProcessForceStd().measure(potential, frames).values,
    )


def test_covariances_of_other_length_scales_are_refused(potential, frames):
    again = Checkpoint.from_bytes(Checkpoint(potential).to_bytes()).potential
    with torch.no_grad():
        again.process().lengths *= 1.1
    with pytest.raises(ValueError, match="of other weights"):
        ProcessForceStd().measure(again, frames)


def test_what_was_held_out_is_not_known(frames):
    """A share for validation is among the labels, and not among what was learned from."""
    potential = learned(frames[:4], validation=0.25)
    held_out = [
        k for k in range(4) if np.abs(potential.predict(frames[k]).forces - frames[k].forces).max()
        > 0.02
    ]  # fmt: skip
    assert len(held_out) == 1
    about = carry(potential, {"name": "gp_std"}, frames[:4], frames[held_out])
    assert about["n_structures"] == 3
    values = ProcessForceStd().measure(potential, frames[:4]).values
    assert values.argmax() == held_out[0]
    assert values[held_out[0]] > 10 * np.delete(values, held_out).max()


def test_queries_ask_for_what_it_knows_least(potential, frames):
    values = ProcessForceStd().measure(potential, frames).values
    found = select(
        frames, Configurations.empty(), {"name": "uncertainty", "n": 2}, potential=potential
    )
    assert found.indices == list(np.argsort(-values)[:2])


def test_it_can_be_calibrated(frames):
    potential = learned(frames[:3])
    options = {"name": "calibrated", "base": {"name": "gp_std"}}
    about = carry(potential, options, frames[:3], frames[3:])
    assert about["factor"] > 0
    scaled = plugins.make("uncertainties", options).measure(potential, frames)
    bare = ProcessForceStd().measure(potential, frames)
    np.testing.assert_allclose(scaled.per_atom, about["factor"] * bare.per_atom, rtol=1e-10)


def test_a_network_is_no_process(frames):
    model = ModelOptions.parse({"architecture": "bpnn"})
    with pytest.raises(ValueError, match=r"'bpnn' has no Gaussian process.*\['gp'\]"):
        ProcessForceStd().check_model(model)
    with pytest.raises(ValueError, match="does not carry the covariances"):
        ProcessForceStd().measure(learned(frames[:2]), frames)


def test_what_is_believed_is_known_as_well_as_a_label(potential, frames):
    """Variances depend on no value, so that, but for a scale, they are those after the labels."""
    measure = ProcessForceStd()
    believed = measure.believing(potential, frames[3:5])
    found = measure.measure(believed, frames).values
    carried = copy(potential)
    carry(carried, {"name": "gp_std"}, frames[:5])
    scales = [one.extras["gp_std.scale"].item() for one in (potential, believed, carried)]
    assert scales[0] == scales[1]
    expected = measure.measure(carried, frames).values * scales[1] / scales[2]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found[3:5].max() < 0.1 * measure.measure(potential, frames[3:5]).values.min()
    np.testing.assert_array_equal(
        believed.predict(frames[5]).forces, potential.predict(frames[5]).forces
    )


def test_the_believer_chooses_what_earlier_choices_do_not_tell_of(potential, frames):
    """Two frames that are nearly the same are the least known ones, and one of them is enough."""
    measure = ProcessForceStd()
    far = Configurations.from_ase([slab(20, 0.2), slab(20, 0.2), slab(21, 0.15), slab(22, 0.02)])
    moved = far.positions.copy()
    moved[far.owner == 1] += 1e-3 * np.random.default_rng(0).normal(size=(9, 3))
    pool = replace(far, positions=moved).bare
    values = measure.measure(potential, pool).values
    assert set(np.argsort(-values)[:2]) == {0, 1}
    pool = Configurations.concatenate([pool[[3]], pool[[0, 1, 2]], pool[[3]]])
    chosen = select(pool, frames[:3], {"name": "believer", "n": 3}, potential=potential)
    assert chosen.indices[0] == 4  # the end of the run
    assert set(chosen.indices[1:]) in ({1, 3}, {2, 3})
    few = select(pool, frames[:3], {"name": "believer", "n": 3, "least": 1e3}, potential=potential)
    assert few.indices == [4]


def test_other_measures_do_not_know_what_they_would_be(frames):
    with pytest.raises(ValueError, match="'force_std' depends on labels that are not known yet"):
        plugins.make("uncertainties", {"name": "force_std"}).believing(None, frames)
    model = ModelOptions.parse({"architecture": "bpnn", "ensemble": 2})
    with pytest.raises(ValueError, match="gp"):
        plugins.make("strategies", {"name": "believer"}).check_model(model)


@pytest.fixture(scope="module")
def sparse():
    """A process that learned from 12 slabs by environments that stand for them, and these."""
    train = Configurations.from_ase([slab(seed) for seed in range(12)])
    optimizer = {"name": "marginal_likelihood", "sample": 120, "exact": 120, "inducing": 80}
    potential = learned(train, optimizer=optimizer)
    carry(potential, {"name": "gp_std"}, train)
    assert potential.is_sparse
    return potential, train


def test_by_inducing_environments_it_goes_with_errors(sparse):
    potential, train = sparse
    others = [slab(100 + seed, size) for seed, size in enumerate(np.linspace(0.02, 0.4, 20))]
    asked = Configurations.from_ase(others)
    errors = np.linalg.norm(potential.predict(asked).forces - asked.forces, axis=1)
    errors = np.maximum.reduceat(errors, asked.offsets[:-1])
    values = ProcessForceStd().measure(potential, asked).values
    assert spearmanr(values, errors).statistic > 0.8
    assert np.median(values[-5:]) > 5 * ProcessForceStd().measure(potential, train).values.max()


def test_by_inducing_environments_it_survives_a_file_and_believes(sparse):
    potential, _ = sparse
    again = Checkpoint.from_bytes(Checkpoint(potential).to_bytes()).potential
    far = Configurations.from_ase([slab(200, 0.3)])
    measure = ProcessForceStd()
    before = measure.measure(potential, far).values
    np.testing.assert_array_equal(measure.measure(again, far).values, before)
    believed = measure.believing(again, far.bare)
    assert measure.measure(believed, far).values < 0.7 * before
    np.testing.assert_array_equal(measure.measure(again, far).values, before)


def test_structures_of_several_compositions_are_believed_one_after_another():
    """Observations of those known are in an order of compositions, which others must not change."""
    mixed = Configurations.from_ase(
        [slab(0), crystal(3.6, 1), slab(2), crystal(3.6, 3), slab(4), crystal(3.6, 5)]
    )
    potential = learned(mixed[:3])
    carry(potential, {"name": "gp_std"}, mixed[:3])
    measure, believed = ProcessForceStd(), potential
    for k in (3, 4):
        believed = measure.believing(believed, mixed[[k]].bare)
    carried = copy(potential)
    carry(carried, {"name": "gp_std"}, mixed[:5])
    scales = [one.extras["gp_std.scale"].item() for one in (believed, carried)]
    expected = measure.measure(carried, mixed).values * scales[0] / scales[1]
    np.testing.assert_allclose(measure.measure(believed, mixed).values, expected, rtol=1e-4)
