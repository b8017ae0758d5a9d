"""What holds for every parser."""

import json

import numpy as np
import pytest

from aiida_mlal.ml.configurations import Configurations


def result(task, status="ok", **more):
    return json.dumps({"task": task, "status": status, "message": "so it is", **more}).encode()


@pytest.fixture
def written(inputs, configurations, potential):
    """Return the files that each calculation retrieves if all goes well."""
    from aiida_mlal.ml.models.checkpoint import Checkpoint

    keys = configurations.keys
    selected = [{"index": 1, "key": keys[3], "score": None, "reason": "random"}]
    decision = {"selected": selected, "rejected": [], "n_pool": 4, "n_train": 2}
    return {
        "mlal.train": {
            "result.json": result("train", epochs=2),
            "potential.safetensors": Checkpoint(potential).to_bytes(),
        },
        "mlal.simulate": {
            "result.json": result("simulate", runs=[]),
            "trajectory.safetensors": configurations.to_bytes(),
        },
        "mlal.select": {
            "result.json": result("select", **decision, strategy={"name": "random"}, seed=5),
            "selected.safetensors": configurations[[3]].to_bytes(),
        },
        "mlal.label.ase": {
            "result.json": result("label"),
            "labelled.safetensors": configurations[:2].to_bytes(),
        },
        "mlal.grade": {
            "result.json": result("grade", max_grade=2.0),
            "graded.safetensors": configurations.to_bytes(),
        },
        "mlal.evaluate": {
            "result.json": result("evaluate", errors={}),
            "predictions.safetensors": configurations.to_bytes(),
        },
        "mlal.properties": {
            "result.json": result("properties", structures=[]),
            "properties.safetensors": configurations.to_bytes(),
            "properties.curves.json": b'{"s0_cold_curve_energy_eV_per_atom": [[1, 2]]}',
        },
    }


OUTPUTS = {
    "mlal.train": {"potential", "results"},
    "mlal.simulate": {"trajectory", "results"},
    "mlal.select": {"selected", "selection"},
    "mlal.label.ase": {"dataset", "description"},
    "mlal.grade": {"graded", "results"},
    "mlal.evaluate": {"predictions", "results"},
    "mlal.properties": {"structures", "curves", "results"},
}


@pytest.fixture(params=OUTPUTS)
def entry_point(request):
    return request.param


@pytest.fixture
def files(written, entry_point):
    return written[entry_point]


@pytest.fixture
def output(files):
    return next(name for name in files if name.endswith(".safetensors"))


def with_status(files, status):
    values = json.loads(files["result.json"]) | {"status": status}
    return files | {"result.json": json.dumps(values).encode()}


def test_all_outputs_of_a_good_end(parse, entry_point, files):
    outputs, code = parse(entry_point, files)
    assert code.status == 0
    assert set(outputs) == OUTPUTS[entry_point]


def test_no_result_says_what_stderr_says(parse, entry_point):
    _, code = parse(entry_point, {}, stderr="bash: line 1: mlal: command not found\n")
    assert code.status == 300
    assert "mlal: command not found" in code.message


def test_scheduler_explains_a_missing_result(parse, entry_point):
    _, code = parse(entry_point, {}, scheduler="ERROR_SCHEDULER_OUT_OF_MEMORY")
    assert code.status == 110


@pytest.mark.parametrize(
    ("status", "number"),
    [
        ("invalid_input", 310),
        ("internal_error", 311),
        ("out_of_memory", 320),
        ("diverged", 410),
        ("interrupted", 420),
    ],
)
def test_status_of_the_task_decides(parse, entry_point, files, status, number):
    files = {"result.json": with_status(files, status)["result.json"]}
    _, code = parse(entry_point, files)
    assert code.status == number
    assert "so it is" in code.message


def test_what_was_computed_before_an_interruption_is_kept(parse, entry_point, files):
    outputs, code = parse(entry_point, with_status(files, "interrupted"))
    assert code.status == 420
    assert set(outputs) == OUTPUTS[entry_point]


@pytest.mark.parametrize(
    ("status", "number"),
    [("interrupted", 120), ("internal_error", 120), ("diverged", 410), ("ok", 0)],
)
def test_cause_comes_before_consequence(parse, entry_point, files, status, number):
    outputs, code = parse(
        entry_point, with_status(files, status), scheduler="ERROR_SCHEDULER_OUT_OF_WALLTIME"
    )
    assert code.status == number
    assert set(outputs) == OUTPUTS[entry_point]


def test_missing_output(parse, entry_point, files, output):
    _, code = parse(entry_point, {"result.json": files["result.json"]})
    assert code.status == 330
    assert output in code.message


def test_damaged_output(parse, entry_point, files, output):
    _, code = parse(entry_point, files | {output: files[output][:-20]})
    assert code.status == 331
    assert "not an intact safetensors file" in code.message


def test_foreign_output(parse, entry_point, files, output):
    from safetensors.numpy import save

    _, code = parse(entry_point, files | {output: save({"a": np.zeros(1)})})
    assert code.status == 331
    assert "expected a file of aiida-mlal" in code.message


@pytest.mark.parametrize("text", [b'{"status": "o', b"[]", b'{"status": "fine"}', b"\xff\xfe"])
def test_damaged_result(parse, entry_point, files, text):
    _, code = parse(entry_point, files | {"result.json": text})
    assert code.status == 331
    assert "result.json" in code.message


POISON = "bad \x00 text \ud800 " + 100_000 * "x"


@pytest.mark.parametrize("status", ["ok", "internal_error"])
def test_a_text_that_no_database_can_hold_is_escaped(parse, entry_point, files, status):
    more = {"status": status, "message": POISON, "note": {POISON: [POISON]}}
    values = json.loads(files["result.json"]) | more
    outputs, code = parse(entry_point, files | {"result.json": json.dumps(values).encode()})
    texts = [code.message or ""]
    for node in outputs.values():
        texts.append(json.dumps(node.store().base.attributes.all, ensure_ascii=False))
    for text in texts:
        text.encode()
        assert "\x00" not in text
        assert len(text) < 50_000
    if status != "ok":
        assert r"bad \x00 text \ud800 xxx" in code.message


def test_an_error_output_that_no_database_can_hold_is_escaped(parse, entry_point):
    _, code = parse(entry_point, {}, stderr="bad \x00 text")
    assert r"ends: bad \x00 text" in code.message


def test_result_of_another_task_is_not_believed(parse, entry_point, files):
    _, code = parse(entry_point, files | {"result.json": result("other")})
    assert code.status == 331
    assert "of the task 'other'" in code.message


def test_numbers_that_are_not_finite_can_be_stored(parse, entry_point, files):
    values = json.loads(files["result.json"]) | {"loss": float("nan")}
    outputs, code = parse(entry_point, files | {"result.json": json.dumps(values).encode()})
    assert code.status == 0
    for node in outputs.values():
        node.store()


def test_labels_know_the_calculation_that_made_them(parse, written):
    outputs, _ = parse("mlal.label.ase", written["mlal.label.ase"])
    (source,) = set(outputs["dataset"].sources)
    assert len(source) == 36


def test_a_structure_that_was_not_reached_has_no_source(parse, written, configurations):
    partial = configurations[:2].with_info(status=["ok", "unlabelled"])
    files = with_status(written["mlal.label.ase"], "interrupted")
    outputs, code = parse("mlal.label.ase", files | {"labelled.safetensors": partial.to_bytes()})
    assert code.status == 420
    assert [bool(source) for source in outputs["dataset"].sources] == [True, False]


@pytest.fixture
def journal(configurations, tmp_path):
    """Return what is left of a job that was killed in the second of two structures."""
    from aiida_mlal.ml.journal import Journal
    from aiida_mlal.ml.labelling.ledger import Ledger

    path, made_by = tmp_path / "a.journal", {"fingerprint": "f", "description": {"ase": "3"}}
    ledger = Ledger(configurations[:2], Journal(path), made_by)
    ledger.begin(0)
    ledger.end(0, configurations[0])
    ledger.begin(1)
    return {"labelled.safetensors.journal": path.read_bytes()}


def test_labels_of_a_job_that_was_killed_are_kept(parse, journal, configurations):
    outputs, code = parse("mlal.label.ase", journal, stderr="Segmentation fault\n")
    assert code.status == 420
    assert "it was killed; its standard error ends: Segmentation fault" in code.message
    found = outputs["dataset"].configurations
    assert found.status.tolist() == ["ok", "unlabelled"]
    assert found.energies[0] == configurations.energies[0]
    assert found.info["attempts"].tolist() == [0, 1]
    assert outputs["description"]["fingerprint"] == "f"


def test_labels_are_kept_where_only_the_result_could_not_be_written(parse, written):
    files = {k: v for k, v in written["mlal.label.ase"].items() if k != "result.json"}
    outputs, code = parse("mlal.label.ase", files)
    assert code.status == 420
    assert outputs["dataset"].configurations.status.tolist() == ["ok", "ok"]
    assert outputs["description"]["description"]["calculator"] == "emt"


def test_a_disk_that_is_full_from_the_beginning_is_no_fault_of_structures(parse):
    files = {"labelled.safetensors.journal": b"", "result.json": result("label", "internal_error")}
    outputs, code = parse("mlal.label.ase", files)
    assert code.status == 311
    assert outputs["dataset"].configurations.status.tolist() == ["unlabelled"] * 2
    assert "attempts" not in outputs["dataset"].configurations.info
    assert outputs["description"]["description"]["calculator"] == "emt"


def test_an_error_at_the_end_costs_no_label(parse, journal):
    files = {**journal, "result.json": result("label", "internal_error")}
    outputs, code = parse("mlal.label.ase", files)
    assert code.status == 311
    assert outputs["dataset"].configurations.status.tolist() == ["ok", "unlabelled"]
    assert outputs["description"]["fingerprint"] == "f"


def test_labels_of_other_structures_are_refused(parse, written, configurations):
    files = written["mlal.label.ase"] | {"labelled.safetensors": configurations[1:3].to_bytes()}
    _, code = parse("mlal.label.ase", files)
    assert code.status == 331
    assert "not those that were to be labelled" in code.message


def test_an_empty_selection_has_no_structures(parse, written):
    values = json.loads(written["mlal.select"]["result.json"]) | {"selected": []}
    files = {
        "result.json": json.dumps(values).encode(),
        "selected.safetensors": Configurations.empty().to_bytes(),
    }
    outputs, code = parse("mlal.select", files)
    assert code.status == 0
    assert set(outputs) == {"selection"}


def test_selected_structures_must_be_those_of_the_decision(parse, written, configurations):
    files = written["mlal.select"] | {"selected.safetensors": configurations[[0]].to_bytes()}
    _, code = parse("mlal.select", files)
    assert code.status == 331
