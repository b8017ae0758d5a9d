import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc100, molecule

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.engines.numba import kernels_of
from aiida_mlal.ml.fast.symmetry_functions import STEEP, half_cutoff
from aiida_mlal.ml.models.ensemble import Ensemble
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.sum import Sum


def bpnn(elements, seed=0, **options):
    """Return a network whose features and energies have scales of their own."""
    potential = single({"architecture": "bpnn", **options}, elements, seed)
    generator = torch.Generator().manual_seed(seed)
    for buffer, low, high in (
        (potential.low, -0.2, 0.5), (potential.high, 1.0, 4.0), (potential.shift, -3.0, 3.0),
        (potential.scale, 0.2, 2.0),
    ):  # fmt: skip
        buffer.uniform_(low, high, generator=generator)
    return potential


def morse(elements, **options):
    return single({"architecture": "morse", **options}, elements, 0)


def alloy(elements, seed=0):
    rng = np.random.default_rng(seed)
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


def pair(elements):
    return Atoms([elements[0], elements[-1]], [[0, 0, 0], [0.3, 1.1, 1.2]])


def far_apart(elements):
    return Atoms([elements[0]] * 3, [[0, 0, 0], [2.5, 0, 0], [1e6, -1e6, 0]])


def no_atoms(elements):
    return Atoms(cell=[3, 3, 3], pbc=True)


STRUCTURES = (alloy, one_atom_in_a_small_cell, slab, cluster, pair, far_apart, no_atoms)

ELEMENTS = (("Cu",), ("C", "Cu"), ("Ag", "Au", "Cu", "Pd"))


def evaluate(evaluator, atoms, **options):
    return evaluator(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, **options)


def close(expected, tolerance=1e-11):
    return pytest.approx(expected, abs=tolerance * max(1.0, abs(expected).max(initial=0)))


def assert_agrees(potential, evaluator, atoms):
    found = evaluate(evaluator, atoms)
    graph = potential.graph(Configurations.from_ase(atoms))
    with torch.no_grad():
        energies = potential.atomic_energies(graph).numpy()
        committee = potential.committee(graph)
    expected = committee.mean()
    assert found.energies == close(energies)
    assert found.forces == close(expected.forces.numpy())
    if atoms.pbc.all():
        virial = expected.stresses[0].numpy() * atoms.cell.volume
        assert (found.virial + found.virial.T) / 2 == close(virial)
    assert found.members.energies == close(committee.energies[:, 0].numpy())
    assert found.members.forces == close(committee.forces.numpy())


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("elements", ELEMENTS, ids=len)
def test_a_committee_on_a_prior_agrees_with_torch(structure, elements):
    network = Ensemble([bpnn(elements, seed) for seed in range(3)])
    potential = Sum([morse(elements), network])
    assert_agrees(potential, kernels_of(potential, 0.5), structure(potential.elements))


DESCRIPTORS = {
    "no angular functions": {"g4_etas": []},
    "no radial functions": {"g2_etas": []},
    "centres": {"g2_etas": [2.0, 40.0], "g2_centres": [0.0, 2.5, 4.0]},
    "many angular functions": {"g4_etas": [0.0, 0.7, 3.9], "g4_zetas": [1, 2, 3, 16]},
    "steep angular functions": {"g4_etas": [5.0, 30.0], "g4_zetas": [2.0]},
    "one sign": {"g4_lambdas": [-1.0], "g4_zetas": [1.0, 2.0, 5.0]},
    "other units": {"g4_etas": [0.02, 0.3], "g2_etas": [0.4], "eta_units": "1/A^2"},
}


@pytest.mark.parametrize("descriptor", DESCRIPTORS.values(), ids=DESCRIPTORS)
@pytest.mark.parametrize("structure", [alloy, cluster])
def test_agrees_for_every_descriptor(descriptor, structure):
    potential = bpnn(("C", "Cu"), descriptor=descriptor, cutoff=4.5)
    assert_agrees(potential, kernels_of(potential, 0.3), structure(potential.elements))


@pytest.mark.parametrize("hidden", [[], [1], [16], [5, 9, 3]], ids=len)
def test_agrees_for_every_size_of_network(hidden):
    potential = bpnn(("C", "Cu"), hidden=hidden)
    assert_agrees(potential, kernels_of(potential, 0.5), alloy(potential.elements))


@pytest.mark.parametrize("smoothing", ["smooth", "hard"])
@pytest.mark.parametrize("cutoff", [4.0, 7.0])
def test_a_prior_has_a_cutoff_of_its_own(smoothing, cutoff):
    elements = ("C", "Cu")
    prior = morse(elements, cutoff=cutoff, smoothing=smoothing, mixing="yang")
    potential = Sum([prior, bpnn(elements, cutoff=5.0)])
    assert_agrees(potential, kernels_of(potential, 0.5), alloy(elements))
    assert_agrees(prior, kernels_of(prior, 0.5), slab(elements))


def test_a_random_walk_gives_what_fresh_evaluations_give():
    potential = Sum([morse(["C", "Cu"]), bpnn(["C", "Cu"], cutoff=5.0)])
    atoms, evaluator = slab(potential.elements), kernels_of(potential, 0.4)
    atoms.set_cell([5.1, 5.1, 20])
    atoms.pbc = [True, True, False]
    rng = np.random.default_rng(0)
    for step in range(30):
        atoms.positions += rng.normal(scale=0.03, size=(len(atoms), 3))
        if step % 7 == 3:
            strain = np.eye(3) + 0.01 * rng.normal(size=(3, 3))
            atoms.set_cell(atoms.cell @ strain, scale_atoms=bool(step % 2))
        if step == 10:
            atoms.positions += [20.0, -3.0, 5.0]
        if step == 20:
            atoms = atoms[::-1]
        assert_agrees(potential, evaluator, atoms)
    assert 3 < evaluator.verlet.builds < 25


def test_forces_go_to_zero_at_the_cutoff():
    potential = bpnn(["Cu"], cutoff=5.0)
    evaluator = kernels_of(potential, 0.5)
    for away in (1e-3, 1e-6, 1e-12, 0.0, -1e-12):
        third = [2.5, (25 - 2.5**2) ** 0.5 - away, 0]
        atoms = Atoms("Cu3", [[0, 0, 0], [5 - away, 0, 0], third])
        assert_agrees(potential, evaluator, atoms)


def test_the_weights_of_now_are_used():
    potential, atoms = bpnn(["Cu"]), alloy(["Cu"])
    before = evaluate(kernels_of(potential, 0.5), atoms)
    with torch.no_grad():
        next(iter(potential.parameters())).mul_(1.5)
    after = kernels_of(potential, 0.5)
    assert abs(evaluate(after, atoms).forces - before.forces).max() > 1e-3
    assert_agrees(potential, after, atoms)


def test_names_the_nearest_atoms():
    potential = Sum([morse(["Ag", "Pd"], cutoff=5.0), bpnn(["Ag", "Pd"], cutoff=3.0)])
    atoms = Atoms("AgPdPdAg", [[0, 0, 0], [2.5, 0, 0], [0, 2.4, 0], [0, 0, 30]])
    pairs, distances = evaluate(kernels_of(potential, 0.5), atoms).contacts()
    found = {(a, b): d for (a, b), d in zip(pairs.T.tolist(), distances.tolist())}
    assert found == pytest.approx(
        {(0, 2): 2.4, (1, 0): 2.5, (1, 2): 12.01**0.5, (2, 0): 2.4, (2, 1): 12.01**0.5}
    )


NO_KERNELS = {
    "a broken exponent": lambda: bpnn(["Cu"], descriptor={"g4_zetas": [1.5]}),
    "members of unlike sizes": lambda: Ensemble([bpnn(["Cu"]), bpnn(["Cu"], hidden=[3])]),
    "members of unlike descriptors": lambda: Ensemble([bpnn(["Cu"]), bpnn(["Cu"], cutoff=4.0)]),
    "members of unlike kinds": lambda: Ensemble([bpnn(["Cu"]), morse(["Cu"])]),
    "a committee of priors": lambda: Ensemble([morse(["Cu"]), morse(["Cu"])]),
    "a term without": lambda: Sum([morse(["Cu"]), Ensemble([morse(["Cu"]), morse(["Cu"])])]),
}


@pytest.mark.parametrize("make", NO_KERNELS.values(), ids=NO_KERNELS)
def test_what_has_no_kernel_says_so(make):
    assert kernels_of(make(), 0.5) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"symbols": "CuAg"}, r"knows \['Pd', 'Ag'\], the structure has \['Cu'\]"),
        ({"positions": [[0, 0, 0], [0, 0, np.nan]]}, "not finite"),
    ],
)
def test_refuses(change, message):
    values = {"symbols": "AgPd", "positions": [[0, 0, 0], [0, 0, 2]]} | change
    with pytest.raises(ValueError, match=message):
        evaluate(kernels_of(bpnn(["Pd", "Ag"]), 0.5), Atoms(**values))


def test_derivatives_by_parameters_are_refused():
    with pytest.raises(ValueError, match="no derivatives by the parameters"):
        evaluate(kernels_of(bpnn(["Cu"]), 0.5), alloy(["Cu"]), gradients=True)


@pytest.mark.parametrize("decay", [0.0, 0.3, STEEP / 2])
def test_polynomials_end_where_the_cutoff_does(decay):
    found = half_cutoff(decay)
    x = np.linspace(0, 1, 1000)
    exact = np.cos(np.pi / 2 * np.sqrt(x)) * np.exp(-decay * x)
    assert np.polyval(found, x) == pytest.approx(exact, abs=1e-14)
    assert len(found) < 16
