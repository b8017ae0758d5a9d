"""Potentials from their options and from their descriptions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from aiida_mlal.ml import parts
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.ensemble import Ensemble
from aiida_mlal.ml.models.sum import Sum
from aiida_mlal.ml.options import build


@dataclass(frozen=True)
class ModelOptions:
    """Which potential to train: an architecture, on a prior if one is given, how many times."""

    architecture: Mapping[str, Any]
    prior: Mapping[str, Any] | None
    ensemble: int

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "ModelOptions":
        """Read ``{"architecture": ..., "prior": {...}, "ensemble": n, **options}`` and check it.

        Raises
        ------
        ValueError
            For an unknown architecture or option, with the path to it.
        """
        values = dict(values)
        prior, ensemble = values.pop("prior", None), values.pop("ensemble", 1)
        if not isinstance(ensemble, int) or isinstance(ensemble, bool) or ensemble < 1:
            raise ValueError(
                f"model.ensemble: expected a number of members above 0, got {ensemble!r}"
            )
        for part, where in ((values, "model"), (prior, "model.prior")):
            if part is not None:
                _options(part, where)
        return cls(values, prior, ensemble)

    def build(self, elements: Sequence[str], seed: int) -> Potential:
        """Return the untrained potential; each member gets weights of its own from ``seed``."""
        members = [
            single(self.architecture, elements, seed + member) for member in range(self.ensemble)
        ]
        learner = members[0] if self.ensemble == 1 else Ensemble(members)
        if self.prior is None:
            return learner
        return Sum([single(self.prior, elements, seed), learner])


def single(values: Mapping[str, Any], elements: Sequence[str], seed: int) -> Potential:
    """Build one potential from ``{"architecture": ..., **options}``."""
    cls, options = _options(values, "model")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        potential: Potential = cls(elements, options)
    return potential


def restore(description: Mapping[str, Any]) -> Potential:
    """Build the potential that ``Potential.describe`` described, its weights not yet set."""
    cls: Any = parts.find("models", description["architecture"])
    potential: Potential = cls.restore(description)
    return potential


def _options(values: Mapping[str, Any], where: str) -> tuple[Any, Any]:
    if "architecture" not in values:
        raise ValueError(
            f"{where}: option 'architecture' is missing, choose from {parts.names('models')}"
        )
    try:
        cls: Any = parts.find("models", values["architecture"])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    options = {key: value for key, value in values.items() if key != "architecture"}
    return cls, build(cls.Options, options, where)
