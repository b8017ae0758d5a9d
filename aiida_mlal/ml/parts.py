"""Exchangeable parts, found by name: models, strategies, features, simulations, stops.

Parts are entry points, those of this package like those of a user's, so that adding one means
writing a class and one line of packaging metadata.
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from aiida_mlal.ml.options import build, suggest

Group = Literal[
    "models",
    "strategies",
    "features",
    "simulations",
    "stops",
    "optimizers",
    "tasks",
    "uncertainties",
]


def names(group: Group) -> list[str]:
    """Return the names of all installed parts of a group."""
    return sorted(_installed(group))


def find(group: Group, name: str) -> type:
    """Return the class of the part called ``name``; an unknown name raises ``ValueError``."""
    installed = _installed(group)
    if not isinstance(name, str) or name not in installed:
        raise ValueError(f"unknown {_singular(group)} {name!r}{suggest(name, installed)}")
    part: type = installed[name].load()
    return part


def name_of(group: Group, cls: type) -> str:
    """Return the name that a class is installed under, or that of the class if it is not."""
    for name, point in _installed(group).items():
        if point.value == f"{cls.__module__}:{cls.__qualname__}":
            return name
    return cls.__name__


def make(group: Group, values: Mapping[str, Any], where: str = "") -> Any:
    """Build a part that is its own options dataclass from ``{"name": ..., **options}``."""
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
    return build(cls, options, where or f"{_singular(group)} {values['name']!r}")


@cache
def _installed(group: Group) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"aiida_mlal.{group}")}


def _singular(group: Group) -> str:
    return group[:-3] + "y" if group.endswith("ies") else group.removesuffix("s")


def _article(group: Group) -> str:
    singular = _singular(group)
    return f"an {singular}" if singular[0] in "aeiou" else f"a {singular}"
