"""Potentials from the descriptions that they give of themselves."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiida_mlal.ml import plugins

if TYPE_CHECKING:
    from aiida_mlal.ml.models.base import Potential


def from_config(config: Mapping[str, Any]) -> "Potential":
    """Build the potential that ``Potential.config`` is of, its weights not yet set.

    Raises
    ------
    ValueError
        If the architecture is unknown, or cannot be built from this configuration.
    """
    architecture = config.get("architecture")
    cls: Any = plugins.find("models", architecture)  # type: ignore[arg-type]
    try:
        potential: Potential = cls.from_config(config)
    except (KeyError, TypeError) as error:
        raise ValueError(f"the configuration of a {architecture!r} lacks {error}") from error
    return potential


def difference(wanted: Any, given: Any, where: str = "model") -> str:
    """Say in words the first difference of two configurations; empty if they are equal."""
    if isinstance(wanted, Mapping) and isinstance(given, Mapping):
        keys = sorted({*wanted, *given})
        pairs = [(wanted.get(key), given.get(key), f"{where}.{key}") for key in keys]
    elif isinstance(wanted, (list, tuple)) and isinstance(given, (list, tuple)):
        if len(wanted) != len(given):
            return f"{where} has {len(wanted)} parts, in the file {len(given)}"
        pairs = [(w, f, f"{where}[{i}]") for i, (w, f) in enumerate(zip(wanted, given))]
    else:
        return "" if wanted == given else f"{where} is {wanted!r}, in the file {given!r}"
    return next(filter(None, (difference(*pair) for pair in pairs)), "")
