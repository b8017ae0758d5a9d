import numpy as np
import pytest
from aiida import orm
from ase import Atoms
from ase.build import bulk, molecule

from aiida_mlal.data.structures import fixed_mask, to_configurations, to_structure


def test_structure_to_configurations_and_back(slab):
    node = orm.StructureData(ase=slab)
    found = to_configurations(node, [0])
    again = to_configurations(to_structure(found), [0])
    assert found.keys == again.keys
    assert np.allclose(found.positions, slab.positions, atol=1e-12)
    assert found.pbc.all()
    assert found.fixed[0].all()
    assert not found.fixed[1:].any()


def test_labels_are_missing(slab):
    assert to_configurations(orm.StructureData(ase=slab)).status.tolist() == ["unlabelled"]


def test_several_structures_become_one_batch(slab):
    nodes = [orm.StructureData(ase=slab), orm.StructureData(ase=slab * (2, 1, 1))]
    assert to_configurations(nodes).counts.tolist() == [4, 8]


def test_molecule_without_cell_can_be_a_structure():
    from aiida_mlal.ml.configurations import Configurations

    water = molecule("H2O")
    node = to_structure(Configurations.from_ase(water))
    assert node.pbc == (False, False, False)
    assert np.allclose([site.position for site in node.sites], water.positions)
    node.store()


def test_periodic_layer_keeps_its_plane():
    from aiida_mlal.ml.configurations import Configurations

    layer = Atoms("C", cell=[[2, 0, 0], [0.5, 3, 0], [0, 0, 0]], pbc=[True, True, False])
    node = to_structure(Configurations.from_ase(layer))
    assert node.pbc == (True, True, False)
    assert np.allclose(node.cell[:2], layer.cell[:2])


def test_several_structures_are_no_single_structure(configurations):
    with pytest.raises(ValueError, match="expected one structure, got 6"):
        to_structure(configurations)


def test_other_nodes_are_no_structures():
    with pytest.raises(ValueError, match="got Int"):
        to_configurations(orm.Int(1))


def test_fixed_atoms_as_indices_and_masks():
    mask = fixed_mask(orm.List([0, [2, [True, False, True]]]), 3)
    assert mask.tolist() == [[True] * 3, [False] * 3, [True, False, True]]
    assert not fixed_mask(None, 3).any()


@pytest.mark.parametrize(
    ("fixed", "sentence"),
    [
        ([3], "there is no atom 3 to be fixed among 3"),
        ([-1], "there is no atom -1"),
        (["Cu"], "expected an index or"),
        ([True], "expected an index or"),
        ([[0, [1, 0, 0]]], "expected three booleans for the fixed atom 0"),
        ([[0, [True]]], "expected three booleans"),
        ([[0, 1, 2]], "expected an index or"),
    ],
)
def test_wrong_fixed_atoms_are_refused(fixed, sentence):
    with pytest.raises(ValueError, match=sentence):
        fixed_mask(fixed, 3)


def test_tags_and_masses_survive_and_usual_masses_are_none():
    from aiida_mlal.ml.configurations import Configurations

    iron = bulk("Fe", cubic=True) * (1, 1, 2)
    iron.set_tags([1, 2, 0, 0])
    iron.set_masses([55.845, 55.845, 55.845, 57.0])
    node = to_structure(Configurations.from_ase(iron))
    assert [kind.name for kind in node.kinds] == ["Fe1", "Fe2", "Fe", "Fe3"]
    found = to_configurations(node)
    assert found.arrays["tags"].tolist() == [1, 2, 0, 3]  # a kind has one mass
    np.testing.assert_allclose(found.arrays["masses"], iron.get_masses(), rtol=1e-12)
    plain = to_configurations(orm.StructureData(ase=bulk("Cu")))
    assert not plain.arrays


def test_kinds_of_iron_become_tags():
    node = orm.StructureData(cell=[[3, 0, 0], [0, 3, 0], [0, 0, 3]])
    for name in ("Fe1", "Fe12", "Fe", "Fe_up"):
        node.append_atom(symbols="Fe", position=[0, 0, 0], name=name)
    assert to_configurations(node).arrays["tags"].tolist() == [1, 12, 0, 0]
