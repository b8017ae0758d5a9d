import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.descriptors.moment_tensors import MomentBasis
from aiida_mlal.ml.distances import smallest_distances
from aiida_mlal.ml.formats.mlip import cfg, mtp
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.factory import ModelOptions, single
from aiida_mlal.ml.models.mtp import MTP, Contraction, MTPOptions


def potential(elements=("Ag", "Pd"), level=8, seed=0, **options):
    model = single({"architecture": "mtp", "level": level, **options}, elements, seed)
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(model.n_parameters, generator=generator, dtype=torch.float64)
    model.set_coefficients(0.2 * random)
    return model


def alloy(seed=0, rattle=0.15):
    atoms = bulk("Ag", "fcc", 4.0, cubic=True) * (2, 1, 1)
    atoms.symbols[[0, 3, 5]] = "Pd"
    atoms.rattle(rattle, seed=seed)
    return atoms


def of(*structures):
    return Configurations.from_ase(structures)


def energies_by_definition(model, structures):
    """Equations 1-5 of the paper in plain loops, the products by the lists of the basis."""
    graph = model.graph(structures)
    radial = model.radial_coeffs.detach().numpy()
    species = model.species(graph.numbers).tolist()
    polynomials = model.radial(graph.distances).numpy()
    energies = np.zeros(len(structures))
    for i, owner in enumerate(graph.owner.tolist()):
        moments = np.zeros(model.basis.n_moments)
        for k, (mu, *powers) in enumerate(model.basis.basic):
            for e in np.flatnonzero(graph.pairs[0].numpy() == i):
                unit = (graph.vectors[e] / graph.distances[e]).numpy()
                j = int(graph.pairs[1, e])
                f = radial[species[i], species[j], mu] @ polynomials[e]
                moments[k] += f * np.prod(unit**powers)
        for a, b, factor, c in model.basis.times:
            moments[c] += factor * moments[a] * moments[b]
        energies[owner] += model.species_coeffs[species[i]].item()
        energies[owner] += moments[model.basis.mapping] @ model.moment_coeffs.detach().numpy()
    return energies


def test_agrees_with_the_definition():
    model = potential(level=10)
    structures = of(alloy(), Atoms("AgPd2", [[0, 0, 0], [2.4, 0, 0], [0.5, 2.5, 0.3]]))
    expected = energies_by_definition(model, structures)
    assert model.predict(structures).energies == pytest.approx(expected, rel=1e-12)


def test_energies_do_not_change_in_a_rotation():
    model, atoms = potential(level=16), alloy()
    turned = atoms.copy()
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    predicted = model.predict(of(atoms, turned))
    assert predicted.energies[1] == pytest.approx(predicted.energies[0], rel=1e-11)
    forces = np.linalg.norm(predicted.forces, axis=1)
    assert forces[: len(atoms)] == pytest.approx(forces[len(atoms) :], rel=1e-9)


def test_energies_do_not_change_in_another_order_or_place():
    model, atoms = potential(), alloy()
    order = np.random.default_rng(0).permutation(len(atoms))
    moved = atoms[order]
    moved.positions += [0.3, -5.0, 11.0]
    energies = model.predict(of(atoms, moved, atoms * (1, 2, 1))).energies
    assert energies == pytest.approx(energies[0] * np.array([1, 1, 2]), rel=1e-12)


def test_forces_and_stress_are_derivatives_of_the_energy():
    model, atoms = potential(level=12), alloy()
    predicted = model.predict(of(atoms))

    def difference(change):
        pair = [atoms.copy(), atoms.copy()]
        for sign, moved in zip((1, -1), pair):
            change(moved, sign * 1e-5)
        up, down = model.predict(of(*pair)).energies
        return (up - down) / 2e-5

    def move(moved, step):
        moved.positions[2, 1] += step

    def strain(moved, step):
        shear = np.eye(3)
        shear[0, 1] = shear[1, 0] = step / 2
        moved.set_cell(moved.cell @ shear, scale_atoms=True)

    assert predicted.forces[2, 1] == pytest.approx(-difference(move), rel=1e-6)
    stress = predicted.stresses[0, 0, 1] * atoms.get_volume()
    assert stress == pytest.approx(difference(strain), rel=1e-6)


def test_second_derivatives():
    model, graph = potential(level=6), potential(level=6).graph(of(alloy()))

    def energy(vectors):
        return model.atomic_energies(replace(graph, vectors=vectors)).sum()

    vectors = graph.vectors[:5].clone().requires_grad_()
    rest = graph.vectors[5:]
    assert torch.autograd.gradgradcheck(lambda v: energy(torch.cat([v, rest])), vectors)


def test_a_lone_atom_has_the_energy_of_its_species():
    model = potential(("Ag", "Pd"))
    energy = model.predict(of(Atoms("Pd"))).energies[0]
    assert energy == model.species_coeffs[0].item()


@pytest.mark.parametrize("level", [2, 8, 14])
def test_rows_are_derivatives_by_the_coefficients(level):
    model, structures = potential(level=level, radial_basis_size=4), of(alloy())
    rows = model.parameter_gradients(model.graph(structures)).numpy()
    start, step = model.coefficients, 1e-5
    for k in np.random.default_rng(0).choice(model.n_parameters, 12, replace=False):
        found = []
        for sign in (1, -1):
            coefficients = start.clone()
            coefficients[k] += sign * step
            model.set_coefficients(coefficients)
            with torch.no_grad():
                found.append(model.atomic_energies(model.graph(structures)).numpy())
        assert rows[:, k] == pytest.approx((found[0] - found[1]) / (2 * step), rel=1e-6, abs=1e-8)


def test_energies_are_linear_in_all_but_the_radial_coefficients():
    model, structures = potential(level=10), of(alloy())
    rows = model.parameter_gradients(model.graph(structures)).sum(0)
    linear = model.radial_coeffs.numel()
    energy = (rows[linear:] * model.coefficients[linear:]).sum()
    assert model.predict(structures).energies[0] == pytest.approx(energy.item(), rel=1e-12)


def test_a_checkpoint_keeps_a_basis_of_its_own():
    own = MomentBasis([[0, 0, 0, 0], [1, 0, 0, 0]], [[0, 1, 3, 2]], [0, 2])
    radial = MTPOptions(radial_basis_size=4, radial_basis="RBChebyshev_repuls").radial()
    model = MTP(["Ag", "Pd"], Contraction(own, radial, types=("Pd", "Ag")))
    again = Checkpoint.from_bytes(Checkpoint(model).to_bytes()).potential
    assert again.types == ("Pd", "Ag")
    structures = of(alloy())
    assert again.predict(structures).energies == model.predict(structures).energies


def test_a_checkpoint_of_a_level_is_restored():
    model, structures = potential(level=20, scaling=0.03), of(alloy())
    again = Checkpoint.from_bytes(Checkpoint(model).to_bytes()).potential
    assert again.predict(structures).energies == model.predict(structures).energies
    assert len(Checkpoint(model).to_bytes()) < 20_000


def test_members_of_an_ensemble_begin_differently():
    members = ModelOptions.parse({"architecture": "mtp", "level": 8, "ensemble": 2})
    first, second = members.build(["Mo"], seed=0).members
    assert not torch.equal(first.radial_coeffs, second.radial_coeffs)


def test_starts_from_the_energies_of_the_elements():
    model = single({"architecture": "mtp", "level": 6}, ["Ag", "Pd"], 0)
    structures = of(alloy(0), alloy(1), bulk("Ag"), bulk("Pd") * 2)
    numbers = structures.numbers
    per_atom = np.where(numbers == 47, -2.0, -5.0)
    energies = np.bincount(structures.owner, per_atom)
    graph = model.graph(structures)
    targets = replace(model(graph).detach(), energies=torch.tensor(energies))
    model.initialise(model.prepare(graph), targets, seed=0)
    assert model.species_coeffs.tolist() == pytest.approx([-5.0, -2.0], abs=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 15}, "even level from 2 to 28, got 15"),
        ({"level": 30}, "even level from 2 to 28, got 30"),
        ({"min_dist": 6.0}, "min_dist 6.0 and cutoff 5.0"),
        ({"radial_basis": "RBChebyshef"}, "did you mean 'RBChebyshev'"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        ModelOptions.parse({"architecture": "mtp", **options})


def largest_errors(model, structures):
    """Of energies, forces and PlusStress."""
    found = model.predict(structures)
    periodic = np.isfinite(structures.stresses).all(axis=(1, 2))
    virials = (found.stresses - structures.stresses)[periodic]
    virials = virials * abs(np.linalg.det(structures.cells[periodic]))[:, None, None]
    return [
        abs(error).max(initial=0)
        for error in (
            found.energies - structures.energies,
            found.forces - structures.forces,
            virials,
        )
    ]


@pytest.mark.parametrize("folder", ["L08_S1", "L16_S1"])
def test_the_original_code_says_the_same(shared, folder):
    folder = shared / "reference" / "mtp" / folder
    model = mtp.read(folder / "pot.mtp.xz", ["Mo"])
    errors = largest_errors(model, cfg.read(folder / "efs.cfg.xz", ["Mo"]))
    assert max(errors) < 1e-11


def test_the_original_code_says_the_same_of_trained_potentials(shared, tmp_path):
    """Levels 2 to 20; one and three species; crystals and molecules; to the printed digits."""
    with tarfile.open(shared / "reference" / "motep_mlip2_fixtures.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    compared = 0
    for path in sorted(tmp_path.glob("*/*/*/out.cfg")):
        model = mtp.read(path.parent / "pot.mtp")
        errors = largest_errors(model, cfg.read(path))
        assert np.all(np.array(errors) < [2e-11, 5.1e-7, 5.1e-6]), path
        compared += 1
    assert compared > 30


def crystal():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=3)
    return Configurations.from_ase([atoms])


def test_the_shortest_distance_is_that_of_the_structures():
    """Rounded down, so that no pair is below it; what is given stays."""
    options, structures = MTPOptions(level=2), crystal()
    settled = MTP.settled(options, structures)
    shortest = smallest_distances(structures)["mindist"]
    assert settled.min_dist <= shortest < settled.min_dist + 0.01
    assert MTP(["Cu"], settled).warnings(structures) == ""
    given = MTPOptions(level=2, min_dist=2.2)
    assert MTP.settled(given, structures) == given
    far = Configurations.from_ase([Atoms("Cu")])
    assert MTP(["Cu"], MTP.settled(options, far)).radial.min_dist == 2.0


@pytest.mark.parametrize(
    ("atoms", "most", "least"),
    [
        (bulk("Cu", cubic=True), 2.0, 2.0),
        (molecule("H2O"), 0.8 * 0.97, 0.7),
        (Atoms("CuH", [[0, 0, 0], [0, 0, 3.5]]), 0.8 * 1.64, 1.3),  # before they are bonded
        (Atoms("Cu"), 2.0, 2.0),
    ],
)
def test_simulations_may_come_nearer_than_they_begin(atoms, most, least):
    """By a fifth of a bond, here or to be made; in metals it is that of MLIP's potentials."""
    given = {"architecture": "mtp", "level": 2}
    model = ModelOptions.foreseen(given, Configurations.from_ase([bulk("Au"), atoms]))
    assert least <= model.pop("min_dist") <= most
    assert model == given
    asked = {**given, "min_dist": 1.7}
    assert ModelOptions.foreseen(asked, Configurations.from_ase([atoms])) == asked
    short = {**given, "cutoff": 1.5}
    assert ModelOptions.foreseen(short, Configurations.from_ase([atoms]))["min_dist"] < 1.5


def test_the_shortest_distance_of_older_weights_stays():
    older = MTP(["Cu"], MTPOptions(level=2, min_dist=1.7))
    younger = MTP(["Cu"], MTP.settled(MTPOptions(level=4), crystal()[:0]))
    younger.warm_start(older)
    assert younger.radial.min_dist == 1.7
    structures = crystal()
    expected = older.predict(structures)
    np.testing.assert_allclose(younger.predict(structures).forces, expected.forces, atol=1e-10)
    with pytest.raises(ValueError, match=r"min_dist is 2\.0, in the file 1\.7"):
        MTP(["Cu"], MTPOptions(level=4, min_dist=2.0)).warm_start(older)


@pytest.mark.parametrize(
    ("basis", "message"),
    [
        ({"basic": [[0, 0, 0, 0]]}, "expected the lists 'basic', 'times' and 'mapping'"),
        ({"basic": [[0, 0]], "times": [], "mapping": []}, "basis: "),
        ({"basic": "x", "times": [], "mapping": []}, "basis: "),
        ({"basic": [[0, 0, 0, 0]], "times": [], "mapping": [7]}, "none of the 1 moments"),
    ],
)
def test_lists_that_are_no_basis_are_refused(basis, message):
    with pytest.raises(ValueError, match=message):
        MTPOptions(basis=basis)


def test_kernels_follow_the_shortest_distance_of_older_weights():
    """A potential that has predicted already does not go on with the radial functions it had."""
    older = MTP(["Cu"], MTPOptions(level=2, min_dist=1.7))
    younger = MTP(["Cu"], MTPOptions(level=2))
    younger.predict(crystal())
    younger.warm_start(older)
    assert younger.predict(crystal()).energies == older.predict(crystal()).energies
