"""What there is to choose from, as a person reads it."""

import dataclasses
import runpy
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner

from aiida_mlal.ml import plugins
from aiida_mlal.ml.catalogue import OTHERS, load, options_of, parts, table
from aiida_mlal.ml.cli import mlal
from aiida_mlal.ml.models.factory import ModelOptions

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("group", get_args(plugins.Group))
def test_each_plugin_says_what_it_is_and_what_each_option_means(group):
    for part in parts(group):
        assert part.about, part.name
        for option in part.options:
            assert option.type
            assert option.meaning, f"{part.name}.{option.name}"


@pytest.mark.parametrize("name", OTHERS)
def test_other_options_are_told_too(name):
    part = next(one for one in parts(name) if one.kind == "options of")
    fields = [f.name.removesuffix("_") for f in dataclasses.fields(load(OTHERS[name])) if f.init]
    assert [option.name for option in part.options] == fields
    assert all(option.meaning for option in part.options)


def test_types_and_defaults_are_those_of_json():
    found = {option.name: option for option in parts("maxvol")[0].options}
    assert found["threshold"].type == "number"
    assert found["mode"].type == '"configuration", "neighbourhood" or null'
    assert found["mode"].default == "null"
    assert found["requeue"].default == "false"


def test_a_model_has_the_options_of_all_models():
    names = [option.name for option in parts("mtp")[0].options]
    assert {"level", "prior", "ensemble", "reference_energies"} <= set(names)


def test_a_name_in_two_groups_is_told_twice():
    assert {part.kind for part in parts("last_layer")} == {"feature"}
    assert {part.kind for part in parts("grade")} == {"uncertainty", "task"}


def test_unknown_parts_name_the_nearest():
    result = CliRunner().invoke(mlal, ["info", "maxvoll"])
    assert result.exit_code == 1
    assert "did you mean 'maxvol'?" in result.output


def test_info_prints_options_with_their_defaults():
    result = CliRunner().invoke(mlal, ["info", "guard"])
    assert result.exit_code == 0, result.output
    for option in options_of(load(OTHERS["guard"])):
        assert f"  {option.name}: {option.type}, default {option.default}\n" in result.output


def test_a_misspelt_option_of_a_model_is_told_all_that_there_are():
    with pytest.raises(ValueError, match="did you mean 'ensemble'") as caught:
        ModelOptions.parse({"architecture": "mtp", "ensembel": 3})
    assert "'architecture'" in str(caught.value)
    assert "'prior'" in str(caught.value)
    assert "'level'" in str(caught.value)


def test_the_reference_has_the_tables_of_now():
    script = runpy.run_path(str(DOCS / "_extensions" / "options.py"))
    page = script["PAGE"].read_text("utf-8")
    assert page.count("<!-- options:") > 40
    assert script["written"](page) == page, "run python docs/_extensions/options.py"


def test_cells_of_tables_have_no_bars():
    for row in table(load(OTHERS["guard"])).splitlines():
        assert row.replace("\\|", "").count("|") == 5
