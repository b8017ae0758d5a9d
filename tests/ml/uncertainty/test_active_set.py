from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import bulk

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.uncertainty.active_set import ActiveSet, fingerprint
from aiida_mlal.ml.uncertainty.rows import SelectionWeights, batches, n_parameters, rows_of

MODES = ["configuration", "neighbourhood"]


def alloys(n, rattle=0.15, seed=0, size=1):
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n):
        atoms = bulk("Ag", "fcc", rng.uniform(3.9, 4.3), cubic=True) * (size, 1, 1)
        atoms.symbols = rng.choice(["Ag", "Pd"], len(atoms))
        atoms.rattle(rattle, rng=rng)
        frames.append(atoms)
    return Configurations.from_ase(frames)


@pytest.fixture(scope="module")
def potential():
    options = {"architecture": "mtp", "level": 6, "radial_basis_size": 3}
    return single(options, ["Ag", "Pd"], 3)


@pytest.fixture(params=["mtp", "bpnn"])
def any_potential(request, potential):
    if request.param == "mtp":
        return potential
    options = {"architecture": "bpnn", "cutoff": 4.0, "hidden": [3]}
    return single(options, ["Ag", "Pd"], 3)


class TestRows:
    """Against finite differences, for any potential."""

    def perturbed(self, potential, index, step):
        weights = torch.nn.utils.parameters_to_vector(potential.parameters()).detach()
        changed = weights.clone()
        changed[index] += step
        with torch.no_grad():
            torch.nn.utils.vector_to_parameters(changed, potential.parameters())
            graph = potential.graph(alloys(2))
            sites = potential.atomic_energies(graph)
        said = potential.predict(alloys(2))
        torch.nn.utils.vector_to_parameters(weights, potential.parameters())
        volumes = np.abs(np.linalg.det(said.cells))[:, None, None]
        return sites.numpy(), said.forces, said.stresses * volumes

    def test_energies_forces_and_virials(self, any_potential):
        potential = any_potential.double()
        weights = SelectionWeights(2.0, 3.0, 5.0, 7.0)
        rows = rows_of(potential, potential.graph(alloys(2)), weights)
        assert rows.values.shape == (2 * (1 + 4 + 12 + 9), n_parameters(potential))
        step = 1e-5
        for index in range(0, n_parameters(potential), 5):
            up, down = (self.perturbed(potential, index, s) for s in (step, -step))
            sites, forces, virials = ((a - b) / (2 * step) for a, b in zip(up, down))
            for i in range(2):
                mine = rows.values[rows.owners == i, index]
                atoms = slice(4 * i, 4 * i + 4)
                wanted = [[2 * sites[atoms].mean()], 7 * sites[atoms]]
                wanted += [3 * forces[atoms].ravel(), 5 * virials[i].ravel() / 4]
                np.testing.assert_allclose(mine, np.concatenate(wanted), rtol=1e-5, atol=1e-6)

    def test_batches_are_the_same_in_pieces(self, potential):
        structures = alloys(30)
        for weights in (SelectionWeights(), SelectionWeights(0.0, site_en_weight=1.0)):
            whole = rows_of(potential, potential.graph(structures), weights)
            pieces = list(batches(potential, structures, weights, size=7))
            assert len(pieces) > 0
            for name in ("values", "owners", "equations", "atoms"):
                joined = np.concatenate([getattr(piece, name) for piece in pieces])
                np.testing.assert_allclose(joined, getattr(whole, name), atol=1e-12)

    def test_weights_that_leave_nothing(self):
        with pytest.raises(ValueError, match="one above 0"):
            SelectionWeights(energy_weight=0.0)
        with pytest.raises(ValueError, match="of 0 or more"):
            SelectionWeights(force_weight=-1.0)


@pytest.mark.parametrize("mode", MODES)
def test_the_training_set_is_known(potential, mode):
    train = alloys(60)
    active = ActiveSet.of(potential, train, mode, 1.01)
    assert active.grades(potential, train).values.max() <= 1.01 + 1e-6
    assert active.mode == mode
    assert len(active.configurations) <= active.rank <= len(active.equations)


@pytest.mark.parametrize("mode", MODES)
def test_rows_belong_to_the_structures_that_it_names(potential, mode):
    active = ActiveSet.of(potential, alloys(40), mode)
    rows = rows_of(potential, potential.graph(active.configurations), active.weights)
    for row, owner, equation in zip(active.volume.matrix, active.volume.owners, active.equations):
        if owner >= 0:
            mine = (rows.owners == owner) & (rows.equations == equation)
            np.testing.assert_allclose(rows.values[mine], [row], rtol=1e-10)
    assert set(active.volume.owners[active.volume.owners >= 0]) == set(
        range(len(active.configurations))
    )


def test_the_rank_is_that_of_what_can_be_known(potential):
    """Radial functions of one species may be mixed: 3 directions that no structure can reach."""
    active = ActiveSet.of(potential, alloys(200))
    rows = np.concatenate([r.values for r in batches(potential, alloys(200), active.weights)])
    rank = np.linalg.matrix_rank(rows, tol=1e-6)
    assert active.rank == rank < len(active.equations)


def test_strange_structures_have_large_grades(potential):
    active = ActiveSet.of(potential, alloys(200))
    near, far = alloys(5, 0.1, seed=1), alloys(5, 0.7, seed=1)
    assert active.grades(potential, far).values.min() > active.grades(potential, near).values.max()


def test_an_active_set_that_is_not_full_says_so(potential):
    active = ActiveSet.of(potential, alloys(3))
    found = active.grades(potential, alloys(5, seed=1))
    assert found.outside.all()
    assert found.rank == active.rank == 3
    assert "3 of 31 rows of the active set are filled" in found.message
    assert "5 of 5 structures lie outside" in found.message
    known = active.grades(potential, alloys(3))
    assert not known.outside.any()
    assert known.message == ""
    np.testing.assert_allclose(known.values, 1.0)


@pytest.mark.parametrize("mode", ["configuration", "neighbourhood"])
def test_two_atoms_at_one_place_are_outside_of_everything(potential, mode):
    strange = alloys(3)
    positions = strange.positions.copy()
    positions[strange.offsets[1] + 1] = positions[strange.offsets[1]]
    strange = replace(strange, positions=positions)
    active = ActiveSet.of(potential, alloys(12), mode)
    found = active.grades(potential, strange)
    assert np.isinf(found.values).tolist() == [False, True, False]
    assert found.outside[1]
    with pytest.raises(ValueError, match=r"structure 1 \(.*\) has derivatives that are not finite"):
        active.extended(potential, strange)


def test_grades_of_atoms(potential):
    active = ActiveSet.of(potential, alloys(60), "neighbourhood")
    structures = alloys(4, 0.3, seed=2, size=2)
    found = active.grades(potential, structures)
    assert found.per_atom.shape == (32,)
    np.testing.assert_array_equal(found.per_atom.reshape(4, 8).max(axis=1), found.values)
    assert ActiveSet.of(potential, alloys(9)).grades(potential, structures).per_atom is None


def test_growing_never_makes_it_smaller(potential):
    train, more = alloys(40), alloys(40, 0.4, seed=5)
    active = ActiveSet.of(potential, train)
    grown = active.extended(potential, more)
    assert grown.volume.log_volume() > active.volume.log_volume()
    assert grown.grades(potential, more).values.max() <= 1 + 1e-5
    again = grown.extended(potential, more)
    np.testing.assert_array_equal(again.volume.matrix, grown.volume.matrix)
    assert len(again.configurations) == len(grown.configurations)


def test_swaps_can_be_limited(potential):
    active = ActiveSet.empty(potential, "configuration").extended(potential, alloys(40), limit=5)
    assert active.rank == active.volume.swaps == 5


def test_kept_in_the_file_of_the_potential(any_potential):
    active = ActiveSet.of(any_potential, alloys(12), "neighbourhood")
    active.store(any_potential)
    again = Checkpoint.from_bytes(Checkpoint(any_potential).to_bytes()).potential
    found = ActiveSet.stored(again)
    assert found.fingerprint == active.fingerprint == fingerprint(again)
    assert found.weights == active.weights
    np.testing.assert_array_equal(found.volume.inverse, active.volume.inverse)
    np.testing.assert_array_equal(found.volume.owners, active.volume.owners)
    np.testing.assert_array_equal(found.equations, active.equations)
    assert found.configurations.keys == active.configurations.keys
    any_potential.extras = {}


def test_that_of_another_potential_is_refused(potential):
    options = {"architecture": "mtp", "level": 6, "radial_basis_size": 3}
    other = single(options, ["Ag", "Pd"], 4)
    active = ActiveSet.of(potential, alloys(5))
    with pytest.raises(ValueError, match="that of another potential"):
        active.store(other)
    with pytest.raises(ValueError, match="that of another potential"):
        active.grades(other, alloys(2))
    mine = ActiveSet.of(other, alloys(5))
    mine.store(other)
    with torch.no_grad():
        other.moment_coeffs[0] += 1
    with pytest.raises(ValueError, match="or of other weights"):
        ActiveSet.stored(other)


def test_none_is_stored(potential):
    with pytest.raises(ValueError, match="carries no active set"):
        ActiveSet.stored(potential)
    with pytest.raises(ValueError, match="choose from"):
        ActiveSet.empty(potential, "structure")
