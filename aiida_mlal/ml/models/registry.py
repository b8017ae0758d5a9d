"""Potentials from the descriptions that they give of themselves."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiida_mlal.ml import plugins

if TYPE_CHECKING:
    from aiida_mlal.ml.models.base import Potential


def restore(description: Mapping[str, Any]) -> "Potential":
    """Build the potential that ``Potential.describe`` described, its weights not yet set.

    Raises
    ------
    ValueError
        If the architecture is unknown, or cannot be built from this description.
    """
    architecture = description.get("architecture")
    cls: Any = plugins.find("models", architecture)  # type: ignore[arg-type]
    try:
        potential: Potential = cls.restore(description)
    except (KeyError, TypeError) as error:
        raise ValueError(f"the description of a {architecture!r} lacks {error}") from error
    return potential
