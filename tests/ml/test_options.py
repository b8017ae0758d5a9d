import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from aiida_mlal.ml.options import as_dict, build, suggest


@dataclass(frozen=True)
class Inner:
    depth: int
    kind: Literal["flat", "round"] = "flat"

    def __post_init__(self) -> None:
        if self.depth < 0:
            raise ValueError(f"expected a depth of 0 or more, got {self.depth}")


@dataclass(frozen=True)
class Options:
    rate: float
    inner: Inner = field(default_factory=lambda: Inner(1))
    break_: float | None = None
    flag: bool = False
    word: str = "a"
    widths: tuple[int, ...] = (1, 2)
    pair: tuple[float, str] = (1.0, "b")
    layers: tuple[Inner, ...] = ()
    either: int | str = 0
    ramp: float | tuple[float, float] = 0.0
    maybe: Inner | None = None
    choice: Literal["x", 2] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    anything: Any = None
    secret: int = field(default=3, init=False)


FULL = {
    "rate": 0.5,
    "inner": {"depth": 2, "kind": "round"},
    "break": 1.5,
    "flag": True,
    "word": "b",
    "widths": [3],
    "pair": [2.0, "c"],
    "layers": [{"depth": 3}, {"depth": 4}],
    "either": "e",
    "ramp": [1.0, 2.0],
    "maybe": {"depth": 5},
    "choice": 2,
    "more": {"a": {"b": [1]}},
    "anything": [None],
}


def test_builds_what_the_values_say():
    assert build(Options, FULL) == Options(
        rate=0.5,
        inner=Inner(2, "round"),
        break_=1.5,
        flag=True,
        word="b",
        widths=(3,),
        pair=(2.0, "c"),
        layers=(Inner(3), Inner(4)),
        either="e",
        ramp=(1.0, 2.0),
        maybe=Inner(5),
        choice=2,
        more={"a": {"b": [1]}},
        anything=[None],
    )


def test_defaults_are_those_of_the_dataclass():
    assert build(Options, {"rate": 1.0}) == Options(1.0)
    assert build(Options, {"rate": 1.0, "break": None, "maybe": None, "choice": None}) == Options(1)


def test_an_instance_of_a_nested_class_is_taken():
    assert build(Options, {"rate": 1.0, "inner": Inner(7)}).inner == Inner(7)


def test_an_integer_is_a_number_too():
    rate = build(Options, {"rate": 2}).rate
    assert rate == 2.0
    assert isinstance(rate, float)


def test_values_survive_json_and_come_back():
    options = build(Options, FULL)
    values = json.loads(json.dumps(as_dict(options)))
    assert values.pop("secret") == 3
    assert values == {**FULL, "layers": [{"depth": d, "kind": "flat"} for d in (3, 4)]} | {
        "maybe": {"depth": 5, "kind": "flat"}
    }
    assert build(Options, values) == options


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "^task: option 'rate' is missing"),
        ({"rate": 1, "wrod": "a"}, "^task: unknown option 'wrod', did you mean 'word'"),
        ({"rate": 1, "zzzzz": 1}, r"^task: unknown option 'zzzzz', choose from \['anything', "),
        ({"rate": 1, "break_": 1.0}, "unknown option 'break_', did you mean 'break'"),
        ({"rate": 1, "secret": 1}, "unknown option 'secret'"),
        ({"rate": "fast"}, "^task.rate: expected float, got 'fast'"),
        ({"rate": True}, "^task.rate: expected float, got True"),
        ({"rate": None}, "^task.rate: expected float, got None"),
        ({"rate": 1, "flag": 1}, "^task.flag: expected bool, got 1"),
        ({"rate": 1, "word": 3}, "^task.word: expected str, got 3"),
        ({"rate": 1, "either": 1.5}, "^task.either: expected str, got 1.5"),
        ({"rate": 1, "ramp": "300"}, "^task.ramp: expected float, got '300'"),
        ({"rate": 1, "ramp": [1.0]}, r"^task.ramp: expected 2 values, got \[1.0\]"),
        ({"rate": 1, "either": True}, "^task.either: expected str, got True"),
        ({"rate": 1, "widths": [1, 2.5]}, r"^task.widths\[1\]: expected int, got 2.5"),
        ({"rate": 1, "widths": 3}, "^task.widths: expected a list, got 3"),
        ({"rate": 1, "widths": "12"}, "^task.widths: expected a list, got '12'"),
        ({"rate": 1, "pair": [1.0]}, r"^task.pair: expected 2 values, got \[1.0\]"),
        ({"rate": 1, "pair": [1.0, 2.0]}, r"^task.pair\[1\]: expected str"),
        ({"rate": 1, "more": [1]}, r"^task.more: expected a mapping, got \[1\]"),
        ({"rate": 1, "choice": "y"}, "^task.choice: unknown choice 'y', choose from"),
        ({"rate": 1, "choice": []}, r"^task.choice: unknown choice \[\], choose from"),
        ({"rate": 1, "inner": 3}, "^task.inner: expected a mapping of options, got 3"),
        ({"rate": 1, "inner": {}}, "^task.inner: option 'depth' is missing"),
        (
            {"rate": 1, "inner": {"depth": 1, "kind": "rond"}},
            "^task.inner.kind: unknown choice 'rond', did you mean 'round'",
        ),
        (
            {"rate": 1, "layers": [{"depth": 1}, {"depth": -1}]},
            r"^task.layers\[1\]: expected a depth of 0 or more, got -1",
        ),
        ({"rate": 1, "maybe": {"dept": 1}}, "^task.maybe: unknown option 'dept', did you mean"),
        ({"rate": float("nan")}, "^task.rate: expected a finite number, got nan"),
        ({"rate": float("inf")}, "^task.rate: expected a finite number, got inf"),
        ([1], r"^task: expected a mapping of options, got \[1\]"),
    ],
)
def test_messages_say_where_and_what(values, message):
    with pytest.raises(ValueError, match=message):
        build(Options, values, "task")


def test_without_a_place_the_path_begins_at_the_option():
    with pytest.raises(ValueError, match=r"^rate: expected float"):
        build(Options, {"rate": "fast"})


def test_suggestions_name_all_choices():
    assert suggest("adm", ["lbfgs", "adam"]) == (
        ", did you mean 'adam'? Choose from ['adam', 'lbfgs']"
    )
    assert suggest("VASP", ["emt", "vasp"]).startswith(", did you mean 'vasp'?")
    assert suggest("pbe.54", ["PBE.54"]).startswith(", did you mean 'PBE.54'?")
    assert suggest(3, ["lbfgs"]) == ", choose from ['lbfgs']"


@dataclass(frozen=True)
class Collections:
    numbers: list[float] = field(default_factory=list)
    words: Sequence[str] = ()
    by_element: dict[str, int] = field(default_factory=dict)
    bare: list = field(default_factory=list)


def test_lists_and_mappings_hold_what_they_say():
    values = {"numbers": [1, 2.5], "words": ["a"], "by_element": {"Cu": 3}, "bare": [1, "b"]}
    assert build(Collections, values) == Collections([1.0, 2.5], ("a",), {"Cu": 3}, [1, "b"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"numbers": [1, "x"]}, r"^numbers\[1\]: expected float, got 'x'"),
        ({"numbers": {"a": 1}}, "^numbers: expected a list, got"),
        ({"words": "abc"}, "^words: expected a list, got 'abc'"),
        ({"by_element": {"Cu": 1.5}}, "^by_element.Cu: expected int, got 1.5"),
    ],
)
def test_what_is_wrong_in_a_list_or_mapping_is_said(values, message):
    with pytest.raises(ValueError, match=message):
        build(Collections, values)


def test_a_type_that_no_option_can_have_is_said():
    @dataclass(frozen=True)
    class Strange:
        call: Callable[[int], int] = abs

    with pytest.raises(ValueError, match=r"^call: its type .* is none that an option can have"):
        build(Strange, {"call": 1})
