"""A trained potential as a node."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from aiida.orm.pydantic import OrmMetadataField

from aiida_mlal.data.content import ContentData
from aiida_mlal.ml.formats.content import read_bytes
from aiida_mlal.ml.formats.table import ALMTP, MTP, known
from aiida_mlal.ml.options import within
from aiida_mlal.ml.tensorfile import unpack

if TYPE_CHECKING:
    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.models.checkpoint import Checkpoint

FORMAT, VERSION = "aiida-mlal/potential", 1  # as in ml.models.checkpoint, which imports torch


class PotentialData(ContentData):
    """An interatomic potential: weights and description in one safetensors file, never a pickle.

    Parameters
    ----------
    content
        The bytes of the file, as ``Checkpoint.to_bytes`` returns them.
    """

    FILE: ClassVar[str] = "potential.safetensors"

    class AttributesModel(ContentData.AttributesModel):
        """Attributes that can be queried."""

        architecture: str = OrmMetadataField(description="Outermost part", read_only=True)
        architectures: list[str] = OrmMetadataField(
            description="Parts that compute something", read_only=True
        )
        cutoff: float = OrmMetadataField(description="Cutoff in Å", read_only=True)
        elements: list[str] = OrmMetadataField(description="Chemical symbols", read_only=True)
        dtype: str = OrmMetadataField(description="Of the weights", read_only=True)
        parameters: int = OrmMetadataField(description="Number of weights", read_only=True)
        units: dict[str, str] = OrmMetadataField(description="Units", read_only=True)
        training: dict[str, Any] = OrmMetadataField(
            description="How it was trained", read_only=True
        )

    @classmethod
    def from_file(cls, path: str | Path, elements: Sequence[str] | None = None) -> "PotentialData":
        """Return the node of a file of this package, or of moment tensor potentials of MLIP.

        Parameters
        ----------
        elements
            Chemical symbols of the types of a file of MLIP, which does not name them.

        Raises
        ------
        ValueError
            If the file is something else.
        """
        path = Path(path)
        with within(str(path)):
            if known(path).name in (MTP, ALMTP):
                from aiida_mlal.ml.formats.potentials import load

                return cls.from_potential(load(path, elements))
            return cls(read_bytes(path))

    @classmethod
    def from_potential(
        cls, potential: "Potential", training: Mapping[str, Any] | None = None
    ) -> "PotentialData":
        """Return the node of a potential and of what is to be known about its training."""
        from aiida_mlal.ml.models.checkpoint import Checkpoint

        return cls(Checkpoint(potential, training or {}).to_bytes())

    def load(self) -> "Potential":
        """Return the potential, ready to predict."""
        return self.checkpoint().potential

    def checkpoint(self) -> "Checkpoint":
        """Return the potential and what is kept with it."""
        from aiida_mlal.ml.models.checkpoint import Checkpoint  # torch is slow to import

        return Checkpoint.from_bytes(self.content)

    @property
    def elements(self) -> list[str]:
        """Chemical symbols of the elements that the potential knows."""
        elements: list[str] = self.base.attributes.get("elements")
        return elements

    @property
    def cutoff(self) -> float:
        """Distance in Å beyond which atoms do not interact."""
        return float(self.base.attributes.get("cutoff"))

    def get_description(self) -> str:
        """Return a line for lists of nodes."""
        attributes = self.base.attributes
        architecture = " + ".join(attributes.get("architectures"))
        return f"{architecture} of {'-'.join(self.elements)}, cutoff {self.cutoff:g} Å"

    def _prepare_safetensors(self, main_file_name: str = "") -> tuple[bytes, dict[str, bytes]]:
        return self.content, {}

    def _prepare_almtp(self, main_file_name: str = "") -> tuple[bytes, dict[str, bytes]]:
        from aiida_mlal.ml.formats.potentials import save

        with TemporaryDirectory() as folder:
            path = Path(folder) / "potential.almtp"
            save(self.load(), path)
            return path.read_bytes(), {}

    @classmethod
    def _summarise(cls, content: bytes) -> Mapping[str, Any]:
        header, arrays = unpack(content, FORMAT, VERSION)
        for name, weights in arrays.items():
            if name.startswith("extras."):  # of a measure, which knows what it leaves open
                continue
            if weights.dtype.kind == "f" and not np.isfinite(weights).all():
                raise ValueError(f"the file holds weights that are not finite, in {name!r}")
        description = header["potential"]
        return {
            "architecture": description["architecture"],
            "architectures": sorted(set(_architectures(description))),
            "elements": header["elements"],
            "cutoff": header["cutoff"],
            "dtype": header["dtype"],
            "parameters": header["parameters"],
            "units": header["units"],
            "training": header["training"],
            "version": header["version"],
        }


def _architectures(description: Any) -> Iterator[str]:
    """Yield the names of the parts that compute something, at any depth."""
    if isinstance(description, Mapping):
        name = description.get("architecture")
        if isinstance(name, str) and name not in ("sum", "ensemble"):
            yield name
        for value in description.values():
            yield from _architectures(value)
    elif isinstance(description, (list, tuple)):
        for value in description:
            yield from _architectures(value)
