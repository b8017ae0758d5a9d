"""What holds for every calculation."""

import json

import pytest
from aiida.plugins import CalculationFactory

from aiida_mlal.calculations.base import TaskCalculation
from aiida_mlal.ml.tasks.runner import parse as parse_task

ALL = ["evaluate", "grade", "label.ase", "properties", "select", "simulate", "train"]
ALL = [f"mlal.{name}" for name in ALL]


@pytest.fixture(params=ALL)
def entry_point(request):
    return request.param


def test_the_list_is_complete():
    from aiida.plugins.entry_point import get_entry_point_names

    names = [n for n in get_entry_point_names("aiida.calculations") if n.startswith("mlal")]
    of_one_task = [n for n in names if issubclass(CalculationFactory(n), TaskCalculation)]
    assert of_one_task == ALL
    assert set(names) == {*ALL, "mlal.iterate"}  # see test_iterate.py


def test_task_can_be_built_from_the_file(generate_calc_job, entry_point):
    path, _ = generate_calc_job(entry_point)
    task = parse_task(json.loads((path / "task.json").read_text()))
    assert isinstance(task, CalculationFactory(entry_point).task_class())


def test_every_file_of_the_task_is_copied(generate_calc_job, entry_point):
    path, info = generate_calc_job(entry_point)
    named = {v for v in json.loads((path / "task.json").read_text()).values() if isinstance(v, str)}
    wanted = {name for name in named if name.endswith(".safetensors")}
    assert wanted == {target for _, _, target in info.local_copy_list} | {
        CalculationFactory(entry_point).task_class().OUTPUT
    }


def test_result_and_output_are_retrieved(generate_calc_job, entry_point):
    _, info = generate_calc_job(entry_point)
    task = CalculationFactory(entry_point).task_class()
    names = ["result.json", "progress.json", task.OUTPUT, *task.LEFT]
    assert info.retrieve_list == [(name, ".", name.count("/") + 1) for name in names]
    assert info.codes_info[0].cmdline_params == ["run", "task.json"]


def test_equal_inputs_give_equal_files(generate_calc_job, entry_point):
    (first, info), (second, again) = (generate_calc_job(entry_point) for _ in range(2))
    assert (first / "task.json").read_bytes() == (second / "task.json").read_bytes()
    assert info.local_copy_list == again.local_copy_list


def test_spec_names_its_parser_and_runs_in_serial(entry_point):
    options = CalculationFactory(entry_point).spec().inputs.get_port("metadata.options")
    assert options["parser_name"].default == entry_point
    assert options["withmpi"].default is False
    assert options["resources"].default == {"num_machines": 1, "num_mpiprocs_per_machine": 1}


def test_numbers_of_exit_codes_are_free_for_restarts(entry_point):
    own = {code.status for code in CalculationFactory(entry_point).exit_codes.values()}
    assert {300, 310, 311, 320, 330, 331, 410, 420} <= own
    assert not own & {301, 302, 401, 402}


@pytest.mark.parametrize(
    ("entry_point", "change", "sentence"),
    [
        (
            "mlal.train",
            {"training": {"epoch": 3}},
            "training: unknown option 'epoch', did you mean",
        ),
        ("mlal.train", {"model": {"architecture": "bpn"}}, "unknown model 'bpn', did you mean"),
        ("mlal.train", {"model": {"architecture": "bpnn", "cutof": 3.0}}, "did you mean 'cutoff'"),
        ("mlal.simulate", {"simulation": {"name": "relax", "fmaks": 1.0}}, "did you mean 'fmax'"),
        ("mlal.simulate", {"simulation": {"name": "relax", "fmax": -1.0}}, "expected fmax above 0"),
        ("mlal.simulate", {"simulation": {"fmax": 1.0}}, "expected a simulation as"),
        ("mlal.select", {"query": {"name": "randon"}}, "unknown strategy 'randon', did you mean"),
        ("mlal.select", {"filters": {"min_distanc": 1.0}}, "did you mean 'min_distance'"),
        ("mlal.grade", {"grades": {"mode": "neighborhood"}}, "did you mean 'neighbourhood'"),
        ("mlal.train", {"uncertainty": {"name": "grades"}}, "did you mean 'grade'"),
        ("mlal.label.ase", {"calculator": {"name": "emtt"}}, "did you mean 'emt'"),
        ("mlal.properties", {"properties": [{"name": "elastics"}]}, "did you mean 'elastic'"),
        ("mlal.properties", {"relaxation": {"fmaks": 1.0}}, "did you mean 'fmax'"),
        ("mlal.properties", {"calculator": {"name": "emtt"}}, "did you mean 'emt'"),
    ],
)
def test_a_wrong_option_is_found_before_submission(
    generate_calc_job, entry_point, change, sentence
):
    with pytest.raises(ValueError, match="Error occurred validating") as error:
        generate_calc_job(entry_point, **change)
    assert sentence in str(error.value)


def test_training_can_begin_with_a_potential(generate_calc_job, inputs):
    potential = inputs["mlal.simulate"]["potential"]
    path, info = generate_calc_job("mlal.train", initial=potential)
    assert json.loads((path / "task.json").read_text())["initial"] == "initial.safetensors"
    assert (potential.uuid, "potential.safetensors", "initial.safetensors") in info.local_copy_list


def test_a_label_may_have_a_limit_of_time(generate_calc_job):
    path, _ = generate_calc_job("mlal.label.ase", timeout=60.0)
    assert parse_task(json.loads((path / "task.json").read_text())).timeout == 60.0
    with pytest.raises(ValueError, match="expected a timeout above 0 s, got 0"):
        generate_calc_job("mlal.label.ase", timeout=0.0)
