"""Offline campaigns, run for real with labels of EMT."""

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching
from aiida.plugins import WorkflowFactory
from aiida_fixtures import MODEL
from ase.calculators.emt import EMT
from ase.constraints import FixBondLengths
from campaign_fixtures import ancestors, once

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.workflows import calcfunctions
from aiida_mlal.workflows.ports import check_inputs

INPUTS = {
    "model": {**MODEL, "ensemble": 2},
    "training": {"epochs": 3},
    "simulation": {"name": "relax", "fmax": 0.05, "max_steps": 6},
    "query": {"name": "final", "n": 2},
    "stop": [{"name": "oracle_force", "fmax": 0.05}, {"name": "iterations", "n": 2}],
}
"""Overrides of a campaign that is as small as possible, and learns next to nothing."""


@pytest.fixture
def workflow():
    return WorkflowFactory("mlal.offline")


@pytest.fixture
def structure(aiida_profile, slab):
    return orm.StructureData(ase=slab)


@pytest.fixture
def make(workflow, mlal_code, structure):
    """Return a factory of builders, with changed overrides."""

    def factory(structure=structure, labels="emt", **changes):
        return workflow.get_builder_from_protocol(
            mlal_code,
            structure,
            "fast",
            {**INPUTS, **changes},
            labels,
            fixed=[0],
            recipe="network",
        )

    return factory


@pytest.fixture
def one_job(make, campaign):
    """The same campaign with one job an iteration."""

    def builder():
        builder = make()
        builder.iterate.code = builder.select.code
        return builder

    return once("offline campaign, one job an iteration", builder)


@pytest.fixture
def campaign(make):
    """A campaign of two iterations. It is run once, unless its nodes have been deleted since."""
    return once("offline campaign", make)


def called(node, name):
    """Return the processes of this name that a process called."""
    return [child for child in node.called if child.process_label == name]


def labellings(node):
    return {n.uuid for n in ancestors(node) if n.process_type == LABEL} - {None}


LABEL = "aiida.calculations:mlal.label.ase"


def all_outputs(node):
    return node.base.links.get_outgoing(link_type=LinkType.RETURN).all_nodes()


def test_ends_with_the_budget_and_gives_what_was_achieved(campaign, slab):
    assert campaign.exit_status == 410
    assert "all 2 iterations are done" in campaign.exit_message
    outputs = campaign.outputs
    rows = outputs.curve["rows"]
    assert [row["iteration"] for row in rows] == [1, 2]
    assert [row["labels"] for row in rows] == [3, 5]
    assert sorted(outputs.selections) == ["iteration_01", "iteration_02"]
    assert len(outputs.relaxed) == 1
    np.testing.assert_allclose(
        outputs.structure.get_ase().positions, outputs.relaxed.configurations.positions, atol=1e-12
    )
    dataset = outputs.dataset.configurations
    np.testing.assert_allclose(dataset.positions[:4], slab.positions, atol=1e-12)
    assert dataset.fixed[0].all()
    assert not dataset.fixed[1:4].any()


def test_all_labels_are_those_of_the_calculator(campaign):
    dataset = campaign.outputs.dataset
    assert dataset.configurations.status.tolist() == ["ok"] * 5
    for one, atoms in zip(dataset.configurations, dataset.get_ase(), strict=True):
        atoms.calc = EMT()
        atoms.set_constraint()
        assert one.energies[0] == pytest.approx(atoms.get_potential_energy())
        np.testing.assert_allclose(one.forces, atoms.get_forces(), atol=1e-9)


def test_a_path_leads_from_the_potential_to_every_label(campaign):
    trained_on = campaign.outputs.potential.creator.inputs.dataset
    assert len(trained_on) == 3
    assert set(trained_on.sources) == labellings(campaign.outputs.potential)
    assert set(campaign.outputs.dataset.sources) == labellings(campaign.outputs.dataset)


def test_a_path_leads_from_every_label_to_its_structure_and_its_selection(campaign):
    dataset = campaign.outputs.dataset
    selections = list(campaign.outputs.selections.values())
    asked = []
    for key, source in zip(dataset.configurations.keys, dataset.sources, strict=True):
        candidates = orm.load_node(source).inputs.dataset
        assert key in candidates.configurations.keys
        assert campaign.inputs.structures in ancestors(candidates)
        maker = candidates.creator
        if maker.process_label == "SelectCalculation":
            assert maker.outputs.selection in selections
            assert key in [item["key"] for item in maker.outputs.selection.selected]
        asked.append(maker.process_label)
    assert asked == ["begin", *["SelectCalculation"] * 4]


def test_one_job_an_iteration_comes_to_the_same(campaign, one_job):
    assert one_job.exit_status == campaign.exit_status
    labels = [node.outputs.dataset.configurations for node in (one_job, campaign)]
    assert labels[0].keys == labels[1].keys
    assert one_job.outputs.curve["rows"][-1]["labels"] == 5
    assert len(called(one_job, "IterateCalculation")) == 2
    assert not called(one_job, "TrainBaseWorkChain")
    assert not called(one_job, "SimulateBaseWorkChain")
    assert not called(one_job, "SelectCalculation")
    potential = one_job.outputs.potential
    assert potential.creator.process_label == "IterateCalculation"
    assert set(potential.creator.inputs.train.dataset.sources) == labellings(potential)
    asked = orm.load_node(one_job.outputs.dataset.sources[-1]).inputs.dataset
    assert asked.creator.process_label == "IterateCalculation"


def test_what_one_job_does_not_come_to_is_done_by_single_ones(make):
    builder = make(stop=[{"name": "oracle_force", "fmax": 0.05}, {"name": "iterations", "n": 1}])
    builder.iterate.code = builder.select.code
    builder.iterate.metadata.options.prepend_text = "rm simulate/structures.safetensors"
    _, node = run_get_node(builder)
    assert node.exit_status == 410
    (job,) = called(node, "IterateCalculation")
    assert job.exit_message.startswith("simulate: ")
    assert node.outputs.potential.creator == job
    assert not called(node, "TrainBaseWorkChain")
    assert len(called(node, "SimulateBaseWorkChain")) == 1
    assert len(called(node, "SelectCalculation")) == 1
    assert node.outputs.curve["rows"][-1]["labels"] == 3


def test_one_job_wants_the_engine_of_mlal(make):
    builder = make()
    builder.iterate.code = builder.select.code
    builder.simulating = "mlal.simulate.batches"
    with pytest.raises(ValueError, match="iterate: one job trains"):
        check_inputs(builder._inputs(prune=True), builder.process_class.spec().inputs)


def test_nothing_comes_from_nowhere(campaign):
    given = campaign.base.links.get_incoming(link_type=LinkType.INPUT_WORK).all_nodes()
    outputs = all_outputs(campaign)
    assert len(outputs) == 7
    for output in outputs:
        assert output.creator is not None
        for node in ancestors(output):
            if isinstance(node, orm.Data) and node.creator is None:
                assert node in given, f"{node}, from which came {output}"


def test_steps_can_be_told_by_their_links_and_labels(campaign):
    found = {
        link.link_label: link.node
        for link in campaign.base.links.get_outgoing(
            link_type=(LinkType.CALL_CALC, LinkType.CALL_WORK)
        ).all()
    }
    iteration = ("train", "simulate", "select", "label", "extend", "check")
    assert set(found) == {
        *("begin", "label_00", "extend_00", "curve", "last_frames"),
        *(f"{step}_{i:02d}" for step in iteration for i in (1, 2)),
    }
    assert found["train_02"].label == "training 2"


def test_extends_a_campaign_without_a_label_twice(campaign, make):
    builder = make(stop=[{"name": "oracle_force", "fmax": 100.0}, {"name": "iterations", "n": 3}])
    builder.dataset = campaign.outputs.dataset
    builder.structures = campaign.outputs.structure
    results, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    assert len(called(node, "TrainBaseWorkChain")) == 1
    (labelling,) = called(node, "ASELabelWorkChain")
    new = labelling.outputs.dataset.configurations.keys
    assert not set(new) & set(campaign.outputs.dataset.configurations.keys)
    assert len(results["dataset"]) == 5 + len(new)
    assert results["curve"]["rows"][0]["labels"] == len(new)


def test_a_potential_that_has_not_learned_all_labels_is_trained_first(campaign, make):
    """The last potential of a campaign knows nothing of the last labels."""
    potential = campaign.outputs.potential
    learned = potential.creator.inputs.dataset
    assert calcfunctions.has_learned(potential, learned)
    assert not calcfunctions.has_learned(potential, campaign.outputs.dataset)
    builder = make(simulation={"name": "relax", "max_steps": 0}, query={"name": "final", "n": 1})
    builder.potential = potential
    for dataset, trainings in ((learned, 0), (campaign.outputs.dataset, 1)):
        builder.dataset = dataset
        _, node = run_get_node(builder)
        assert len(called(node, "TrainBaseWorkChain")) == trainings
        assert not called(node, "ASELabelWorkChain")


def test_a_labelled_structure_is_not_labelled_again(campaign, make):
    builder = make(simulation={"name": "relax", "max_steps": 0}, query={"name": "final", "n": 1})
    builder.dataset = campaign.outputs.dataset
    results, node = run_get_node(builder)
    assert not called(node, "ASELabelWorkChain")
    # no step is made, so the only frame is known: nothing to be asked is a clean end
    assert node.exit_status == 411
    assert "labelled force" in node.exit_message
    assert len(called(node, "TrainBaseWorkChain")) == 1
    assert len(results["dataset"]) == 5
    assert set(results["relaxed"].sources) <= set(campaign.outputs.dataset.sources)
    assert results["relaxed"].configurations.status.tolist() == ["ok"]
    assert results["curve"]["rows"][0]["oracle_fmax"] > 0.05


def test_a_known_end_that_is_relaxed_is_convergence(campaign, make):
    builder = make(
        simulation={"name": "relax", "max_steps": 0},
        stop=[{"name": "oracle_force", "fmax": 100.0}, {"name": "iterations", "n": 3}],
    )
    builder.dataset = campaign.outputs.dataset
    _, node = run_get_node(builder)
    assert node.is_finished_ok
    assert not called(node, "ASELabelWorkChain")


def test_the_same_campaign_comes_from_the_cache(campaign, make):
    builder = make()
    for name in ("train", "simulate"):
        builder[name][name]["code"] = campaign.inputs[name][name].code
    builder.select.code = campaign.inputs.select.code
    builder.label["ase"]["code"] = campaign.inputs.label["ase"]["code"]
    with enable_caching():
        results, node = run_get_node(builder)
    jobs = [n for n in node.called_descendants if isinstance(n, orm.CalcJobNode)]
    assert len(jobs) == 9
    assert all(job.base.caching.is_created_from_cache for job in jobs)
    assert results["dataset"].sha256 == campaign.outputs.dataset.sha256
    assert results["potential"].sha256 == campaign.outputs.potential.sha256
    assert results["curve"].get_dict() == campaign.outputs.curve.get_dict()


def test_a_failed_training_leaves_the_labels(make):
    builder = make()
    builder.train.train.metadata.options.prepend_text = "exit 1"
    results, node = run_get_node(builder)
    assert node.exit_status == 440
    assert "TrainBaseWorkChain" in node.exit_message
    assert len(results["dataset"]) == 1
    assert "potential" not in results


def test_ends_where_too_many_labels_fail(make, slab):
    other = slab.copy()
    other.symbols[1] = "Fe"  # EMT does not know it
    start = DatasetData.from_ase([slab, other])
    results, node = run_get_node(make(start, max_failed_share=0.4, query={"n": 2}))
    assert node.exit_status == 420
    assert "1 of 2 labels are of no use" in node.exit_message
    assert "Fe" in node.exit_message
    assert results["dataset"].configurations.status.tolist() == ["ok", "failed"]


def test_labels_that_fail_do_not_end_a_campaign(make, slab):
    other = slab.copy()
    other.symbols[1] = "Fe"
    other.symbols[3] = "Cu"
    start = DatasetData.from_ase([slab, other])
    builder = make(start, stop=[{"name": "iterations", "n": 1}], query={"name": "random", "n": 1})
    results, node = run_get_node(builder)
    assert results["dataset"].configurations.status.tolist()[:2] == ["ok", "failed"]
    # the potential has seen no iron, so that it cannot simulate what has some
    assert node.exit_status == 441
    assert "Fe" in node.exit_message


def test_structures_that_nothing_can_be_learned_from_are_refused(make, slab):
    before = orm.QueryBuilder().append(orm.ProcessNode).count()
    iron, noble, crowded = slab.copy(), slab.copy(), slab.copy()
    iron.symbols[1], noble.symbols[1] = "Fe", "Kr"
    crowded.positions[-1] = crowded.positions[-2] + [0, 0, 0.05]
    for atoms, message in (
        (iron, r"'emt' knows \[.*'Pt'\], the structures have \['Fe'\]"),
        (noble, r"Morse parameters lacks \['Kr'\].*mlal fit-morse"),
        (crowded, r"structures: number 0 .*two atoms are 0\.0. times"),
    ):
        with pytest.raises(ValueError, match=message):
            run_get_node(make(orm.StructureData(ase=atoms)))
    assert orm.QueryBuilder().append(orm.ProcessNode).count() == before


def test_constraints_that_no_simulation_keeps_are_refused(make, slab):
    """Where a data set has them; a file is refused as it is read."""
    before = orm.QueryBuilder().append(orm.ProcessNode).count()
    slab.set_constraint(FixBondLengths([[0, 1]]))
    with pytest.raises(ValueError, match=r"structures: structure 0 .*FixBondLengths would not be"):
        run_get_node(make(DatasetData(Configurations.from_ase(slab))))
    assert orm.QueryBuilder().append(orm.ProcessNode).count() == before


def broken(path, value):
    overrides = value
    for key in reversed(path.split(".")):
        overrides = {key: overrides}
    return overrides


MADE_FOR_MTP = (
    "query.name",
    "first_query.name",
    "uncertainty.name",
    "simulation.guard.uncertainty",
)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("structures", {}, r"overrides\.structures: they are an argument of their own"),
        ("modle", {}, "unknown input 'overrides.modle', did you mean 'model'"),
        ("train.train.metdata", {}, r"train\.metdata', did you mean 'metadata'"),
        ("train.train.metadata.options.resuorces", {}, "did you mean 'resources'"),
        ("select.codes", 1, "did you mean 'code'"),
        ("label.ase.calculater", {}, r"ase\.calculater', did you mean 'calculator'"),
        ("model.cutof", 5.0, "unknown option 'cutof', did you mean 'cutoff'"),
        ("model.prior.mixin", "mean", r"model\.prior: unknown option 'mixin'"),
        ("training.optimizer", {"name": "lbgfs"}, "did you mean 'lbfgs'"),
        ("training.loss.forces", 1.0, "did you mean 'force'"),
        ("simulation.guard", {"brake": 1.0}, r"simulation\.guard: unknown option 'brake'"),
        ("query.name", "finale", "did you mean 'final'"),
        ("filters", {"max_forces": 1.0}, "did you mean 'max_force'"),
        ("stop", [{"name": "oracle_forces"}], "did you mean 'oracle_force'"),
        ("stop", [{"name": "oracle_force"}], "nothing ends a campaign"),
        ("stop", [{"name": "labels", "n": 1}], "budget of labels is spent on the first 1"),
        ("query", {"name": "random"}, "stop 'oracle_force' judges the last frames"),
        ("model", {"architecture": "bpnn"}, "'select' and 'break' need an uncertainty"),
        ("model.cutoff", 550.0, r"model\.cutoff: expected a cutoff above 0 Å and not above 100 Å"),
        ("seed", -1, "expected a seed of 0 or more"),
        ("model", {"architecture": "morse"}, "'morse' has no weights to be trained"),
        ("query.name", "oed", "query: a potential of the model 'mtp' has no last layer"),
        ("query.name", "latent_distance", "query: a potential of the model 'mtp' has no last"),
        ("query.name", "qbc", "query: the uncertainty 'force_std' is the spread of a committee"),
        ("first_query.name", "oed", "first_query: a potential of the model 'mtp' has no last"),
        ("first_query.name", "uncertainty", "'uncertainty' asks a potential that has learned"),
        ("uncertainty.name", "last_layer_force", "uncertainty: .*'mtp' has no last layer"),
        (
            "simulation.guard.uncertainty",
            {"name": "force_std"},
            r"simulation: guard\.uncertainty: .*'ensemble' of 2 or more",
        ),
        (
            "simulation.guard.uncertainty",
            {"name": "grade", "mode": "neighbourhood"},
            r"guard\.uncertainty: .* carries an active set of the mode 'neighbourhood', as",
        ),
        (
            "simulation.guard.uncertainty",
            {"name": "grade", "mod": None},
            r"simulation\.guard: uncertainty: unknown option 'mod', did you mean 'mode'",
        ),
        ("query", {"name": "final_uncertainty"}, "query 'final_uncertainty' needs an uncertainty"),
        ("label", {"ase": {"calculator": {"name": "etm"}}}, "did you mean 'emt'"),
        ("labelling", "mlal.label.asse", "did you mean 'mlal.label.ase'"),
        ("labelling", "core.arithmetic.multiply_add", "cannot label structures"),
    ],
)
def test_mistakes_are_found_before_anything_is_submitted(make, path, value, message):
    changes = broken(path, value)
    if path == "model":
        changes["simulation"] = {"name": "relax", "guard": {"break": 0.5}}
    if path == "query" and "uncertainty" in value["name"]:
        changes["model"] = MODEL
    if path in MADE_FOR_MTP:
        changes = {"model": {"architecture": "mtp", "level": 6}, **changes}
        changes["stop"] = [{"name": "iterations", "n": 2}, {"name": "labels", "n": 10}]
    before = orm.QueryBuilder().append(orm.ProcessNode).count()
    with pytest.raises(ValueError, match=message):
        run_get_node(make(**changes))
    assert orm.QueryBuilder().append(orm.ProcessNode).count() == before


def test_what_it_is_about_is_seen_in_a_list_of_processes(make):
    builder = make()
    assert builder.metadata.label == "relaxation by networks of CCu3"
    assert builder.metadata.description == "protocol fast, labels by emt"


def test_misspelt_inputs_in_open_namespaces_are_found(make):
    builder = make()
    builder.train.train["potentail"] = orm.Int(1)
    with pytest.raises(ValueError, match=r"unknown input 'train\.train\.potentail'"):
        run_get_node(builder)


def test_what_is_labelled_is_chosen_by_the_campaign(make, dataset):
    builder = make()
    builder.label["dataset"] = dataset
    with pytest.raises(ValueError, match=r"label\.dataset: what is labelled is chosen"):
        run_get_node(builder)


def test_a_label_for_each_last_frame_is_wanted(make, frames):
    builder = make(DatasetData.from_ase(frames))
    with pytest.raises(ValueError, match="expected n of 6 or more, got 2"):
        run_get_node(builder)


def test_a_potential_needs_the_data_that_it_learned_from(campaign, make):
    builder = make()
    builder.potential = campaign.outputs.potential
    with pytest.raises(ValueError, match="give 'dataset' too"):
        run_get_node(builder)


def test_labels_of_another_method_are_refused_before_others_are_paid_for(campaign, make):
    ports = make().process_class.spec().inputs

    def check(options, **changes):
        builder = make(labels={"name": "emt", "options": options}, **changes)
        builder.dataset = campaign.outputs.dataset
        check_inputs(builder._inputs(prune=True), ports)

    with pytest.raises(ValueError, match="dataset: 5 of its 5 labels are not made as others will"):
        check({"asap_cutoff": True})
    check({"asap_cutoff": True}, allow_mixed_labels=True)
    check({"asap_cutoff": False})  # which is the default


def test_codes_that_cannot_work_are_told_before_anything_is_submitted(
    workflow, mlal_code, structure, aiida_code_installed
):
    pw = aiida_code_installed(
        label="pw", default_calc_job_plugin="quantumespresso.pw", filepath_executable="/bin/true"
    )
    gone = aiida_code_installed(label="gone", filepath_executable="/nowhere/mlal")
    for code, message in (
        (pw, "pw@localhost is set up for 'quantumespresso.pw': expected one for 'mlal'"),
        (gone, "gone@localhost is not installed on its computer: there is no file /nowhere/mlal"),
    ):
        for codes in ({"mlal": mlal_code, "train": code}, {"mlal": mlal_code, "label": code}):
            with pytest.raises(ValueError, match=message):
                run_get_node(workflow.get_builder_from_protocol(codes, structure, "fast", INPUTS))


@pytest.mark.parametrize("name", ["relax", "md"])
def test_something_must_move(workflow, mlal_code, structure, name):
    """A potential of one label is no result, nor is a run that came to its end where it began."""
    inputs = {**INPUTS, "simulation": {"name": name}}
    if name == "md":
        inputs["stop"] = [{"name": "iterations", "n": 2}]
    everything = range(len(structure.sites))
    with pytest.raises(ValueError, match="structures: nothing would move in any simulation"):
        run_get_node(
            workflow.get_builder_from_protocol(
                mlal_code, structure, "fast", inputs, fixed=list(everything)
            )
        )


def test_fixed_atoms_must_be_there(workflow, mlal_code, structure):
    with pytest.raises(ValueError, match="no atom 7"):
        run_get_node(
            workflow.get_builder_from_protocol(mlal_code, structure, overrides=INPUTS, fixed=[7])
        )
