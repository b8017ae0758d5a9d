import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.engines.base import Evaluation, Members
from aiida_mlal.ml.models.ensemble import Ensemble
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.sum import Sum
from aiida_mlal.ml.uncertainty.committee import EnergyStd, ForceStd, ForceVariance, equal_members

KINDS = [EnergyStd, ForceStd, ForceVariance]


def morse(depth):
    options = {"De": depth, "re": 2.2, "a": 1.4}
    return single({"architecture": "morse", "parameters": {"Cu": options}}, ["Cu"], 0)


@pytest.fixture
def configurations():
    frames = []
    for i, n in enumerate((1, 3, 2)):
        atoms = bulk("Cu", cubic=True).repeat((1, 1, n))
        atoms.rattle(0.1, seed=i)
        frames.append(atoms)
    return Configurations.from_ase(frames)


@pytest.fixture
def potential():
    return Ensemble([morse(2.0), morse(2.5), morse(3.7)])


@pytest.mark.parametrize("measure", KINDS)
def test_agrees_with_the_definition(measure, configurations, potential):
    found = measure().measure(potential, configurations)
    for i, one in enumerate(configurations):
        said = [member.predict(one) for member in potential.members]
        forces = np.array([s.forces for s in said])
        energies = np.array([s.energies[0] for s in said])
        apart = forces - forces.mean(axis=0)
        expected = {
            "energy_std": np.std(energies) / len(one.numbers),
            "force_std": max(
                np.sqrt(np.mean([v @ v for v in apart[:, atom]])) for atom in range(apart.shape[1])
            ),
            "force_var": np.var(forces, axis=0).max(),
        }
        assert found.values[i] == pytest.approx(expected[measure.kind], rel=1e-10)


@pytest.mark.parametrize("measure", KINDS)
def test_batches_do_not_matter(measure, configurations, potential):
    one, many = (measure().measure(potential, configurations, batch) for batch in (1, 64))
    np.testing.assert_allclose(one.values, many.values, rtol=1e-12)
    if many.per_atom is not None:
        np.testing.assert_allclose(one.per_atom, many.per_atom, rtol=1e-12)


@pytest.mark.parametrize("measure", [ForceStd, ForceVariance])
def test_worst_atom_counts_for_the_structure(measure, configurations, potential):
    found = measure().measure(potential, configurations)
    worst = [found.per_atom[configurations.owner == i].max() for i in range(3)]
    np.testing.assert_array_equal(found.values, worst)


def test_force_std_does_not_depend_on_the_axes(configurations, potential):
    turned = configurations.to_ase()[0]
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    turned = Configurations.from_ase(turned)
    found = [ForceStd().measure(potential, c).values[0] for c in (configurations[0], turned)]
    assert found[0] == pytest.approx(found[1], rel=1e-9)


@pytest.mark.parametrize("measure", KINDS)
def test_equal_members_are_refused(measure, configurations):
    """They would be certain of whatever they say."""
    potential = Sum([morse(1.0), Ensemble([morse(2.0), morse(2.0)])])
    with pytest.raises(ValueError, match="all 2 members of the committee are the same"):
        measure().measure(potential, configurations)
    with pytest.raises(ValueError, match="all 2 members of the committee are the same"):
        measure().bind(potential)
    (said,) = equal_members(potential)
    assert "bootstrap" in said
    assert equal_members(Ensemble([morse(2.0), morse(2.1)])) == equal_members(morse(2.0)) == []


@pytest.mark.parametrize("measure", KINDS)
def test_a_prior_changes_nothing(measure, configurations, potential):
    with_prior = Sum([morse(5.0), potential])
    found = [measure().measure(p, configurations).values for p in (potential, with_prior)]
    np.testing.assert_allclose(*found, rtol=1e-9)


@pytest.mark.parametrize("measure", KINDS)
@pytest.mark.parametrize("potential", [morse(2.0), Ensemble([morse(2.0)])])
def test_one_member_has_no_spread(measure, potential, configurations):
    with pytest.raises(ValueError, match="has one member: train with the model option 'ensemble'"):
        measure().measure(potential, configurations)


def test_bound_it_looks_at_what_an_engine_found():
    forces = np.zeros((2, 9, 3))
    forces[0, 5] = [1.0, 2.0, 2.0]
    members = Members(np.zeros(2), forces)
    seen = Evaluation(0.0, forces.mean(0), np.zeros((3, 3)), members, pytest.fail, pytest.fail)
    found = ForceStd().bind(morse(1.0))(seen)  # one member, if it were asked
    expected = np.zeros(9)
    expected[5] = 1.5
    np.testing.assert_allclose(found.per_atom, expected)
    np.testing.assert_allclose(found.values, [1.5])


def test_learning_is_left_alone(configurations, potential):
    """Weights that want gradients must not make uncertainties carry any."""
    found = ForceStd().of(potential, potential.graph(configurations))
    assert isinstance(found.values, np.ndarray)


@pytest.mark.parametrize("measure", KINDS)
def test_no_structures(measure, potential):
    found = measure().measure(potential, Configurations.empty())
    assert found.values.shape == (0,)


@pytest.mark.parametrize("measure", KINDS)
def test_a_lone_atom_is_certain(measure, potential):
    found = measure().measure(potential, Configurations.from_ase(Atoms("Cu")))
    np.testing.assert_array_equal(found.values, [0.0])


def test_attached_to_structures(configurations, potential):
    found = ForceStd().measure(potential, configurations)
    attached = found.attach(configurations)
    np.testing.assert_array_equal(attached.info["uncertainty"], found.values)
    np.testing.assert_array_equal(attached.arrays["uncertainties"], found.per_atom)
    energy = EnergyStd().measure(potential, configurations).attach(configurations)
    assert "uncertainty" not in energy.arrays


@pytest.mark.parametrize("name", plugins.names("uncertainties"))
def test_installed_under_the_name_of_its_kind(name):
    measure = plugins.make("uncertainties", {"name": name})
    assert measure.kind == name
    assert measure.unit
