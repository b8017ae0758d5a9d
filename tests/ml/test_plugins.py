import re
import traceback
from importlib.metadata import EntryPoint, entry_points
from typing import get_args

import pytest

from aiida_mlal.ml import plugins
from aiida_mlal.ml.errors import in_words
from aiida_mlal.ml.training.optimizers import LBFGS, Adam

GROUPS = get_args(plugins.Group)

STOPS = """
from dataclasses import dataclass, field
from typing import ClassVar

from aiida_mlal.ml.stops import Stop, Verdict


@dataclass(frozen=True)
class Foreign(Stop):
    size: int = 1
    sizes: list[int] = field(default_factory=list)
    bounds: ClassVar[bool] = True

    def judge(self, state):
        return Verdict("go on", "")


@dataclass(frozen=True)
class Picky(Foreign):
    def __post_init__(self):
        self.sizes["a"]


class Unjudging(Stop):
    pass


class Alone:
    pass


class Undecorated(Foreign):
    length: float = 1.0
    bounds: ClassVar[bool] = False


@dataclass(frozen=True)
class Unknown(Foreign):
    path: "Path" = None
"""

MODELS = """
from aiida_mlal.ml.models.base import Potential


class Optionless(Potential):
    atomic_energies = config = from_config = None


class Loose(Optionless):
    class Options:
        width = 1.0
"""

ENTRY_POINTS = """
[aiida_mlal.stops]
foreign = their_package.stops:Foreign
picky = their_package.stops:Picky
unjudging = their_package.stops:Unjudging
alone = their_package.stops:Alone
undecorated = their_package.stops:Undecorated
unknown = their_package.stops:Unknown
needy = their_package.needy:Foreign
renamed = their_package.stops:Foreigner
iterations = their_package.stops:Foreign

[aiida_mlal.models]
optionless = their_package.models:Optionless
loose = their_package.models:Loose
"""


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A package of somebody else, as ``pip`` leaves it."""
    package, metadata = tmp_path / "their_package", tmp_path / "their_package-1.0.dist-info"
    for folder in (package, metadata):
        folder.mkdir()
    (package / "__init__.py").touch()
    (package / "stops.py").write_text(STOPS)
    (package / "models.py").write_text(MODELS)
    (package / "needy.py").write_text("import a_package_that_is_not_there")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    plugins._installed.cache_clear()
    yield
    plugins._installed.cache_clear()
    plugins._load.cache_clear()


@pytest.mark.parametrize("group", GROUPS)
def test_all_parts_of_the_package_can_be_loaded(group):
    names = plugins.names(group)
    assert names
    assert names == sorted(names)
    for name in names:
        assert plugins.name_of(group, plugins.find(group, name)) == name


def test_makes_a_part_with_its_options():
    assert plugins.make("optimizers", {"name": "adam", "batch_size": 7}) == Adam(batch_size=7)
    assert plugins.make("optimizers", {"name": "lbfgs"}) == LBFGS()


def test_what_was_given_is_left_alone():
    values = {"name": "adam", "batch_size": 7}
    plugins.make("optimizers", values)
    assert values == {"name": "adam", "batch_size": 7}


def test_a_part_of_another_package_is_found(foreign):
    assert "foreign" in plugins.names("stops")
    made = plugins.make("stops", {"name": "foreign", "size": 2, "sizes": [1, 2]})
    assert (made.size, made.sizes) == (2, [1, 2])
    assert plugins.name_of("stops", type(made)) == "foreign"


@pytest.mark.parametrize(
    ("group", "name", "message"),
    [
        (
            "stops",
            "needy",
            "stop 'needy' (their_package.needy:Foreign of the package their-package) cannot be "
            "loaded: ModuleNotFoundError: No module named 'a_package_that_is_not_there'",
        ),
        ("stops", "renamed", "cannot be loaded: AttributeError: module 'their_package.stops' has"),
        ("stops", "alone", "is not derived from aiida_mlal.ml.stops.base.Stop"),
        ("stops", "unjudging", "lacks ['judge'], which each stop has"),
        ("stops", "undecorated", "has ['length'] that are no fields: decorate it with @dataclass"),
        ("stops", "unknown", "types that are not known when it runs: name 'Path' is not defined"),
        ("stops", "iterations", "two packages have a stop 'iterations': "),
        ("models", "optionless", "lacks the attribute 'Options'"),
        ("models", "loose", "has options that are no dataclass: decorate it with @dataclass"),
    ],
)
def test_what_is_wrong_with_a_part_of_another_package_is_said(foreign, group, name, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        plugins.find(group, name)
    assert "did you mean" not in str(caught.value)
    with pytest.raises(ValueError, match=f"^here: .*{re.escape(message)}"):
        plugins.make(group, {"name": name}, "here")


def test_wrong_options_of_another_package_are_told_as_ours(foreign):
    with pytest.raises(ValueError, match=r"^stop\[0\].sizes\[1\]: expected int, got 'two'"):
        plugins.make("stops", {"name": "foreign", "sizes": [1, "two"]}, "stop[0]")


def test_a_mistake_in_what_checks_options_names_the_part(foreign):
    message = r"stop\[2\]: stop 'picky' cannot be built: TypeError: list indices must be integers"
    with pytest.raises(ValueError, match=message):
        plugins.make("stops", {"name": "picky"}, "stop[2]")


@pytest.mark.parametrize("error", [ValueError("words"), MemoryError("words")])
def test_errors_in_words_are_left_alone(error):
    with pytest.raises(type(error), match=r"^words$"), plugins.named("optimizers", LBFGS()):
        raise error


def test_words_of_another_package_are_said_to_be_those_of_its_plugin(foreign):
    made = plugins.make("stops", {"name": "foreign"})
    for words in ("too short", "'foreign' is too short"):
        told = "^'foreign' is too short$" if "foreign" in words else "^stop 'foreign': too short$"
        with pytest.raises(ValueError, match=told), plugins.named("stops", made):
            raise ValueError(words)


def test_numerical_errors_tell_which_plugin_raised_them():
    """The innermost one, where plugins ask each other."""
    optimizer, other = LBFGS(), plugins.make("optimizers", {"name": "adam"})
    outer, inner = (plugins.named("optimizers", one, RuntimeError) for one in (other, optimizer))
    with pytest.raises(RuntimeError) as caught, outer, inner:
        raise RuntimeError("shapes do not fit")
    assert in_words(caught.value) == "optimizer 'lbfgs': RuntimeError: shapes do not fit"


def test_other_errors_name_the_part():
    words = "optimizer 'lbfgs' failed: ZeroDivisionError: division by zero"
    named = plugins.named("optimizers", LBFGS())
    with pytest.raises(plugins.PluginError, match=words) as caught, named:
        1 / 0  # noqa: B018
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError), plugins.named("models", None, *plugins.NUMERICAL):
        1 / 0  # noqa: B018


@pytest.mark.parametrize("error", [ValueError, RuntimeError])
def test_an_error_whose_text_no_log_can_hold_is_told_without_it(error):
    named = plugins.named("optimizers", LBFGS())
    with pytest.raises((ValueError, plugins.PluginError)) as caught, named:
        raise error("bad \x00 \ud800 text")
    told = "".join(traceback.format_exception(caught.value))
    assert r"bad \x00 \ud800 text" in told
    assert "\x00" not in told
    told.encode()


def test_a_broken_package_keeps_nobody_from_other_parts(foreign):
    usable = plugins.usable("stops")
    assert usable["foreign"].__module__ == "their_package.stops"
    assert {"labels", "size"} < set(usable)
    assert not {"needy", "alone", "unjudging", "iterations"} & set(usable)


def test_a_class_that_is_not_installed_goes_by_its_own_name():
    assert plugins.name_of("stops", LBFGS) == "LBFGS"


def test_every_group_has_a_base_that_its_parts_are_derived_from():
    assert set(plugins.BASES) == set(GROUPS)
    for group, base in plugins.BASES.items():
        assert EntryPoint("base", base, "").load()
        assert entry_points(group=f"aiida_mlal.{group}")


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
        plugins.make("optimizers", values, "training")


def test_without_a_place_the_part_is_named():
    with pytest.raises(ValueError, match=r"^optimizer 'adam': unknown option 'x'"):
        plugins.make("optimizers", {"name": "adam", "x": 1})


@pytest.mark.parametrize(
    ("group", "singular"), [("strategies", "strategy"), ("uncertainties", "uncertainty")]
)
def test_groups_are_named_in_the_singular(group, singular):
    with pytest.raises(ValueError, match=f"unknown {singular} 'x'"):
        plugins.find(group, "x")
