"""What holds for every potential; a new one joins by entering ``POTENTIALS``."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from installed import others, ours
from scipy.spatial.transform import Rotation

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.capabilities import HasLastLayer, require
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.models.gp import GP as GaussianProcess
from aiida_mlal.ml.models.registry import from_config

CUTOFF = 4.0
BPNN = {"architecture": "bpnn", "hidden": [5], "cutoff": CUTOFF}
GMNN = {
    "architecture": "gmnn",
    "hidden": [6, 4],
    "cutoff": CUTOFF,
    "descriptor": {"n_radial": 2, "n_basis": 3},
}
MORSE = {"architecture": "morse", "cutoff": CUTOFF}
LENNARD_JONES = {"name": "lj", "options": {"sigma": 2.2, "epsilon": 0.3, "rc": 5.0, "smooth": True}}
ASE = {"architecture": "ase", "calculator": LENNARD_JONES, "cutoff": CUTOFF}
ZBL = {"architecture": "zbl", "cutoff": CUTOFF, "switch": 2.0}
GP = {
    "architecture": "gp",
    "cutoff": CUTOFF,
    "descriptor": {"g2_etas": [1.0], "g2_centres": [1.0, 2.0, 3.0], "eta_units": "1/A^2"},
}
MTP = {
    "architecture": "mtp",
    "level": 8,
    "cutoff": CUTOFF,
    "min_dist": 1.5,
    "radial_basis_size": 4,
}
POTENTIALS = {
    "ase": ASE,
    "bpnn": BPNN,
    "bpnn of one layer": {**BPNN, "hidden": []},
    "gmnn": GMNN,
    "gmnn with standard layers": {
        **GMNN,
        "layers": "standard",
        "descriptor": {"n_radial": 3, "n_basis": 2, "invariants": "full"},
    },
    "gp": GP,
    "second_moment": {"architecture": "second_moment", "cutoff": CUTOFF, "switch": 2.0},
    "sum of morse and gp": {**GP, "prior": MORSE},
    "morse": MORSE,
    "mtp": MTP,
    "zbl": ZBL,
    "sum": {**BPNN, "prior": MORSE},
    "sum of ase and bpnn": {**BPNN, "prior": ASE},
    "sum of ase and mtp": {**MTP, "prior": ASE},
    "sum of zbl and gmnn": {**GMNN, "prior": ZBL},
    "sum with a farther prior": {**MTP, "prior": {**MORSE, "cutoff": CUTOFF + 1}},
    "ensemble": {**BPNN, "ensemble": 3},
    "ensemble of gmnn": {**GMNN, "ensemble": 2},
    "ensemble of mtp": {**MTP, "ensemble": 2},
    "sum and ensemble": {**BPNN, "prior": MORSE, "ensemble": 2},
    **{name: {"architecture": name} for name in others("models")},
}


def build(name, elements=("C", "Cu")):
    """Return a potential with weights that are not those of the start."""
    potential = ModelOptions.parse(POTENTIALS[name]).build(elements, seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in potential.parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        for part in potential.modules():
            if isinstance(part, GaussianProcess):
                observe(part, generator)
    return potential


def observe(process, generator):
    """Let a process know environments."""
    n, n_features = 7, process.environments.shape[1]
    for name, shape in (
        ("environments", (n, n_features)),
        ("slopes", (n, n_features)),
        ("heights", n),
    ):
        setattr(process, name, torch.randn(shape, generator=generator, dtype=torch.float64).abs())
    process.element = torch.randint(len(process.elements), (n,), generator=generator)


@pytest.fixture(params=POTENTIALS)
def potential(request):
    return build(request.param)


def cluster():
    positions = [[0, 0, 0], [1.9, 0.2, 0], [0.3, 1.8, 0.4], [-0.5, 0.6, 2.0], [3.1, 1.7, 0.1]]
    return Atoms("CuC2CuCu", positions)


def tiny():
    return Atoms("Cu", cell=[[2.2, 0.1, 0], [0.3, 2.4, 0.2], [0, -0.3, 2.6]], pbc=True)


def alloy():
    atoms = bulk("Cu", cubic=True)
    atoms.numbers[:2] = 6
    atoms.set_cell(atoms.cell @ [[1, 0.2, 0], [0, 1, 0.1], [0.02, 0, 1]], scale_atoms=True)
    atoms.rattle(0.15, seed=1)
    return atoms


def slab():
    atoms = alloy()
    atoms.cell[2] = 0
    atoms.pbc = True, True, False
    return atoms


STRUCTURES = {
    "lone atom": lambda: Atoms("C"),
    "cluster": cluster,
    "cell of one atom, smaller than the cutoff": tiny,
    "skewed alloy": alloy,
    "slab": slab,
}


@pytest.fixture
def frames():
    return [make() for make in STRUCTURES.values()]


def of(*frames):
    return Configurations.from_ase(frames)


def assert_same(one, other, rtol=1e-10, atol=1e-11):
    for name in ("energies", "forces", "stresses"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol, atol)


def test_every_potential_of_the_package_is_here():
    of_packages = {"chgnet", "sevennet"}  # of single precision: see test_foundation.py
    assert {
        name.split()[0] for name in POTENTIALS if name not in others("models")
    } | of_packages == ours("models")


@pytest.mark.parametrize("make", STRUCTURES.values(), ids=STRUCTURES)
def test_forces_and_stress_are_derivatives_of_the_energy(potential, make):
    atoms, step = make(), 1e-4
    moved = []
    for atom in range(len(atoms)):
        for axis in range(3):
            for sign in (1, -1):
                other = atoms.copy()
                other.positions[atom, axis] += sign * step
                moved.append(other)
    strains = [] if not atoms.pbc.all() else [(a, b) for a in range(3) for b in range(3)]
    for a, b in strains:
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step / 2
            strain[b, a] += sign * step / 2
            other = atoms.copy()
            other.set_cell(atoms.cell @ strain, scale_atoms=True)
            moved.append(other)
    up, down = potential.predict(of(*moved)).energies.reshape(-1, 2).T
    slopes = (up - down) / (2 * step)
    found = potential.predict(of(atoms))
    n = 3 * len(atoms)
    np.testing.assert_allclose(found.forces.ravel(), -slopes[:n], rtol=1e-5, atol=1e-6)
    if strains:
        stress = slopes[n:].reshape(3, 3) / atoms.get_volume()
        np.testing.assert_allclose(found.stresses[0], stress, rtol=1e-5, atol=1e-7)
    else:
        assert np.isnan(found.stresses).all()


def test_a_batch_says_what_each_structure_says_alone(potential, frames):
    batch = potential.predict(of(*frames))
    for atoms, one in zip(frames, batch, strict=True):
        assert_same(potential.predict(of(atoms)), one)


def test_energies_alone_are_those_of_a_prediction(potential, frames):
    prepared = potential.prepare(potential.graph(of(*frames)))
    weights = [w for w in potential.parameters() if w.requires_grad]
    alone, whole = prepared.energies(potential), prepared.predict(potential).energies
    torch.testing.assert_close(alone, whole, rtol=1e-10, atol=1e-11)
    for said in zip(*(_by_weights(energies, weights) for energies in (alone, whole))):
        torch.testing.assert_close(*said, rtol=1e-8, atol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(prepared.energies(potential), whole, rtol=1e-10, atol=1e-11)


def _by_weights(energies, weights):
    """Return the derivatives of a sum of squares by weights, of which there may be none."""
    squares = energies.square().sum()
    return torch.autograd.grad(squares, weights, materialize_grads=True) if weights else ()


def test_no_structures_are_a_batch(potential):
    found = potential.predict(Configurations.empty())
    assert len(found) == 0


def test_rotation_and_reflection_turn_forces_and_stress(potential):
    turn = -Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix().T
    atoms = alloy()
    turned = atoms.copy()
    turned.set_cell(atoms.cell @ turn)
    turned.positions = atoms.positions @ turn
    first, second = potential.predict(of(atoms, turned))
    np.testing.assert_allclose(second.energies, first.energies, rtol=1e-11)
    np.testing.assert_allclose(second.forces, first.forces @ turn, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(
        second.stresses[0], turn.T @ first.stresses[0] @ turn, rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("make", [cluster, alloy, slab])
def test_order_place_and_choice_of_images_do_not_matter(potential, make):
    atoms = make()
    order = np.random.default_rng(0).permutation(len(atoms))
    moved = atoms[order]
    moved.positions += [0.3, -5.0, 11.0]
    images = np.random.default_rng(1).integers(-2, 3, (len(atoms), 3)) * atoms.pbc
    moved.positions += images @ atoms.cell.array
    first, second = potential.predict(of(atoms, moved))
    np.testing.assert_allclose(second.energies, first.energies, rtol=1e-10)
    np.testing.assert_allclose(second.forces, first.forces[order], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("make", [tiny, alloy, slab])
def test_a_supercell_has_as_many_times_the_energy(potential, make):
    atoms = make()
    repeats = np.where(atoms.pbc, [2, 1, 3], 1)
    first, second = potential.predict(of(atoms, atoms.repeat(repeats)))
    n = np.prod(repeats)
    np.testing.assert_allclose(second.energies, n * first.energies, rtol=1e-11)
    np.testing.assert_allclose(second.forces, np.tile(first.forces, (n, 1)), atol=1e-9)
    np.testing.assert_allclose(second.stresses, first.stresses, atol=1e-10)


def test_groups_out_of_reach_add_up(potential):
    one, other = cluster(), Atoms("CCu", [[0, 0, 0], [1.1, 1.3, 0]])
    far = other.copy()
    far.positions += [0, 30, 0]
    apart, two, both = potential.predict(of(one, other, one + far))
    np.testing.assert_allclose(both.energies, apart.energies + two.energies, rtol=1e-11)
    np.testing.assert_allclose(both.forces, np.concatenate([apart.forces, two.forces]), atol=1e-10)


def test_an_atom_may_come_and_go_without_a_jump(potential):
    """Energies along a path through all cutoffs are the integral of the forces."""
    x = np.linspace(1.6, 9.0, 741)
    path = [Atoms("CuCCu", [[0, 0, 0], [0, 1.9, 0.3], [s, 0.4, 0.2]]) for s in x]
    found = potential.predict(of(*path))
    force = found.forces.reshape(-1, 3, 3)[:, 2, 0]
    step = x[1] - x[0]
    # Simpson's rule over every two steps
    work = step / 3 * (force[:-2:2] + 4 * force[1::2] + force[2::2])
    np.testing.assert_allclose(np.diff(found.energies[::2]), -work, atol=2e-5)
    alone = potential.predict(of(Atoms("CuC", [[0, 0, 0], [0, 1.9, 0.3]]), Atoms("Cu"))).energies
    assert found.energies[-1] == pytest.approx(alone.sum(), abs=1e-10)
    assert found.forces[-1] == pytest.approx(0, abs=1e-10)


def test_a_lone_atom_feels_nothing(potential):
    found = potential.predict(of(Atoms("C"), Atoms("Cu", cell=[20, 20, 20], pbc=True)))
    assert np.isfinite(found.energies).all()
    np.testing.assert_array_equal(found.forces, 0)
    np.testing.assert_array_equal(found.stresses[1], 0)


def test_the_order_of_the_elements_does_not_matter(request, potential, frames):
    name = request.node.callspec.params["potential"]
    other = build(name, ("Cu", "C"))
    assert other.elements == potential.elements == ("C", "Cu")
    assert_same(other.predict(of(*frames)), potential.predict(of(*frames)), rtol=0, atol=0)


def test_a_strange_element_is_named(potential):
    with pytest.raises(ValueError, match=r"knows \['C', 'Cu'\], the structures have \['H', 'O'\]"):
        potential.predict(of(Atoms("Cu"), molecule("H2O")))


def test_the_mean_of_the_committee_is_the_prediction(potential, frames):
    graph = potential.graph(of(*frames))
    with torch.no_grad():
        assert_same(potential.committee(graph).mean(), potential(graph))


def test_a_description_is_json_and_restores_the_potential(potential, frames):
    description = json.loads(json.dumps(potential.config()))
    again = from_config(description)
    assert again.config() == description == potential.config()
    again.load_state_dict(potential.state_dict())
    assert_same(again.predict(of(*frames)), potential.predict(of(*frames)), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_checkpoint_is_the_potential(potential, frames, dtype):
    potential = potential.to(dtype)
    content = Checkpoint(potential, {"seed": 1}).to_bytes()
    again = Checkpoint.from_bytes(content)
    assert again.potential.dtype == dtype
    assert again.to_bytes() == content
    found, expected = (p.predict(of(*frames)) for p in (again.potential, potential))
    assert_same(found, expected, rtol=0, atol=0)


def test_single_precision_is_near_double_precision(potential, frames):
    double = potential.predict(of(*frames))
    single = copy.deepcopy(potential).to(torch.float32)
    said = single(single.graph(of(*frames)))
    assert said.energies.dtype == torch.float64
    assert said.forces.dtype == said.stresses.dtype == torch.float32
    assert_same(single.predict(of(*frames)), double, rtol=1e-3, atol=1e-3)


def test_survives_a_process_boundary(potential, frames):
    again = pickle.loads(pickle.dumps(potential))
    assert_same(again.predict(of(*frames)), potential.predict(of(*frames)), rtol=0, atol=0)


def test_prediction_leaves_structures_and_weights_alone(potential, frames):
    structures = of(*frames)
    before = structures.to_bytes(), Checkpoint(potential).to_bytes()
    found = potential.predict(structures)
    assert (structures.to_bytes(), Checkpoint(potential).to_bytes()) == before
    assert all(weight.grad is None for weight in potential.parameters())
    assert found.keys == structures.keys


def test_equal_seeds_give_equal_potentials(request):
    for name in POTENTIALS:
        options = ModelOptions.parse(POTENTIALS[name])
        one, same, other = (options.build(("C", "Cu"), seed) for seed in (3, 3, 4))
        assert Checkpoint(one).to_bytes() == Checkpoint(same).to_bytes()
        if list(one.parameters()) and "gp" not in name:  # which begins with nothing by chance
            assert Checkpoint(one).to_bytes() != Checkpoint(other).to_bytes()


def test_building_leaves_the_random_state_alone(potential):
    before = torch.random.get_rng_state()
    ModelOptions.parse(POTENTIALS["ensemble"]).build(("C", "Cu"), 0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_last_layer_is_some_of_the_derivatives_by_weights(potential, frames):
    graph = potential.graph(of(*frames))
    graph.vectors.requires_grad_()
    try:
        last = require(potential, HasLastLayer).last_layer(graph)
    except ValueError as error:
        assert "has no last layer, models that have are ['bpnn'" in str(error)  # noqa: PT017
        return
    assert last.requires_grad
    found, rows = last.detach().numpy().T, potential.parameter_gradients(graph).numpy().T
    apart = abs(found[:, None] - rows[None]).max(axis=2).min(axis=1)
    np.testing.assert_allclose(apart, 0, atol=1e-12)
