import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.morse import MorsePotential

from aiida_mlal.ml.labelling.calculators import CalculatorOptions, _stress, compute
from aiida_mlal.ml.labelling.fingerprint import fit_together
from aiida_mlal.ml.options import build


@pytest.mark.parametrize(
    ("name", "cls"), [("emt", EMT), ("lj", LennardJones), ("morse", MorsePotential)]
)
def test_builds_calculators_of_ase(name, cls):
    assert isinstance(CalculatorOptions(name).build(), cls)


def test_options_reach_the_calculator():
    calculator = build(CalculatorOptions, {"name": "lj", "options": {"sigma": 2.5}}).build()
    assert calculator.parameters["sigma"] == 2.5


def test_a_user_gives_a_function(importable):
    options = {
        "name": "mine",
        "factory": "broken_calculators:emt",
        "options": {"asap_cutoff": True},
    }
    calculator = build(CalculatorOptions, options).build()
    assert isinstance(calculator, EMT)
    assert calculator.parameters["asap_cutoff"] is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "emtt"}, "unknown calculator 'emtt', did you mean 'emt'.*'factory'"),
        ({"name": "lj", "options": {"sigm": 1.0}}, "unknown option 'sigm', did you mean 'sigma'"),
        ({"name": "x", "factory": "module.function"}, "'module:function', got 'module.function'"),
        ({"options": {}}, "option 'name' is missing"),
    ],
)
def test_wrong_options_are_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        build(CalculatorOptions, options, "calculator")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factory": "no_such_module:f"}, "cannot be imported: No module named 'no_such_module'"),
        ({"factory": "no_such_module:f"}, "PYTHONPATH=. mlal label .*: the current folder is not"),
        ({"factory": "broken_calculators:emd"}, "no function 'emd', did you mean 'emt'"),
        ({"factory": "broken_calculators:nonsense"}, "expected an ASE calculator"),
        (
            {"factory": "broken_calculators:nonsense", "options": {"a": 1}},
            "cannot be built: TypeError: nonsense",
        ),
    ],
)
def test_what_cannot_be_built_says_why(options, message, importable):
    with pytest.raises(ValueError, match=message):
        build(CalculatorOptions, {"name": "mine", **options}).build()


def mark(name, options=None, **others):
    return CalculatorOptions(name, options or {}, **others).fingerprint


def test_fingerprint_tells_calculators_apart():
    lj = [mark("lj", options) for options in ({}, {"sigma": 2.0}, {"rc": 2.0})]
    assert len({mark("emt"), *lj}) == 4
    assert mark("mine", factory="ase.calculators.emt:EMT") != mark("emt")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"sigma": 1.5, "rc": 14}, {"rc": 14.0, "sigma": 1.5}),
        ({}, {"sigma": 1.0, "epsilon": 1}),  # which are the defaults
        ({"sigma": 2.0}, {"sigma": 2.0, "smooth": False}),
    ],
)
def test_fingerprint_is_of_values_not_of_how_they_are_written(one, other):
    assert mark("lj", one) == mark("lj", other)


def test_what_only_says_where_a_code_runs_is_of_no_account():
    factory = "ase.calculators.emt:EMT"
    assert mark("a", factory=factory) == mark("b", {"txt": "a", "command": "b"}, factory=factory)


def test_versions_are_the_other_part_of_a_fingerprint(monkeypatch):
    one = mark("emt")
    monkeypatch.setattr("aiida_mlal.ml.labelling.calculators.ASE_VERSION", "2.0")
    assert mark("emt") != one
    assert not fit_together([mark("emt"), one])
    assert fit_together([mark("emt"), one], versions=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factory": "broken_calculators:emd"}, "no function 'emd', did you mean 'emt'"),
        ({"factory": "broken_calculators:nonsense", "options": {"a": 1}}, "does not take.*'a'"),
        ({"factory": "broken_calculators:Wrong"}, "does not take its options: missing.*'mode'"),
        ({"factory": "no_such_module:f"}, "cannot be imported"),
    ],
)
def test_what_is_wrong_is_known_before_anything_is_built(options, message, importable):
    with pytest.raises(ValueError, match=message):
        build(CalculatorOptions, {"name": "mine", **options}).check_arguments()
    CalculatorOptions("lj", {"sigma": 2.0}).check_arguments()


def test_description_is_json_and_names_versions():
    description = CalculatorOptions("mine", factory="ase.calculators.emt:EMT").describe()
    assert json.loads(json.dumps(description)) == description
    assert description["version"] == description["ase"]


def test_a_calculator_that_goes_elsewhere_leaves_the_others_where_they_are(
    importable, tmp_path, monkeypatch
):
    """So that files of a simulation with it do not end up there."""
    monkeypatch.chdir(tmp_path)
    factory = "broken_calculators:Wrong"
    atoms = bulk("Cu") * (2, 1, 1)
    atoms.calc = CalculatorOptions("x", {"mode": "goes_elsewhere"}, factory).build()
    for _ in range(2):
        compute(atoms)
        assert Path.cwd() == tmp_path
        atoms.rattle(0.01)


def test_a_stress_that_is_not_symmetric_is_refused():
    """The mean of it and its transpose was the label."""
    matrix = np.diag([0.1, 0.2, 0.3])
    matrix[0, 1] = 1e-5  # rounding
    np.testing.assert_allclose(_stress(matrix), _stress(matrix).T)
    matrix[0, 1] = 0.05
    with pytest.raises(
        ValueError, match=r"not symmetric: components differ by 0\.05 eV/Å³ of 0\.3"
    ):
        _stress(matrix)
