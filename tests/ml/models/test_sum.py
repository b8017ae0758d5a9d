import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.ensemble import Ensemble
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.sum import Sum


def morse(cutoff, elements=("Cu",)):
    return single({"architecture": "morse", "cutoff": cutoff}, elements, 0)


def bpnn(seed, cutoff=4.0):
    return single({"architecture": "bpnn", "hidden": [3], "cutoff": cutoff}, ["Cu"], seed)


@pytest.fixture
def structures():
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.1, seed=0)
    return Configurations.from_ase([crystal, Atoms("Cu2", [[0, 0, 0], [0, 0, 5.5]])])


@pytest.mark.parametrize("cutoffs", [(6.0, 4.0), (3.5, 5.0)])
def test_says_what_its_terms_say_each_within_its_cutoff(structures, cutoffs):
    terms = [morse(cutoffs[0]), bpnn(1, cutoffs[1])]
    both = Sum(terms)
    assert both.cutoff == max(cutoffs)
    found = both.predict(structures)
    said = [term.predict(structures) for term in terms]
    for name in ("energies", "forces", "stresses"):
        expected = sum(getattr(one, name) for one in said)
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-12, atol=1e-14)


def test_energies_of_atoms_add_up(structures):
    both = Sum([morse(6.0), bpnn(1)])
    graph = both.graph(structures)
    with torch.no_grad():
        atomic = graph.sum_over_atoms(both.atomic_energies(graph))
        torch.testing.assert_close(atomic, both(graph).energies)


def test_a_prior_is_added_to_each_member(structures):
    prior, members = morse(6.0), [bpnn(1), bpnn(2)]
    committee = Sum([prior, Ensemble(members)])
    with torch.no_grad():
        found = committee.committee(committee.graph(structures))
        for k, member in enumerate(members):
            alone = Sum([prior, member])
            expected = alone(alone.graph(structures))
            torch.testing.assert_close(found.energies[k], expected.energies)
            torch.testing.assert_close(found.forces[k], expected.forces)


def test_terms_of_other_elements_are_refused():
    with pytest.raises(ValueError, match=r"of the same elements, got \[\['C', 'Cu'\], \['Cu'\]\]"):
        Sum([morse(5.0, ["C", "Cu"]), bpnn(0)])


def test_nothing_cannot_be_added():
    with pytest.raises(ValueError, match="expected one or more potentials"):
        Sum([])
