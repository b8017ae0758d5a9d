"""Potentials that their elements and options build."""

from collections.abc import Mapping
from typing import Any

from aiida_mlal.ml import plugins
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.options import as_dict, build


class OfOptions(Potential):
    """A potential that ``cls(elements, options)`` builds, its weights not yet set.

    Attributes
    ----------
    options
        Of the class ``Options``.
    """

    options: Any

    def config(self) -> dict[str, Any]:
        """Return elements and options."""
        return {
            "architecture": plugins.name_of("models", type(self)),
            "elements": list(self.elements),
            "options": as_dict(self.options),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Potential:
        """Build the potential of a configuration."""
        return cls(config["elements"], build(cls.Options, config["options"]))
