"""Potentials on disk: one safetensors file with a JSON description. Reading runs no code of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.registry import restore
from aiida_mlal.ml.tensorfile import pack, unpack

FORMAT = "aiida-mlal/potential"
VERSION = 1
_DTYPES = ["float32", "float64"]
UNITS = {"energy": "eV", "length": "Å", "stress": "eV/Å^3"}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A potential, and what is kept with it.

    Attributes
    ----------
    potential
        Ready to predict.
    training
        How it was trained: options, seed, errors, numbers of structures (JSON values).
    extras
        Tensors that an uncertainty needs, such as an active set or an information matrix; beside
        those that the potential carries already.
    """

    potential: Potential
    training: Mapping[str, Any] = field(default_factory=dict)
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the content of the file: the same checkpoint always gives the same bytes."""
        potential = self.potential
        header = {
            "version": VERSION,
            "potential": potential.describe(),
            "elements": potential.elements,
            "cutoff": potential.cutoff,
            "dtype": str(potential.dtype).removeprefix("torch."),
            "parameters": sum(p.numel() for p in potential.parameters()),
            "units": UNITS,
            "training": dict(self.training),
        }
        tensors = {f"weights.{key}": value for key, value in potential.state_dict().items()}
        extras = {**potential.extras, **self.extras}
        tensors |= {f"extras.{key}": value for key, value in extras.items()}
        arrays = {key: value.detach().cpu().numpy() for key, value in tensors.items()}
        return pack(FORMAT, header, arrays)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Checkpoint":
        """Read what ``to_bytes`` wrote.

        Raises
        ------
        ValueError
            For a pickle, a damaged or foreign file, one of a newer format version, and one whose
            weights do not fit its description.
        """
        header, arrays = unpack(content, FORMAT, VERSION)
        missing = sorted({"potential", "dtype", "training"} - set(header))
        if missing:
            raise ValueError(f"the description in the file lacks {missing}")
        if header["dtype"] not in _DTYPES:
            raise ValueError(f"unknown type of weights {header['dtype']!r}, choose from {_DTYPES}")
        tensors = {key: torch.tensor(array) for key, array in arrays.items()}
        potential = restore(header["potential"]).to(getattr(torch, header["dtype"]))
        weights = {
            key.removeprefix("weights."): value
            for key, value in tensors.items()
            if key.startswith("weights.")
        }
        try:
            potential.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f"the weights do not fit the description: {error}") from error
        if not all(bool(torch.isfinite(w).all()) for w in weights.values()):
            raise ValueError("the file holds weights that are not finite")
        extras = {
            key.removeprefix("extras."): value
            for key, value in tensors.items()
            if key.startswith("extras.")
        }
        potential.extras = extras
        return cls(potential, header["training"], extras)

    def save(self, path: str | Path) -> None:
        """Write the checkpoint to a file."""
        Path(path).write_bytes(self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> "Checkpoint":
        """Read a file written by ``save``; ``ValueError`` where it is something else."""
        try:
            return cls.from_bytes(Path(path).read_bytes())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
