import json

import pytest
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.morse import MorsePotential

from aiida_mlal.ml.labelling.calculators import CalculatorOptions
from aiida_mlal.ml.labelling.label import fingerprint
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


def test_fingerprint_tells_calculators_apart():
    prints = {
        fingerprint(CalculatorOptions(name, options).describe())
        for name, options in [("emt", {}), ("lj", {}), ("lj", {"sigma": 2.0}), ("lj", {"rc": 2.0})]
    }
    assert len(prints) == 4
    one = {"sigma": 1.0, "rc": 2.0}
    other = {"rc": 2.0, "sigma": 1.0}
    assert fingerprint(CalculatorOptions("lj", one).describe()) == fingerprint(
        CalculatorOptions("lj", other).describe()
    )


def test_description_is_json_and_names_versions():
    description = CalculatorOptions("mine", factory="ase.calculators.emt:EMT").describe()
    assert json.loads(json.dumps(description)) == description
    assert description["version"] == description["ase"]
