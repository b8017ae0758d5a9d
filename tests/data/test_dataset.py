from dataclasses import replace
from uuid import uuid4

import numpy as np
import pytest
from aiida import orm
from aiida.common.exceptions import ValidationError

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats.mlip import cfg


def test_gives_back_what_it_was_made_of(configurations):
    node = orm.load_node(DatasetData(configurations).store().pk)
    assert node.configurations.to_bytes() == configurations.to_bytes()
    assert len(node) == 6


def test_attributes_can_be_queried(configurations):
    status = ["ok", "ok", "unconverged", "failed", "ok", "ok"]
    fingerprint = ["a1", "a1", "", "", "b2", "b2"]
    node = DatasetData(configurations.with_info(status=status, fingerprint=fingerprint)).store()
    found = (
        orm.QueryBuilder()
        .append(
            DatasetData,
            filters={"attributes.n_labelled": 4, "attributes.elements": {"contains": ["C", "Cu"]}},
            project=["uuid", "attributes.statuses", "attributes.fingerprints"],
        )
        .dict()
    )
    mine = next(f["DatasetData_1"] for f in found if f["DatasetData_1"]["uuid"] == node.uuid)
    assert mine["attributes.statuses"] == {"failed": 1, "ok": 4, "unconverged": 1}
    assert mine["attributes.fingerprints"] == {"a1": 2, "b2": 2}
    assert node.base.attributes.get("formulas") == {"CCu3": 6}
    assert node.base.attributes.get("n_atoms") == 24


def test_fields_write_queries(configurations):
    DatasetData(configurations).store()
    fields = DatasetData.fields
    found = orm.QueryBuilder().append(
        DatasetData,
        filters=(fields.n_labelled >= 6) & fields.elements.contains(["Cu"]),
        project=[fields.n_structures],
    )
    assert 6 in found.all(flat=True)


def test_equal_content_has_equal_bytes_and_hash_wherever_the_labels_come_from(configurations):
    first = DatasetData(configurations).store()
    second = DatasetData(configurations, [str(uuid4())] * 6).store()
    assert first.content == second.content
    assert first.base.caching.get_hash() == second.base.caching.get_hash()


def test_other_content_has_another_hash(configurations):
    moved = replace(configurations, positions=configurations.positions + 1e-9)
    first, second = DatasetData(configurations).store(), DatasetData(moved).store()
    assert first.base.caching.get_hash() != second.base.caching.get_hash()


def test_remembers_which_node_labelled_each_structure(configurations):
    sources = [str(uuid4()), "", *(str(uuid4()) for _ in range(4))]
    node = orm.load_node(DatasetData(configurations, sources).store().pk)
    assert node.sources == tuple(sources)
    assert DatasetData(configurations).sources == ("",) * 6


def test_subset_and_concatenation_carry_the_sources(configurations):
    sources = [str(uuid4()) for _ in range(6)]
    node = DatasetData(configurations, sources)
    subset = node.subset([4, 1])
    joined = DatasetData.concatenate([subset, DatasetData(configurations[:1])])
    assert subset.sources == (sources[4], sources[1])
    assert joined.sources == (sources[4], sources[1], "")
    assert joined.configurations.keys == [configurations.keys[i] for i in (4, 1, 0)]


def test_keeps_labels_and_constraints_of_ase(frames):
    (atoms, *_), before = DatasetData.from_ase(frames).get_ase(), frames[0]
    assert atoms.get_potential_energy() == before.get_potential_energy()
    assert np.array_equal(atoms.get_forces(), before.get_forces())
    assert np.array_equal(atoms.constraints[0].index, [0])


def test_an_empty_dataset_is_a_dataset():
    node = DatasetData(Configurations.empty()).store()
    assert len(node) == 0
    assert node
    assert node.configurations.to_ase() == []


@pytest.mark.parametrize(
    ("sources", "sentence"),
    [
        (["x"] * 6, "expected the UUID of a node as source, got 'x'"),
        ([str(uuid4())], "expected a source for each of 6 structures, got 1"),
    ],
)
def test_wrong_sources_are_refused(configurations, sources, sentence):
    with pytest.raises(ValueError, match=sentence):
        DatasetData(configurations, sources)


def test_only_configurations_are_accepted(frames):
    with pytest.raises(ValueError, match="expected Configurations, got list"):
        DatasetData(frames)


def test_changed_file_is_not_stored(configurations):
    node = DatasetData(configurations)
    other = configurations[:2].to_bytes()
    node.base.repository.put_object_from_bytes(other, DatasetData.FILE)
    with pytest.raises(ValidationError, match="do not describe dataset"):
        node.store()


def test_damaged_file_is_not_stored(configurations):
    node = DatasetData(configurations)
    node.base.repository.put_object_from_bytes(node.content[:-10], DatasetData.FILE)
    with pytest.raises(ValidationError, match="not an intact safetensors file"):
        node.store()


def test_missing_file_is_not_stored(configurations):
    node = DatasetData(configurations)
    node.base.repository.delete_object(DatasetData.FILE)
    with pytest.raises(ValidationError, match="must hold the file"):
        node.store()


def test_clone_is_equal(configurations):
    node = DatasetData(configurations, [str(uuid4())] * 6).store()
    clone = node.clone().store()
    assert clone.content == node.content
    assert clone.sources == node.sources


def test_a_file_that_only_numbers_types_is_no_dataset(configurations, tmp_path):
    path = tmp_path / "nameless.cfg"
    cfg.write(configurations, path, named=False)
    with pytest.raises(ValueError, match=r"nameless\.cfg: .* only number the types"):
        DatasetData.from_file(path)
    node = DatasetData.from_file(path, list(configurations.elements))
    assert node.configurations.elements == configurations.elements
