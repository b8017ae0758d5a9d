import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc100, molecule

from aiida_mlal.ml.calculator import MLCalculator
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.descriptors.moment_tensors import MomentBasis
from aiida_mlal.ml.engines.numba import kernels_of
from aiida_mlal.ml.formats.mlip import cfg, mtp
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.mtp import MTP, Contraction, MTPOptions


def with_random_coefficients(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(model.n_parameters, generator=generator, dtype=torch.float64)
    model.set_coefficients(0.1 * random)
    return model


def potential(elements=("Mo",), level=8, **options):
    return with_random_coefficients(
        single({"architecture": "mtp", "level": level, **options}, elements, 0)
    )


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
    atoms = fcc100("Cu", (2, 2, 2), a=4.0, vacuum=None, periodic=False)
    atoms.symbols[:] = elements[-1]
    atoms.rattle(0.1, seed=1)
    return atoms


def cluster(elements):
    atoms = molecule("CH3CH2OH")
    atoms.symbols = (list(elements) * 9)[:9]
    atoms.positions *= 2
    return atoms


def far_apart(elements):
    return Atoms([elements[0]] * 3, [[0, 0, 0], [2.5, 0, 0], [1e7, -1e7, 0]])


def no_atoms(elements):
    return Atoms(cell=[3, 3, 3], pbc=True)


STRUCTURES = (alloy, one_atom_in_a_small_cell, slab, cluster, far_apart, no_atoms)


def evaluate(evaluator, atoms, **options):
    return evaluator(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, **options)


def assert_agrees(model, evaluator, atoms):
    structure = Configurations.from_ase(atoms)
    found = evaluate(evaluator, atoms, gradients=True)
    graph = model.graph(structure)
    with torch.no_grad():
        energies = model.atomic_energies(graph).numpy()
        expected = model(graph)
    scale = max(1.0, abs(energies).max(initial=0))
    assert found.energies == pytest.approx(energies, abs=1e-12 * scale, rel=1e-11)
    forces = expected.forces.numpy()
    largest = max(1.0, abs(forces).max(initial=0))
    assert found.forces == pytest.approx(forces, abs=1e-11 * largest)
    if atoms.pbc.all():
        virial = expected.stresses[0].numpy() * atoms.cell.volume
        symmetric = (found.virial + found.virial.T) / 2
        assert symmetric == pytest.approx(virial, abs=1e-11 * max(1.0, abs(virial).max()))
    rows = model.parameter_gradients(graph).numpy()
    assert found.gradients == pytest.approx(rows, abs=1e-12 * max(1.0, abs(rows).max(initial=0)))


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("elements", [("Mo",), ("Ag", "Pd"), ("Ag", "Au", "Cu", "Pd")], ids=len)
def test_agrees_with_the_torch_model(structure, elements):
    model = potential(elements)
    assert_agrees(model, kernels_of(model, 0.5), structure(model.elements))


@pytest.mark.parametrize("level", [2, 4, 6, 10, 14, 18])
def test_agrees_at_every_level(level):
    model = potential(("Ag", "Pd"), level, radial_basis_size=5)
    assert_agrees(model, kernels_of(model, 0.5), alloy(model.elements))


@pytest.mark.parametrize(
    "kind", ["RBChebyshev_repuls", "RBShapeev", "RBTaylor", "BChebyshev", "BChebyshev_repuls"]
)
def test_agrees_for_every_radial_basis_and_below_the_smallest_distance(kind):
    model = potential(
        ("Ag", "Pd"), radial_basis=kind, radial_basis_size=4, min_dist=2.8, cutoff=4.5
    )
    atoms = alloy(model.elements)
    assert atoms.get_all_distances(mic=True)[~np.eye(len(atoms), dtype=bool)].min() < 2.7
    assert_agrees(model, kernels_of(model, 0.5), atoms)


def test_agrees_for_lists_unlike_those_of_a_level():
    """Ranks missing, more of them in a later radial function, an invariant listed twice."""
    basic = [[1, 0, 0, 0], [1, 2, 0, 0], [1, 0, 2, 0], [1, 0, 0, 2], [1, 1, 1, 0], [0, 1, 0, 0]]
    times = [[0, 1, 2, 6], [0, 0, 1, 7], [7, 6, 3, 8], [4, 5, 1, 9], [1, 1, 1, 9]]
    basis = MomentBasis(basic, times, [0, 7, 8, 8, 9, 3])
    radial = MTPOptions(radial_basis_size=1).radial()
    model = with_random_coefficients(MTP(["Ag"], Contraction(basis, radial)))
    assert_agrees(model, kernels_of(model, 0.5), alloy(["Ag"]))


def test_a_random_walk_gives_what_fresh_evaluations_give():
    model, atoms = potential(("Ag", "Pd")), alloy(("Ag", "Pd"))
    evaluator, rng = kernels_of(model, 0.4), np.random.default_rng(0)
    for step in range(30):
        atoms.positions += rng.normal(scale=0.03, size=(len(atoms), 3))
        if step % 7 == 3:
            strain = np.eye(3) + 0.01 * rng.normal(size=(3, 3))
            atoms.set_cell(atoms.cell @ strain, scale_atoms=bool(step % 2))
        if step == 10:
            atoms.positions += [20.0, -3.0, 5.0]
        if step == 20:
            atoms = atoms[::-1]
        if step == 25:
            atoms.pbc = [True, True, False]
        assert_agrees(model, evaluator, atoms)
    assert 3 < evaluator.verlet.builds < 25


@pytest.mark.parametrize("seed", range(8))
def test_what_was_in_memory_does_not_matter(seed):
    elements = ("Ag", "Au", "Cu", "Pd")
    model, atoms = potential(elements), alloy(elements, seed)
    evaluator = kernels_of(model, 0.5)
    for size in np.geomspace(100, 1e5, 60).astype(int):
        rubbish = [np.full(size, np.nan) for _ in range(3)]
        del rubbish
        assert np.isfinite(evaluate(evaluator, atoms).forces).all()


def test_names_the_nearest_atoms():
    model = potential(("Ag", "Pd"))
    atoms = Atoms("AgPdPdAg", [[0, 0, 0], [2.5, 0, 0], [0, 2.4, 0], [0, 0, 30]])
    pairs, distances = evaluate(kernels_of(model, 0.5), atoms).contacts()
    found = {(a, b): d for (a, b), d in zip(pairs.T.tolist(), distances.tolist())}
    assert found == pytest.approx(
        {(0, 2): 2.4, (1, 0): 2.5, (1, 2): 12.01**0.5, (2, 0): 2.4, (2, 1): 12.01**0.5}
    )


def test_the_calculator_uses_it():
    model, atoms = potential(("Ag", "Pd"), 10), alloy(("Ag", "Pd"))
    atoms.calc = MLCalculator(model)
    expected = model.predict(Configurations.from_ase(atoms.copy()))
    assert atoms.calc.engine.name == "numba"
    assert atoms.get_potential_energy() == pytest.approx(expected.energies[0], rel=1e-12)
    assert atoms.get_forces() == pytest.approx(expected.forces, abs=1e-10)
    assert atoms.get_stress(voigt=False) == pytest.approx(expected.stresses[0], abs=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"symbols": "CuAg"}, r"knows \['Pd', 'Ag'\], the structure has \['Cu'\]"),
        ({"positions": [[0, 0, 0], [0, 0, np.nan]]}, "not finite"),
        ({"cell": [1e-5, 3, 3], "pbc": True}, "too flat or too small"),
    ],
)
def test_refuses(change, message):
    values = {"symbols": "AgPd", "positions": [[0, 0, 0], [0, 0, 2]]} | change
    with pytest.raises(ValueError, match=message):
        evaluate(kernels_of(potential(("Ag", "Pd")), 0.5), Atoms(**values))


def test_an_atom_lost_on_the_way_is_noticed():
    evaluator, atoms = kernels_of(potential(), 0.5), alloy(["Mo"])
    evaluate(evaluator, atoms)
    atoms.positions[3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        evaluate(evaluator, atoms)


@pytest.mark.parametrize("folder", ["L08_S1", "L16_S1"])
def test_the_original_code_says_the_same(shared, folder):
    folder = shared / "reference" / "mtp" / folder
    evaluator = kernels_of(mtp.read(folder / "pot.mtp.xz", ["Mo"]), 0.5)
    for structure in cfg.read(folder / "efs.cfg.xz", ["Mo"]):
        found = evaluate(evaluator, structure.to_ase()[0])
        assert found.energies.sum() == pytest.approx(structure.energies[0], abs=1e-12)
        assert found.forces == pytest.approx(structure.forces, abs=1e-12)
