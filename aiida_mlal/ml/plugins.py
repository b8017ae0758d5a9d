"""Plugins, found by name: models, strategies, features, simulations, stops.

Plugins are entry points, those of this package like those of a user's, so that adding one means
writing a class and one line of packaging metadata.
"""

import dataclasses
import inspect
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from aiida_mlal.ml.errors import attribute, cause, in_words
from aiida_mlal.ml.options import build, suggest
from aiida_mlal.ml.text import message, said

Group = Literal[
    "models",
    "strategies",
    "features",
    "simulations",
    "starts",
    "stops",
    "optimizers",
    "properties",
    "tasks",
    "uncertainties",
]

BASES: Mapping[Group, str] = {
    "models": "aiida_mlal.ml.models.base:Potential",
    "strategies": "aiida_mlal.ml.selection.base:Strategy",
    "features": "aiida_mlal.ml.features.base:FeatureMap",
    "simulations": "aiida_mlal.ml.simulation.base:Simulation",
    "starts": "aiida_mlal.ml.starts:Start",
    "stops": "aiida_mlal.ml.stops.base:Stop",
    "optimizers": "aiida_mlal.ml.training.optimizers:Optimizer",
    "properties": "aiida_mlal.ml.properties.base:Property",
    "tasks": "aiida_mlal.ml.tasks.base:Task",
    "uncertainties": "aiida_mlal.ml.uncertainty.base:Uncertainty",
}
"""What the plugins of a group are derived from: the interface that the rest relies on."""


def names(group: Group) -> list[str]:
    """Return the names of all installed plugins of a group."""
    return sorted(_installed(group))


def find(group: Group, name: str) -> type:
    """Return the class of the plugin called ``name``.

    Raises
    ------
    ValueError
        For an unknown name, a name that two packages claim, a plugin that cannot be imported, and
        one that lacks something of the interface of its group.
    """
    installed = _installed(group)
    if not isinstance(name, str) or name not in installed:
        raise ValueError(f"unknown {singular(group)} {name!r}{suggest(name, installed)}")
    points = installed[name]
    if len(points) > 1:
        claims = " and ".join(location(point) for point in points)
        raise ValueError(f"two packages have {_article(group)} {name!r}: {claims}")
    return _load(group, points[0])


def usable(group: Group) -> dict[str, Any]:
    """Return the classes of all plugins of a group by name, without those that ``find`` refuses."""
    classes = {}
    for name in names(group):
        try:
            classes[name] = find(group, name)
        except ValueError:  # whoever asks for it by name is told
            continue
    return classes


def name_of(group: Group, cls: type) -> str:
    """Return the name that a class is installed under, or that of the class if it is not."""
    for name, points in _installed(group).items():
        if any(point.value == f"{cls.__module__}:{cls.__qualname__}" for point in points):
            return name
    return cls.__name__


def make(group: Group, values: Mapping[str, Any], where: str = "") -> Any:
    """Build a plugin that is its own options dataclass from ``{"name": ..., **options}``."""
    prefix = f"{where}: " if where else ""
    if not isinstance(values, Mapping) or "name" not in values:
        raise ValueError(
            f"{prefix}expected {_article(group)} as {{'name': ...}} with its options, "
            f"got {values!r}; choose a name from {names(group)}"
        )
    options = {key: value for key, value in values.items() if key != "name"}
    try:
        cls = find(group, values["name"])
    except ValueError as error:
        raise ValueError(f"{prefix}{error}") from error
    what = f"{singular(group)} {values['name']!r}"
    try:
        return build(cls, options, where or what)
    except ValueError:
        raise
    except Exception as error:  # of a class that anybody may have written
        raise ValueError(f"{prefix}{what} cannot be built: {in_words(error)}") from cause(error)


class PluginError(Exception):
    """A plugin raised what no plugin should; the message names the plugin."""


NUMERICAL = (ArithmeticError, RuntimeError)
"""What a plugin may raise, beside ``ValueError``, where numbers grow beyond bounds."""


@contextmanager
def named(group: Group, plugin: object, *passing: type[Exception]) -> Iterator[None]:
    """Name a plugin in whatever it raises by mistake, as a ``PluginError``.

    Errors of memory, ``ValueError``, and those of the types ``passing`` are none. Sentences of a
    ``ValueError`` begin with the plugin where it is of another package and does not name itself;
    on errors of the types ``passing`` it is noted (see ``errors.attribute``).
    """
    try:
        yield
    except (MemoryError, PluginError):
        raise
    except Exception as error:
        name = name_of(group, type(plugin))
        what = f"{singular(group)} {name!r}"
        if isinstance(error, ValueError):
            if not (_is_ours(plugin) or name in said(error)):
                raise ValueError(f"{what}: {message(error)}") from cause(error)
            if cause(error) is None:
                raise ValueError(message(error)) from None
            raise
        if isinstance(error, passing):
            attribute(error, what)
            raise
        if "OutOfMemory" in type(error).__name__:  # those of torch
            raise
        raise PluginError(f"{what} failed: {in_words(error)}") from cause(error)


def _is_ours(plugin: object) -> bool:
    return type(plugin).__module__.partition(".")[0] == __name__.partition(".")[0]


def load(point: EntryPoint, what: str) -> Any:
    """Import the object of an entry point; whatever that raises becomes a ``ValueError``."""
    try:
        return point.load()
    except Exception as error:  # of a module that anybody may have written
        raise ValueError(f"{what} cannot be loaded: {in_words(error)}") from cause(error)


def location(point: EntryPoint) -> str:
    """Name the object of an entry point, and the package that it comes with."""
    return f"{point.value} of the package {point.dist.name}" if point.dist else point.value


@cache
def _installed(group: Group) -> dict[str, list[EntryPoint]]:
    """Return the entry points of each name; more than one where packages are at odds."""
    by_value: dict[str, dict[str, EntryPoint]] = {}
    for point in entry_points(group=f"aiida_mlal.{group}"):
        by_value.setdefault(point.name, {}).setdefault(point.value, point)
    return {name: list(points.values()) for name, points in by_value.items()}


@cache
def _load(group: Group, point: EntryPoint) -> type:
    what = f"{singular(group)} {point.name!r} ({location(point)})"
    plugin: type = load(point, what)
    problem = _misfit(group, plugin)
    if problem:
        raise ValueError(f"{what} {problem}")
    return plugin


def _misfit(group: Group, plugin: Any) -> str:
    """Say what a class lacks that a plugin of this group must have; empty if nothing."""
    base: type = EntryPoint("base", BASES[group], "").load()
    if not (isinstance(plugin, type) and issubclass(plugin, base)):
        return f"is not derived from {base.__module__}.{base.__qualname__}"
    if inspect.isabstract(plugin):
        missing = sorted(getattr(plugin, "__abstractmethods__", ()))
        return f"lacks {missing}, which each {singular(group)} has"
    if group != "models":
        return _unusable(plugin)
    options: Any = getattr(plugin, "Options", Any)
    if options is Any:
        return "lacks the attribute 'Options', the dataclass of its options"
    return "" if options is None else _unusable(options)


def _unusable(options: Any) -> str:
    """Say why a class cannot be built from JSON; empty if it can."""
    advice = "decorate it with @dataclass(frozen=True), its fields are its options"
    if not dataclasses.is_dataclass(options):
        return f"has options that are no dataclass: {advice}"
    try:
        hints = typing.get_type_hints(options)
    except NameError as error:
        return f"has options of types that are not known when it runs: {error}"
    own = inspect.get_annotations(typing.cast(type, options))
    known = {field.name for field in dataclasses.fields(options)}
    bare = [name for name in own if name not in known and not _of_class(hints[name])]
    return f"has {bare} that are no fields: {advice}" if bare else ""


def _of_class(hint: Any) -> bool:
    return hint is typing.ClassVar or typing.get_origin(hint) is typing.ClassVar


def singular(group: Group) -> str:
    """Return the noun for a plugin of a group, such as ``strategy``."""
    return group[:-3] + "y" if group.endswith("ies") else group.removesuffix("s")


def _article(group: Group) -> str:
    name = singular(group)
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"
