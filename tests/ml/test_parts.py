from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

import pytest

from aiida_mlal.ml import parts
from aiida_mlal.ml.training.optimizers import LBFGS, Adam

GROUPS = ("models", "strategies", "simulations", "stops", "optimizers", "tasks", "uncertainties")


@dataclass(frozen=True)
class Foreign:
    size: int = 1


@pytest.fixture
def foreign(monkeypatch):
    """As if another package had installed a stop."""

    def installed(group):
        own = EntryPoint("foreign", f"{__name__}:Foreign", group)
        return [*entry_points(group=group), own] if group == "aiida_mlal.stops" else []

    monkeypatch.setattr(parts, "entry_points", installed)
    monkeypatch.setattr(EntryPoint, "load", lambda self: Foreign)
    parts._installed.cache_clear()
    yield
    parts._installed.cache_clear()


@pytest.mark.parametrize("group", GROUPS)
def test_all_parts_of_the_package_can_be_loaded(group):
    names = parts.names(group)
    assert names
    assert names == sorted(names)
    for name in names:
        assert parts.name_of(group, parts.find(group, name)) == name


def test_makes_a_part_with_its_options():
    assert parts.make("optimizers", {"name": "adam", "batch_size": 7}) == Adam(batch_size=7)
    assert parts.make("optimizers", {"name": "lbfgs"}) == LBFGS()


def test_what_was_given_is_left_alone():
    values = {"name": "adam", "batch_size": 7}
    parts.make("optimizers", values)
    assert values == {"name": "adam", "batch_size": 7}


def test_a_part_of_another_package_is_found(foreign):
    assert "foreign" in parts.names("stops")
    assert parts.make("stops", {"name": "foreign", "size": 2}) == Foreign(2)


def test_a_class_that_is_not_installed_goes_by_its_own_name():
    assert parts.name_of("stops", Foreign) == "Foreign"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "adm"}, "^training: unknown optimizer 'adm', did you mean 'adam'"),
        ({"name": 3}, r"^training: unknown optimizer 3, choose from \['adam'"),
        ({"name": ["adam"]}, r"^training: unknown optimizer \['adam'\]"),
        ({"batch_size": 3}, r"^training: expected an optimizer as .*choose a name from"),
        ("adam", "^training: expected .*got 'adam'; choose a name from"),
        ({"name": "adam", "batchsize": 3}, "^training: unknown option 'batchsize', did you mean"),
    ],
)
def test_messages_say_where_and_what(values, message):
    with pytest.raises(ValueError, match=message):
        parts.make("optimizers", values, "training")


def test_without_a_place_the_part_is_named():
    with pytest.raises(ValueError, match=r"^optimizer 'adam': unknown option 'x'"):
        parts.make("optimizers", {"name": "adam", "x": 1})


@pytest.mark.parametrize(
    ("group", "singular"), [("strategies", "strategy"), ("uncertainties", "uncertainty")]
)
def test_groups_are_named_in_the_singular(group, singular):
    with pytest.raises(ValueError, match=f"unknown {singular} 'x'"):
        parts.find(group, "x")
