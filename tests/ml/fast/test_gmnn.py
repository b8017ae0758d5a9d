import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc100, molecule

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.engines.numba import kernels_of
from aiida_mlal.ml.models.ensemble import Ensemble
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.sum import Sum


def gmnn(elements, seed=0, dtype=torch.float64, **options):
    """Return a network whose energies have scales of their own."""
    options = {"architecture": "gmnn", "hidden": [9, 5], "cutoff": 4.5} | options
    potential = single(options, elements, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in potential.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return potential.to(dtype)


def alloy(elements):
    rng = np.random.default_rng(0)
    atoms = bulk("Cu", "fcc", 4.0, cubic=True) * (2, 1, 1)
    atoms.symbols = rng.choice(elements, len(atoms))
    atoms.rattle(0.2, rng=rng)
    atoms.set_cell(atoms.cell @ (np.eye(3) + 0.1 * rng.normal(size=(3, 3))), scale_atoms=True)
    return atoms


def one_atom_in_a_small_cell(elements):
    return Atoms(
        elements[0], [[0.3, -7.0, 12.0]], cell=[[2.3, 0, 0], [0.9, 2.1, 0], [0, 1, 2.2]], pbc=True
    )


def slab(elements):
    atoms = fcc100("Cu", (2, 2, 3), a=3.6, vacuum=None, periodic=False)
    atoms.symbols[:] = elements[-1]
    atoms.symbols[-1] = elements[0]
    atoms.rattle(0.1, seed=1)
    return atoms


def cluster(elements):
    atoms = molecule("CH3CH2OH")
    atoms.symbols = (list(elements) * 9)[:9]
    return atoms


def far_apart(elements):
    return Atoms([elements[0]] * 3, [[0, 0, 0], [2.5, 0, 0], [1e6, -1e6, 0]])


def no_atoms(elements):
    return Atoms(cell=[3, 3, 3], pbc=True)


STRUCTURES = (alloy, one_atom_in_a_small_cell, slab, cluster, far_apart, no_atoms)

ELEMENTS = (("Cu",), ("C", "Cu"), ("Ag", "Au", "Cu", "Pd"))


def evaluate(evaluator, atoms):
    return evaluator(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)


def close(expected, tolerance):
    return pytest.approx(expected, abs=tolerance * max(1.0, abs(expected).max(initial=0)))


def assert_agrees(potential, evaluator, atoms, tolerance=1e-11):
    found = evaluate(evaluator, atoms)
    graph = potential.graph(Configurations.from_ase(atoms))
    energies = potential.atomic_energies(graph).detach().numpy()
    committee = potential.committee(graph).detach()  # by torch, as derivatives are wanted
    expected = committee.mean()
    assert found.energies == close(energies, tolerance)
    assert found.forces == close(expected.forces.numpy(), tolerance)
    if atoms.pbc.all():
        virial = expected.stresses[0].numpy() * atoms.cell.volume
        assert (found.virial + found.virial.T) / 2 == close(virial, tolerance)
    if len(committee.energies) > 1:
        assert found.members.energies == close(committee.energies[:, 0].numpy(), tolerance)
        assert found.members.forces == close(committee.forces.numpy(), tolerance)


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("elements", ELEMENTS, ids=len)
def test_a_committee_on_a_prior_agrees_with_torch(structure, elements):
    prior = single({"architecture": "morse"}, elements, 0)
    potential = Sum([prior, Ensemble([gmnn(elements, seed) for seed in range(3)])])
    assert_agrees(potential, kernels_of(potential, 0.5), structure(potential.elements))


@pytest.mark.parametrize(
    "options",
    [
        {"descriptor": {"invariants": "full", "n_radial": 5}},
        {"descriptor": {"n_radial": 9, "n_basis": 10, "r_min": 0.8}},
        {"layers": "standard", "hidden": [300, 7, 3]},
        {"hidden": [1]},
    ],
    ids=["full", "more than a vector", "standard layers", "one node"],
)
@pytest.mark.parametrize("structure", [alloy, cluster])
def test_agrees_for_all_options(options, structure):
    potential = gmnn(("C", "Cu"), **options)
    assert_agrees(potential, kernels_of(potential, 0.3), structure(potential.elements))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_batches_are_predicted_by_kernels_where_nothing_is_learned(dtype):
    potential = gmnn(("C", "Cu"), dtype=dtype)
    frames = [make(potential.elements) for make in STRUCTURES]
    frames += [alloy(potential.elements)] * 40  # more than a portion
    graph = potential.graph(Configurations.from_ase(frames))
    by_torch = potential(graph).detach()
    with torch.no_grad():
        found = potential(graph)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    for name in ("energies", "forces", "stresses"):
        torch.testing.assert_close(
            getattr(found, name),
            getattr(by_torch, name),
            rtol=tolerance,
            atol=tolerance,
            equal_nan=True,
        )


def test_single_precision_is_that_of_the_network_only():
    potential = gmnn(("C", "Cu"), dtype=torch.float32)
    atoms = alloy(potential.elements)
    assert_agrees(potential, kernels_of(potential, 0.5), atoms, 2e-5)
    double = gmnn(("C", "Cu"))
    said = evaluate(kernels_of(double, 0.5), atoms)
    assert evaluate(kernels_of(potential, 0.5), atoms).forces == close(said.forces, 1e-5)


def test_a_random_walk_gives_what_fresh_evaluations_give():
    potential = gmnn(["C", "Cu"])
    atoms, evaluator = slab(potential.elements), kernels_of(potential, 0.4)
    atoms.set_cell([5.1, 5.1, 20])
    atoms.pbc = [True, True, False]
    rng = np.random.default_rng(0)
    for step in range(20):
        atoms.positions += rng.normal(scale=0.03, size=(len(atoms), 3))
        if step % 7 == 3:
            strain = np.eye(3) + 0.01 * rng.normal(size=(3, 3))
            atoms.set_cell(atoms.cell @ strain, scale_atoms=bool(step % 2))
        assert_agrees(potential, evaluator, atoms)


def test_the_weights_of_the_moment_are_those_of_the_evaluator():
    potential, atoms = gmnn(["Cu"]), alloy(["Cu"])
    evaluator = kernels_of(potential, 0.5)
    before = evaluate(evaluator, atoms).energies
    with torch.no_grad():
        for weight in potential.parameters():
            weight *= 1.1
    assert evaluate(evaluator, atoms).energies == pytest.approx(before, rel=1e-14)
    assert_agrees(potential, kernels_of(potential, 0.5), atoms)


def test_networks_of_other_descriptors_have_no_kernel_in_common():
    one, other = gmnn(["Cu"]), gmnn(["Cu"], descriptor={"n_radial": 2})
    assert kernels_of(Ensemble([one, other]), 0.5) is None
    assert kernels_of(Ensemble([one, gmnn(["Cu"], hidden=[3])]), 0.5) is not None
