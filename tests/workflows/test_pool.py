"""Campaigns over a pool, run for real: with labels of EMT, and with labels that are given."""

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching
from aiida.plugins import WorkflowFactory
from aiida_fixtures import MODEL, make_slab
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from campaign_fixtures import ancestors, once

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.potential import PotentialData
from aiida_mlal.ml.ase_properties import SITES
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.report.archive import ancestry, export, problems
from aiida_mlal.report.numbers import collect
from aiida_mlal.report.page import write
from aiida_mlal.report.progress import describe, progress

INPUTS = {
    "model": {**MODEL, "ensemble": 2},
    "training": {"epochs": 3},
    "query": {"name": "uncertainty", "n": 2},
    "first_query": {"name": "random", "n": 3},
    "stop": [{"name": "size", "n": 6}, {"name": "iterations", "n": 5}],
}
"""Overrides of a campaign that is as small as possible, and learns next to nothing."""


@pytest.fixture
def workflow():
    return WorkflowFactory("mlal.pool")


@pytest.fixture(scope="module")
def labelled():
    """Fourteen rattled slabs, labelled by EMT."""
    rng = np.random.default_rng(11)
    copies = []
    for _ in range(14):
        atoms = make_slab()
        atoms.positions += 0.08 * rng.normal(size=atoms.positions.shape)
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        copies.append(atoms)
    return Configurations.from_ase(copies)


@pytest.fixture
def candidates(aiida_profile, labelled):
    return DatasetData(labelled[:10])


@pytest.fixture
def held_out(aiida_profile, labelled):
    return DatasetData(labelled[10:])


@pytest.fixture
def make(workflow, mlal_code, candidates):
    """Return a factory of builders, with changed overrides."""

    def factory(candidates=candidates, labels="given", test=None, **changes):
        return workflow.get_builder_from_protocol(
            mlal_code, candidates, "fast", {**INPUTS, **changes}, labels, test=test
        )

    return factory


@pytest.fixture
def campaign(make, held_out):
    """A campaign with given labels. It is run once, unless its nodes have been deleted since."""
    return once(
        "pool with labels",
        lambda: make(
            test=held_out,
            validation={"n": 2, "redraw": True},
            uncertainty={"name": "force_std"},
        ),
    )


@pytest.fixture
def labelling_campaign(make, labelled, aiida_profile):
    """A campaign over structures without labels, which EMT labels."""
    bare = DatasetData(labelled[:10].bare)
    return once("pool that is labelled", lambda: make(bare, "emt", validation={"n": 2}))


def changed(structures, symbol):
    """Return labelled structures with another element in place of C."""
    frames = structures.to_ase()
    for atoms in frames:
        labels = atoms.calc.results
        atoms.symbols[3] = symbol
        atoms.calc = SinglePointCalculator(atoms, **labels)
    return Configurations.from_ase(frames)


def called(node, name):
    """Return the processes of this name that a process called."""
    return [child for child in node.called if child.process_label == name]


def links(node):
    return {
        link.link_label: link.node
        for link in node.base.links.get_outgoing(
            link_type=(LinkType.CALL_CALC, LinkType.CALL_WORK)
        ).all()
    }


def test_learns_until_the_training_set_is_large_enough(campaign):
    assert campaign.is_finished_ok, campaign.exit_message
    rows = campaign.outputs.curve["rows"]
    assert [row["iteration"] for row in rows] == [1, 2, 3]
    assert [row["trained_on"] for row in rows] == [3, 5, 6]
    assert [row["labels"] for row in rows] == [5, 6, 6]
    assert [row["outcome"] for row in rows] == ["go on", "converged", "converged"]
    assert len(campaign.outputs.dataset) == 6
    assert campaign.outputs.potential.creator.inputs.dataset.uuid == campaign.outputs.dataset.uuid
    assert sorted(campaign.outputs.selections) == [f"iteration_{i:02d}" for i in range(3)]


def test_each_potential_is_compared_with_the_test_set(campaign, held_out):
    rows = campaign.outputs.curve["rows"]
    last = campaign.outputs.potential.load().predict(held_out.configurations)
    apart = np.abs(last.forces - held_out.configurations.forces)
    assert rows[-1]["test"]["force_mae"] == pytest.approx(apart.mean())
    assert rows[-1]["test"]["force_max"] == pytest.approx(apart.max())
    assert len({row["test"]["force_rmse"] for row in rows}) == 3
    assert {row["uncertainty"]["kind"] for row in rows} == {"force_std"}
    assert all(-1 <= row["uncertainty"]["pearson"] <= 1 for row in rows)


def test_predictions_for_the_test_set_are_not_kept(campaign):
    for job in called(campaign, "EvaluateCalculation"):
        assert "predictions" not in job.outputs


def test_labels_are_those_of_the_candidates(campaign, candidates):
    found = campaign.outputs.dataset.configurations
    known = candidates.configurations[found.info["index"].astype(int)]
    assert found.keys == known.keys
    np.testing.assert_array_equal(found.forces, known.forces)
    np.testing.assert_array_equal(found.energies, known.energies)
    assert len(set(found.keys)) == 6
    assert set(campaign.outputs.dataset.sources) == {campaign.inputs.candidates.uuid}


def test_no_query_and_no_training_sees_a_label_before_it_is_chosen(campaign):
    inputs = [job.inputs for job in campaign.called_descendants if isinstance(job, orm.CalcJobNode)]
    pools = [given.pool for given in inputs if "pool" in given]
    assert len(pools) == 3
    assert len({pool.uuid for pool in pools}) == 1
    pool = pools[0].configurations
    for values in (pool.energies, pool.forces, pool.stresses):
        assert np.isnan(values).all()
    assert not pool.info
    assert set(pool.arrays) <= set(SITES)  # moments, charges, tags and masses are no labels
    chosen = set()
    for iteration, selection in sorted(campaign.outputs.selections.items()):
        chosen |= {item["key"] for item in selection.selected}
        (training,) = [
            job.inputs
            for job in links(campaign)[f"train_{int(iteration[-2:]) + 1:02d}"].called
            if isinstance(job, orm.CalcJobNode)
        ]
        assert set(training.dataset.configurations.keys) == chosen
        assert not set(training.validation.configurations.keys) & chosen
    asked = [job for job in campaign.called_descendants if job.process_label == "SelectCalculation"]
    for job in asked:
        given = campaign.inputs.candidates
        assert given.uuid not in {node.uuid for node in job.base.links.get_incoming().all_nodes()}


def test_only_the_pool_itself_is_as_large_as_the_pool(campaign):
    made = {
        node.uuid: node
        for process in campaign.called_descendants
        for node in process.base.links.get_outgoing(link_type=LinkType.CREATE).all_nodes()
        if isinstance(node, DatasetData)
    }
    large = [node for node in made.values() if len(node) >= 10]
    assert [node.creator.process_label for node in large] == ["strip"]


def test_nothing_is_chosen_twice(campaign):
    asked = [link for name, link in links(campaign).items() if name.startswith("select_")]
    taken = [job.inputs.taken.get_array() for job in asked if "taken" in job.inputs]
    assert sorted(map(len, taken)) == [3, 5]
    places = [i for s in campaign.outputs.selections.values() for i in s.indices]
    assert len(places) == len(set(places)) == 6


def test_validation_sets_are_drawn_anew_from_what_was_not_chosen(campaign):
    drawn = [node for name, node in links(campaign).items() if name.startswith("draw_")]
    sets = [node.outputs.result.configurations for node in drawn]
    assert [len(found) for found in sets] == [2, 2, 2]
    assert len({tuple(sorted(found.keys)) for found in sets}) > 1
    assert all(set(found.status) == {"ok"} for found in sets)


def test_a_path_leads_from_the_potential_to_every_selection_and_label(campaign):
    before = {node.uuid for node in ancestors(campaign.outputs.potential)}
    for selection in campaign.outputs.selections.values():
        assert selection.creator.uuid in before
        assert {item["score"] is None for item in selection.selected} in ({True}, {False})
    assert campaign.inputs.candidates.uuid in before


def test_nothing_comes_from_nowhere(campaign):
    given = campaign.base.links.get_incoming(link_type=LinkType.INPUT_WORK).all_nodes()
    outputs = campaign.base.links.get_outgoing(link_type=LinkType.RETURN).all_nodes()
    assert len(outputs) == 6
    for output in outputs:
        assert output.creator is not None
        for node in ancestors(output):
            if isinstance(node, orm.Data) and node.creator is None:
                assert node in given, f"{node}, from which came {output}"


def test_scores_stand_in_the_selections(campaign):
    second = campaign.outputs.selections["iteration_01"]
    assert second.base.attributes.get("strategy")["name"] == "uncertainty"
    scores = [item["score"] for item in second.selected]
    assert scores == sorted(scores, reverse=True)
    assert campaign.outputs.curve["rows"][0]["score_mean"] == pytest.approx(np.mean(scores))


def test_what_was_chosen_was_predicted_before(campaign):
    found = campaign.outputs.dataset.configurations
    assert np.isnan(found.info["predicted_energy"][:3]).all()
    apart = (found.info["predicted_energy"] - found.energies)[3:5] / found.counts[3:5]
    row = campaign.outputs.curve["rows"][0]
    assert row["errors"]["energy_mae"] == pytest.approx(np.abs(apart).mean())


def test_status_report_and_archive_know_a_pool(campaign, tmp_path):
    found = progress(campaign)
    assert (found.labels, found.iteration) == (6, 3)
    assert "force RMSE" in describe(found)
    report = collect(campaign)
    assert [query.iteration for query in report.queries] == [0, 0, 0, 1, 1, 2]
    assert (tmp_path / "learning_curve.png") in write(report, tmp_path)
    html = (tmp_path / "index.html").read_text()
    chosen = ", ".join(map(str, campaign.outputs.selections["iteration_01"].indices))
    assert "<h2>Choices from the pool</h2>" in html
    assert f"<td>{chosen}</td>" in html
    assert "force RMSE on the test set" in html
    assert "<h2>Simulations</h2>" not in html
    path = tmp_path / "campaign.aiida"
    meant = ancestry(campaign)
    export(meant, path)
    assert problems(path, meant) == []


def test_labels_of_a_calculator(labelling_campaign, labelled):
    node = labelling_campaign
    assert node.is_finished_ok, node.exit_message
    found = node.outputs.dataset.configurations
    known = {key: i for i, key in enumerate(labelled.keys)}
    for one in found:
        expected = labelled[known[one.keys[0]]]
        np.testing.assert_allclose(one.forces, expected.forces, atol=1e-9)
    assert [row["labels"] for row in node.outputs.curve["rows"]] == [7, 8, 8]


def test_a_path_leads_from_every_label_to_the_selection_that_asked(labelling_campaign):
    node = labelling_campaign
    dataset, selections = node.outputs.dataset, list(node.outputs.selections.values())
    jobs = {n.uuid for n in ancestors(node.outputs.potential)}
    for key, source in zip(dataset.configurations.keys, dataset.sources, strict=True):
        assert source in jobs
        maker = orm.load_node(source).inputs.dataset.creator
        assert maker.outputs.selection in selections
        assert key in [item["key"] for item in maker.outputs.selection.selected]


def test_a_pool_without_labels_is_not_copied(labelling_campaign):
    assert "strip" not in links(labelling_campaign)
    (first, *_) = called(labelling_campaign, "SelectCalculation")
    assert first.inputs.pool.uuid == labelling_campaign.inputs.candidates.uuid


def test_a_validation_set_that_is_kept_is_labelled_once_and_never_chosen(labelling_campaign):
    steps = links(labelling_campaign)
    assert [name for name in steps if name.startswith("validation_")] == ["validation_01"]
    kept = steps["validation_01"].outputs.dataset
    assert len(kept) == 2
    assert not set(kept.configurations.keys) & set(
        labelling_campaign.outputs.dataset.configurations.keys
    )
    for name, training in steps.items():
        if name.startswith("train_"):
            assert training.inputs.train.validation.uuid == kept.uuid


def test_extends_a_campaign_without_a_label_twice(labelling_campaign, make):
    builder = make(labelling_campaign.inputs.candidates, "emt", stop=[{"name": "size", "n": 8}])
    builder.dataset = labelling_campaign.outputs.dataset
    builder.potential = labelling_campaign.outputs.potential
    results, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    assert "train_01" not in links(node)
    (labelling,) = called(node, "ASELabelWorkChain")
    new = labelling.outputs.dataset.configurations.keys
    assert len(new) == 2
    assert not set(new) & set(labelling_campaign.outputs.dataset.configurations.keys)
    assert len(results["dataset"]) == 8


def test_the_same_campaign_comes_from_the_cache(labelling_campaign, make):
    given = labelling_campaign.inputs
    builder = make(given.candidates, "emt", validation={"n": 2})
    builder.train.train["code"] = given.train.train.code
    builder.select.code = given.select.code
    builder.label["ase"]["code"] = given.label["ase"]["code"]
    with enable_caching():
        results, node = run_get_node(builder)
    jobs = [n for n in node.called_descendants if isinstance(n, orm.CalcJobNode)]
    assert len(jobs) == 10
    assert all(job.base.caching.is_created_from_cache for job in jobs)
    assert results["dataset"].sha256 == labelling_campaign.outputs.dataset.sha256
    assert results["potential"].sha256 == labelling_campaign.outputs.potential.sha256
    assert results["curve"].get_dict() == labelling_campaign.outputs.curve.get_dict()


def test_the_training_set_grows_by_a_share(make):
    stop = [{"name": "size", "n": 8}, {"name": "iterations", "n": 2}]
    results, node = run_get_node(
        make(growth=0.7, query={"name": "random", "n": 1}, stop=stop, model=MODEL)
    )
    assert node.is_finished_ok, node.exit_message
    assert [row["trained_on"] for row in results["curve"]["rows"]] == [3, 5, 8]


def test_ends_when_what_is_chosen_is_not_worth_a_label(make):
    stop = [{"name": "informativeness", "below": 1e3}, {"name": "labels", "n": 9}]
    results, node = run_get_node(make(stop=stop))
    assert node.is_finished_ok, node.exit_message
    (row,) = results["curve"]["rows"]
    assert "the mean score of what was chosen" in row["reason"]
    assert (row["labels"], row["trained_on"]) == (3, 3)
    assert len(results["dataset"]) == 3


def test_ends_with_the_budget_after_learning_from_the_last_labels(make):
    stop = [{"name": "labels", "n": 4}]
    results, node = run_get_node(make(stop=stop, query={"name": "random", "n": 9}, model=MODEL))
    assert node.exit_status == 410
    assert "label 4 of 4" in node.exit_message
    assert [row["trained_on"] for row in results["curve"]["rows"]] == [3, 4]
    assert results["potential"].creator.inputs.dataset.uuid == results["dataset"].uuid


def test_ends_where_the_pool_is_used_up(make, labelled):
    few = DatasetData(Configurations.concatenate([labelled[:3], changed(labelled[3:4], "O")]))
    changes = {"stop": [{"name": "labels", "n": 9}], "query": {"name": "random"}, "seed": 2}
    results, node = run_get_node(make(few, model=MODEL, **changes))
    assert node.exit_status == 411
    assert len(results["dataset"]) == 4
    assert [row["trained_on"] for row in results["curve"]["rows"]] == [3, 4]
    first = called(node, "TrainBaseWorkChain")[0]  # of the structures without O
    assert first.inputs.train.dataset.base.attributes.get("elements") == ["C", "Cu"]
    assert first.outputs.potential.elements == ["C", "O", "Cu"]


def test_a_query_that_needs_nothing_more_is_convergence(make):
    every = {"name": "maxvol", "threshold": 1e9}  # which no grade exceeds
    mtp = {"architecture": "mtp", "level": 4, "cutoff": 4.0}
    stop = [{"name": "iterations", "n": 3}]
    results, node = run_get_node(make(model=mtp, query=every, stop=stop))
    assert node.is_finished_ok, node.exit_message
    (row,) = results["curve"]["rows"]
    assert (row["outcome"], row["labels"]) == ("converged", 3)
    assert row["reason"] == "the query 'maxvol' wants none of the 7 left"
    assert results["selections"]["iteration_01"].selection.is_content


def test_candidates_whose_label_is_bad_are_not_learned_from(make, labelled):
    status = np.where(np.arange(6) == 2, "unconverged", "ok")
    pool = DatasetData(labelled[:6].with_info(status=status))
    every = {"name": "random", "n": 6}
    builder = make(pool, first_query=every, query={"name": "random"}, model=MODEL)
    builder.stop = orm.List([{"name": "iterations", "n": 3}])
    results, node = run_get_node(builder)
    assert node.exit_status == 411
    found = results["dataset"].configurations
    assert sorted(found.status) == ["failed", *["ok"] * 5]
    assert found.info["index"][found.status == "failed"].tolist() == [2]


def test_a_pool_of_which_nothing_is_worth_a_label(make):
    results, node = run_get_node(make(filters={"min_distance_angstrom": 9.0}))
    assert node.exit_status == 411
    assert "the filters left 0 of 10" in node.exit_message
    assert len(results["selections"]["iteration_00"].rejected) == 10


def test_a_failed_training_leaves_the_labels(make):
    builder = make()
    builder.train.train.metadata.options.prepend_text = "exit 1"
    results, node = run_get_node(builder)
    assert node.exit_status == 440
    assert len(results["dataset"]) == 3
    assert sorted(results["selections"]) == ["iteration_00"]


def test_a_failed_evaluation_has_its_own_code(make, held_out):
    builder = make(test=held_out, model=MODEL, query={"name": "random"})
    builder.evaluate.metadata.options.prepend_text = "exit 1"
    _, node = run_get_node(builder)
    assert node.exit_status == 443


def test_elements_that_cannot_be_known_are_told_before_anything_is_submitted(
    make, labelled, potential
):
    krypton, oxygen = (DatasetData(changed(labelled[:10], x)) for x in ("Kr", "O"))
    before = orm.QueryBuilder().append(orm.ProcessNode).count()
    for mistake, message in (
        ({"candidates": krypton}, r"table of Morse parameters lacks \['Kr'\]"),
        ({"test": oxygen}, r"test: it has \['O'\], of which there is nothing to learn from"),
    ):
        with pytest.raises(ValueError, match=message):
            run_get_node(make(**mistake))
    builder = make(oxygen)
    builder.potential = PotentialData.from_potential(potential)
    builder.dataset = DatasetData(labelled[:3])
    with pytest.raises(ValueError, match=r"it knows \['C', 'Cu'\], but not \['O'\]"):
        run_get_node(builder)
    assert orm.QueryBuilder().append(orm.ProcessNode).count() == before


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("querry", {}, "unknown input 'overrides.querry', did you mean 'query'"),
        ("evaluate.codes", {}, "did you mean 'code'"),
        ("query.name", "randon", "did you mean 'random'"),
        ("first_query", {"name": "randm"}, "did you mean 'random'"),
        ("first_query", {"name": "oed"}, "first_query: 'oed' asks a potential that has learned"),
        ("model", {**MODEL, "ensemble": 1}, "a single potential"),
        ("model.architecture", "zbl", "'zbl' has no weights to be trained"),
        ("validation", {"redrew": True}, "did you mean 'redraw'"),
        ("validation", {"n": 8}, "fewer than the 3 of first_query and the 8 for validation"),
        ("first_query", {"name": "random", "n": 11}, "there are 10, fewer than the 11"),
        ("growth", -0.1, "expected a share above 0"),
        ("stop", [{"name": "informativeness"}], "nothing ends a campaign"),
        ("stop", [{"name": "size", "n": 3}], "the 3 structures to learn from that there are"),
        ("stop", [{"name": "labels", "n": 3}], "budget of labels is spent on the first 3"),
        (
            "stop",
            [{"name": "oracle_force"}, {"name": "size", "n": 9}],
            "'oracle_force' judges simulations, and a pool has none",
        ),
        ("labelling", "mlal.label.asse", "did you mean 'mlal.label.ase'"),
        ("model", MODEL, "query 'uncertainty' needs an uncertainty, and a single potential"),
    ],
)
def test_mistakes_are_found_before_anything_is_submitted(make, path, value, message):
    changes = value
    for key in reversed(path.split(".")):
        changes = {key: changes}
    before = orm.QueryBuilder().append(orm.ProcessNode).count()
    with pytest.raises(ValueError, match=message):
        run_get_node(make(**changes))
    assert orm.QueryBuilder().append(orm.ProcessNode).count() == before


def test_labels_must_come_from_somewhere(make, labelled):
    with pytest.raises(ValueError, match="none has a label, so that something must label them"):
        run_get_node(make(DatasetData(labelled.bare)))


def test_validation_sets_that_cost_labels_are_drawn_once(make):
    with pytest.raises(ValueError, match="each set would cost labels"):
        run_get_node(make(labels="emt", validation={"n": 2, "redraw": True}))


def test_what_it_is_about_is_seen_in_a_list_of_processes(make):
    builder = make()
    assert builder.metadata.label == "learning from a pool of CCu3"
    assert builder.metadata.description == "protocol fast, labels by given"
