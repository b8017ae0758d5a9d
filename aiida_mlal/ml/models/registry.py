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
