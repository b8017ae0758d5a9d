"""Steps of a campaign that need no job."""

import numpy as np
import pytest
from aiida import orm

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.workflows import calcfunctions as functions

UUID = "01234567-89ab-cdef-0123-456789abcdef"
QUERY = {"name": "final", "n": 4}


@pytest.fixture
def labelled(configurations):
    """Three labels of one kind and three of another."""
    marks = ["a"] * 3 + ["b"] * 3
    return configurations.with_info(status=["ok"] * 6, fingerprint=marks, reason=[""] * 6)


def stop(*stops):
    return orm.List([*stops, {"name": "iterations", "n": 10}])


def begin(structures, **others):
    others = {"query": orm.Dict(QUERY), "stop": stop(), **others}
    return functions.begin(structures=structures, **others)


def test_structures_begin_without_labels_and_with_fixed_atoms(aiida_profile, dataset):
    found = begin(dataset, fixed=orm.List([1, [2, [True, False, False]]]))
    start = found["structures"].configurations
    assert np.isnan(start.energies).all()
    np.testing.assert_array_equal(
        start.fixed[:4], [[True] * 3, [True] * 3, [True, False, False], [False] * 3]
    )
    assert found["unlabelled"].configurations.keys == dataset.configurations.keys
    assert "query" not in found


def test_structures_with_a_label_need_no_other(aiida_profile, labelled):
    known = DatasetData(labelled[[1, 4]])
    found = begin(DatasetData(labelled[[0, 1, 1, 2]]), dataset=known)
    assert found["unlabelled"].configurations.keys == [labelled.keys[0], labelled.keys[2]]


def test_rounding_makes_no_other_structure(aiida_profile, labelled):
    node = orm.StructureData(ase=labelled[0].to_ase()[0]).store()
    assert node.get_ase().positions.tolist() != labelled[0].positions.tolist()
    assert "unlabelled" not in begin(node, dataset=DatasetData(labelled))


def test_a_structure_whose_label_failed_is_tried_again(aiida_profile, labelled):
    failed = labelled[[0]].with_info(status=["failed"])
    found = begin(DatasetData(labelled[[0]]), dataset=DatasetData(failed))
    assert len(found["unlabelled"]) == 1


@pytest.mark.parametrize(("budget", "n"), [(6, 4), (5, 4), (4, 3), (2, 1)])
def test_no_more_is_asked_than_the_budget_allows(aiida_profile, labelled, budget, n):
    for name in ("labels", "size"):
        found = begin(DatasetData(labelled[[0]]), stop=stop({"name": name, "n": budget}))
        assert found.get("query", orm.Dict(QUERY)).get_dict() == {**QUERY, "n": n}


def test_what_is_known_counts_for_the_size_and_not_for_the_budget(aiida_profile, labelled):
    start, known = DatasetData(labelled[[0]]), DatasetData(labelled[[1, 2]])
    for name, n in (("labels", 4), ("size", 2)):
        found = begin(start, stop=stop({"name": name, "n": 5}), dataset=known)
        assert found.get("query", orm.Dict(QUERY)).get_dict() == {**QUERY, "n": n}


def test_labels_of_one_kind_are_joined_with_their_sources(aiida_profile, labelled):
    old, new = DatasetData(labelled[:2], [UUID, ""]), DatasetData(labelled[[2]], [UUID])
    found = functions.extend(labelled=new, allow_mixed_labels=False, dataset=old)
    assert found.sources == (UUID, "", UUID)
    assert found.configurations.keys == labelled.keys[:3]


def test_labels_of_two_kinds_are_refused_unless_wanted(aiida_profile, labelled):
    old, new = DatasetData(labelled[:3]), DatasetData(labelled[3:])
    found, node = functions.extend.run_get_node(labelled=new, allow_mixed_labels=False, dataset=old)
    assert not found
    assert node.exit_status == 430
    assert "a: 3" in node.exit_message
    assert "b: 3" in node.exit_message
    assert len(functions.extend(labelled=new, allow_mixed_labels=True, dataset=old)) == 6


def test_energies_that_are_outliers_are_not_learned_from(aiida_profile, labelled):
    same = labelled.with_info(fingerprint=["a"] * 6)
    wrong = same[[4, 5]].with_labels([same.energies[4], 1e5], same[[4, 5]].forces)
    new, old = DatasetData(wrong, [UUID, ""]), DatasetData(same[:4])
    found = functions.extend(labelled=new, allow_mixed_labels=False, dataset=old)
    assert found.configurations.status.tolist() == ["ok"] * 5 + ["unphysical"]
    assert "from what other labels let expect" in found.configurations.info["reason"][5]
    assert found.sources[4] == UUID
    any_energy = orm.Dict({"max_deviation": None})
    found = functions.extend(labelled=new, allow_mixed_labels=False, dataset=old, limits=any_energy)
    assert set(found.configurations.status) == {"ok"}


def test_what_failed_is_of_no_kind(aiida_profile, labelled):
    failed = labelled[3:].with_info(status=["failed"] * 3)
    found = functions.extend(
        labelled=DatasetData(failed), allow_mixed_labels=False, dataset=DatasetData(labelled[:3])
    )
    assert len(found) == 6


def test_what_was_not_tried_is_left_out(aiida_profile, labelled):
    some = labelled[:3].with_info(status=["ok", "unlabelled", "failed"])
    found = functions.extend(labelled=DatasetData(some), allow_mixed_labels=False)
    assert found.configurations.status.tolist() == ["ok", "failed"]
    assert functions.failed_share(found) == (1, 2)


def trajectory(configurations):
    return DatasetData(
        Configurations.from_geometry(
            configurations.numbers,
            configurations.positions,
            configurations.counts,
            configurations.cells,
            configurations.pbc,
            info={"run": [0, 0, 0, 1, 1, 1], "step": [0, 1, 2] * 2},
        )
    )


def test_rows_count_iterations_and_labels(aiida_profile, labelled):
    frames = trajectory(labelled)
    same = {"trajectory": frames, "results": orm.Dict({"runs": [{"converged": True}] * 2})}
    same |= {"stop": stop({"name": "labels", "n": 5}), "query": orm.Dict(QUERY)}
    dataset = DatasetData(labelled[:4])
    first = functions.check(
        dataset=dataset,
        labelled=DatasetData(labelled[2:4]),
        initial=DatasetData(labelled[[0]]),
        **same,
    )
    assert first["row"]["iteration"] == 1
    assert first["row"]["labels"] == 3
    assert first["row"]["outcome"] == "go on"
    assert first["query"]["n"] == 2
    second = functions.check(dataset=dataset, previous=first["row"], **same)
    assert (second["row"]["iteration"], second["row"]["labels"]) == (2, 3)
    third = functions.check(
        dataset=dataset, labelled=DatasetData(labelled[:2]), previous=second["row"], **same
    )
    assert third["row"]["outcome"] == "exhausted"
    assert [row["labels"] for row in functions.gather(b=second["row"], a=first["row"])["rows"]] == [
        3,
        3,
    ]


def test_what_was_not_tried_is_not_paid(aiida_profile, labelled):
    some = DatasetData(labelled[:3].with_info(status=["ok", "unlabelled", "failed"]))
    found = functions.check(
        stop=stop({"name": "labels", "n": 4}),
        query=orm.Dict(QUERY),
        dataset=some,
        trajectory=trajectory(labelled),
        results=orm.Dict({"runs": [{"converged": True}] * 2}),
        labelled=some,
    )
    assert found["row"]["labels"] == 2
    assert found["query"]["n"] == 2


def test_the_best_end_has_the_smallest_labelled_force(aiida_profile, labelled):
    forces = np.where(labelled.owner[:, None] == 5, np.full(3, 0.01), 0.5)
    known = labelled.with_labels(labelled.energies, forces)
    dataset = DatasetData(known[[5, 2]], [UUID, ""])
    found = functions.last_frames(trajectory(labelled), dataset, orm.Dict({"runs": [{}, {}]}))
    assert found["relaxed"].configurations.keys == [labelled.keys[2], labelled.keys[5]]
    assert found["relaxed"].sources == ("", UUID)
    np.testing.assert_allclose(
        found["structure"].get_ase().positions, labelled[5].positions, atol=1e-12
    )


def test_ends_without_labels_are_kept(aiida_profile, labelled):
    dataset, results = DatasetData(labelled[[2]]), orm.Dict({"runs": [{}, {}]})
    found = functions.last_frames(trajectory(labelled), dataset, results)
    assert found["relaxed"].configurations.status.tolist() == ["ok", "unlabelled"]
