"""Two stages: labels of a cheap method, then of another one."""

import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import WorkflowFactory
from ase.build import bulk

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.report import page
from aiida_mlal.report.numbers import collect
from aiida_mlal.report.progress import progress
from aiida_mlal.workflows.ports import check_inputs

CHEAP = {"name": "emt", "options": {"asap_cutoff": True}}


@pytest.fixture
def stages():
    return WorkflowFactory("mlal.stages")


@pytest.fixture
def campaigns(mlal_code):
    def campaign(labels):
        atoms = bulk("Cu", cubic=True)
        atoms.positions[0] += 0.2, 0.1, 0.0
        return WorkflowFactory("mlal.offline").get_builder_from_protocol(
            mlal_code, orm.StructureData(ase=atoms), protocol="fast", recipe="gp", labels=labels
        )

    return [campaign(CHEAP), campaign("emt")]


def test_the_second_stage_begins_with_some_structures_of_the_first(stages, campaigns, tmp_path):
    builder = stages.get_builder_from_campaigns(campaigns, {"name": "uncertainty", "n": 2})
    builder["stages"]["stage_01"]["sparsify"] = orm.Dict({"name": "first", "n": 1})
    results, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    first, last = results["datasets"]["stage_00"], results["datasets"]["stage_01"]
    assert last == results["dataset"]
    marks = [set(one.base.attributes.get("fingerprints")) for one in (first, last)]
    assert not marks[0] & marks[1]
    (choice,) = [one for one in node.called if one.process_label == "SelectCalculation"]
    chosen = choice.outputs.selected.configurations.keys
    assert last.configurations.keys[: len(chosen)] == chosen
    assert set(chosen) < set(first.configurations.keys)
    assert chosen[0] == first.configurations.keys[0]  # though no potential had predicted it
    links = node.base.links.get_outgoing().all_link_labels()
    assert {
        "campaign_stage_00", "choose_stage_01", "label_stage_01", "campaign_stage_01"
    } <= set(links)  # fmt: skip
    assert results["curve"]["rows"][-1]["outcome"] == "converged"
    path = orm.QueryBuilder()
    path.append(DatasetData, filters={"uuid": first.uuid}, tag="first")
    path.append(orm.Node, filters={"uuid": results["potential"].uuid}, with_ancestors="first")
    assert path.count() == 1
    labels = sum(len(batch.outputs.dataset) for batch in jobs_of(node, "LabelCalculation"))
    assert progress(node).labels == labels > len(last)
    report = collect(node)
    assert report.labels == labels
    assert report.iterations == len(jobs_of(node, "check"))
    page.write(report, tmp_path)
    html = (tmp_path / "index.html").read_text()
    assert f"<b>{labels}</b><span>labels</span>" in html
    assert 'href="stage_01/index.html"' in html
    assert (tmp_path / "stage_01" / "index.html").exists()


def jobs_of(node, name):
    return [one for one in node.called_descendants if one.process_label == name]


def test_what_could_not_be_labelled_is_not_labelled_again(stages, campaigns):
    """Nor does a budget that is spent in the last stage count as convergence."""
    failed = Configurations.from_ase([bulk("Cu", cubic=True, a=2.0)]).with_info(status=["failed"])
    first, last = campaigns
    first.dataset = DatasetData(failed)
    last.stop = orm.List([{"name": "oracle_force", "fmax": 0.02}, {"name": "iterations", "n": 1}])
    last.simulation = orm.Dict({**last.simulation.get_dict(), "fmax": 0.01, "max_steps": 1})
    builder = stages.get_builder_from_campaigns([first, last], {"name": "first", "n": 1})
    results, node = run_get_node(builder)
    assert (results["datasets"]["stage_00"].configurations.status == "failed").sum() == 1
    assert failed.keys[0] not in results["dataset"].configurations.keys
    assert node.exit_status == 410
    assert "The last stage, stage_01: The budget is spent" in node.exit_message
    assert "potential" in results


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sparsify": orm.Dict}, "there is no 'sparsify'"),
        ({"sparsify": {"name": "randum"}}, "did you mean 'random'"),
        ({"campaign": "mlal.label.ase"}, "is no campaign"),
        ({"model": {"architecture": "bpn"}}, r"stages\.stage_01.*did you mean 'bpnn'"),
    ],
)
def test_wrong_stages_are_refused_before_the_first_begins(stages, campaigns, change, said):
    builder = stages.get_builder_from_campaigns(campaigns, {"name": "first", "n": 2})
    inputs = builder._inputs(prune=True)
    inputs["stages"] = {name: dict(stage) for name, stage in inputs["stages"].items()}
    for name, value in change.items():
        if value is orm.Dict:
            del inputs["stages"]["stage_01"][name]
        else:
            inputs["stages"]["stage_01"][name] = orm.to_aiida_type(value)
    with pytest.raises(ValueError, match=said):
        check_inputs(inputs, stages.spec().inputs)


def test_as_many_queries_as_there_are_steps_between_stages(stages, campaigns):
    with pytest.raises(ValueError, match="got 1 campaigns and 0 queries"):
        stages.get_builder_from_campaigns(campaigns[:1], {"name": "first"})
    with pytest.raises(ValueError, match="got 2 campaigns and 2 queries"):
        stages.get_builder_from_campaigns(campaigns, [{"name": "first"}] * 2)
