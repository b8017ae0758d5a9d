"""What every feature map is."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.watching import in_parts

if TYPE_CHECKING:
    from torch import Tensor

    from aiida_mlal.ml.graph import Graph
    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.models.factory import ModelOptions


@dataclass(frozen=True)
class FeatureMap(ABC):
    """Describes structures by rows of numbers: sums over their atoms.

    A subclass is a frozen dataclass, its fields the options in JSON. It does not import torch
    when it is loaded.

    Attributes
    ----------
    per_atom
        Whether rows are divided by the number of atoms, so that size is no difference.
    """

    per_atom: bool = False

    batch: ClassVar[int] = 2000
    """Of how many atoms features are computed at a time."""

    def check_model(self, model: "ModelOptions") -> None:  # noqa: B027
        """Raise ``ValueError`` for a model whose potentials have no such features."""

    @abstractmethod
    def sums(self, potential: "Potential", graph: "Graph") -> "Tensor":
        """Return the row of each structure of a graph, summed over its atoms.

        Raises
        ------
        ValueError
            If the potential has no such features.
        """

    def rows(
        self, potential: "Potential", structures: Configurations
    ) -> Iterator[Float[np.ndarray, "structures features"]]:
        """Return the rows of structures in parts, so that not all are in memory at once.

        Raises
        ------
        ValueError
            If some are not finite.
        """
        for part in in_parts(structures.slices(self.batch), "structures with features"):
            some = structures[part]
            values = self.sums(potential, potential.graph(some)).detach().cpu().double().numpy()
            if self.per_atom:
                values = values / np.maximum(some.counts, 1)[:, None]
            strange = np.flatnonzero(~np.isfinite(values).all(axis=1))
            if len(strange):
                raise ValueError(
                    f"features of {len(strange)} structures are not finite, the first of them is "
                    f"of {some[strange[0]].numbers.size} atoms with the key "
                    f"{some[strange[0]].keys[0]!r}"
                )
            yield values

    def matrix(
        self, potential: "Potential", structures: Configurations
    ) -> Float[np.ndarray, "structures features"]:
        """Return all rows of structures."""
        parts = list(self.rows(potential, structures))
        return np.concatenate(parts) if parts else np.zeros((0, 0))
