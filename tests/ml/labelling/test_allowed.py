import json

import pytest
from ase import Atoms
from click.testing import CliRunner

from aiida_mlal.ml.cli import mlal
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.labelling import allowed
from aiida_mlal.ml.labelling.calculators import CalculatorOptions
from aiida_mlal.ml.tasks.runner import execute


@pytest.fixture(autouse=True)
def nothing(monkeypatch, tmp_path):
    """As if nobody had allowed anything, and nothing had been typed."""
    monkeypatch.delenv(allowed.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(allowed, "_typed", set())


@pytest.mark.parametrize(
    ("factory", "options"),
    [
        ("os:system", {"command": "touch victim"}),
        ("subprocess:check_output", {"args": ["touch", "victim"]}),
        ("broken_calculators:emt", {}),
        ("asexual.calculators:emt", {}),
        ("ase.io:read", {"filename": "victim"}),
    ],
)
def test_code_of_others_is_refused(factory, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="not allowed on this computer"):
        CalculatorOptions("x", options, factory).build()
    assert not (tmp_path / "victim").exists()


def test_a_module_that_is_not_allowed_is_not_even_imported(tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('caught')")
    monkeypatch.syspath_prepend(tmp_path)
    for ask in ("build", "check_arguments"):
        with pytest.raises(ValueError, match="MLAL_ALLOWED_FACTORIES=trap"):
            getattr(CalculatorOptions("x", factory="trap:make"), ask)()


def test_what_is_no_class_of_calculators_is_refused_from_ase_too():
    with pytest.raises(ValueError, match="expected a class of calculators of ASE"):
        CalculatorOptions("x", factory="ase.calculators.calculator:get_calculator_class").build()
    assert CalculatorOptions("x", factory="ase.calculators.emt:EMT").build()


@pytest.mark.parametrize("where", ["variable", "file"])
def test_the_user_of_the_computer_allows_packages(where, importable, tmp_path, monkeypatch):
    factory = CalculatorOptions("x", factory="broken_calculators:emt")
    monkeypatch.delenv(allowed.VARIABLE)
    if where == "variable":
        monkeypatch.setenv(allowed.VARIABLE, "gpaw, broken_calculators")
    else:
        allowed.file().parent.mkdir()
        allowed.file().write_text("# ours\ngpaw\nbroken_calculators  # of the tests\n")
    assert factory.build()
    with pytest.raises(ValueError, match="not allowed"):
        CalculatorOptions("x", factory="os:system").build()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("espresso", {"command": "touch victim"}),
        ("amber", {"amber_exe": "touch victim"}),
        ("lammpslib", {"lmpcmds": ["shell touch victim"]}),
        ("castep", {"castep_command": "touch victim"}),
        ("gaussian", {"label": "x; touch victim"}),
        ("lammpsrun", {"pair_style": "lj 3\nshell touch victim"}),
        ("vasp", {"nested": {"command": "touch victim"}}),
    ],
)
def test_commands_are_refused(name, options, monkeypatch):
    with pytest.raises(ValueError, match="could run any command"):
        CalculatorOptions(name, options).check_arguments()
    monkeypatch.setenv(allowed.VARIABLE, "commands")
    allowed.check_commands(options)


def test_a_task_of_somebody_else_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Configurations.from_ase(Atoms("Cu")).save("dataset.safetensors")
    calculator = {"name": "x", "factory": "os:system", "options": {"command": "touch victim"}}
    result = execute({"task": "label", "calculator": calculator})
    assert result["status"] == "invalid_input"
    assert "could run any command" in result["message"]
    assert not (tmp_path / "victim").exists()


def test_a_potential_of_somebody_else_runs_no_code(tmp_path, monkeypatch):
    from aiida_mlal.ml.models.checkpoint import Checkpoint
    from aiida_mlal.ml.models.factory import ModelOptions

    monkeypatch.chdir(tmp_path)
    options = {"args": "touch victim"}
    calculator = {"name": "x", "factory": "subprocess:check_output", "options": options}
    model = ModelOptions.parse({"architecture": "ase", "calculator": calculator})
    content = Checkpoint(model.build(["Cu"], 0)).to_bytes()
    potential = Checkpoint.from_bytes(content).potential
    with pytest.raises(ValueError, match="not allowed on this computer"):
        potential.predict(Configurations.from_ase(Atoms("Cu")))
    assert not (tmp_path / "victim").exists()


def test_what_the_user_types_is_his_own(importable, tmp_path, monkeypatch):
    monkeypatch.delenv(allowed.VARIABLE)
    monkeypatch.chdir(tmp_path)
    Configurations.from_ase(Atoms("Cu")).save("a.safetensors")
    calculator = json.dumps({"name": "x", "factory": "broken_calculators:emt"})
    found = CliRunner().invoke(mlal, ["label", "a.safetensors", "-c", calculator])
    assert found.exit_code == 0, found.output
    with pytest.raises(ValueError, match="not allowed"):
        CalculatorOptions("x", factory="os:system").build()
