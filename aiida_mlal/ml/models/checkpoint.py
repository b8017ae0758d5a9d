"""Potentials on disk: one safetensors file with a JSON description. Reading runs no code of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from aiida_mlal.ml.formats.content import read_bytes
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.registry import from_config
from aiida_mlal.ml.options import within
from aiida_mlal.ml.tensorfile import pack, unpack
from aiida_mlal.ml.wholefile import write_whole

FORMAT = "aiida-mlal/potential"
VERSION = 1
"""Of the format of files; others are refused."""
_DTYPES = ["float32", "float64"]
SMALL = 10**6
"""Numbers that any potential may make room for before its weights are looked at."""
UNITS = {"energy": "eV", "length": "Å", "stress": "eV/Å^3"}


def mark_of(potential: Potential) -> str:
    """Hash all that predictions of a potential, and their uncertainty, depend on: 16 digits.

    What is not only computed here, such as a calculator of ASE, is known by its options.
    """
    return sha256(Checkpoint(potential).to_bytes()).hexdigest()[:16]


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
            "potential": potential.config(),
            "elements": potential.elements,
            "cutoff": potential.cutoff,
            "reference_energies": potential.reference_energies(),
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
        with _AtMost(SMALL + 4 * sum(value.numel() for value in tensors.values())):
            potential = from_config(header["potential"]).to(getattr(torch, header["dtype"]))
        weights = {
            key.removeprefix("weights."): value
            for key, value in tensors.items()
            if key.startswith("weights.")
        }
        try:
            potential.load_state_dict(weights)
        except RuntimeError as error:
            said = str(error).partition("\n\t")[2].splitlines()[:1]
            raise ValueError(f"the weights do not fit the description: {''.join(said)}") from error
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
        write_whole(path, self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> "Checkpoint":
        """Read a file written by ``save``; ``ValueError`` where it is something else."""
        with within(str(path)):
            return cls.from_bytes(read_bytes(path))


class _AtMost(TorchFunctionMode):
    """Refuses to make room for more numbers, all together, than there can be weights for."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most, self._made = most, 0

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in _MAKERS:
            shape = kwargs.get("size", args[:1] if func is torch.full else args)
            sizes = [n for part in shape for n in (part if isinstance(part, Iterable) else [part])]
            self._made += prod(n for n in sizes if isinstance(n, int))
            if self._made > self._most:
                raise ValueError(
                    f"the potential that is described has more than {self._most} numbers, many "
                    "times those in the file"
                )
        return func(*args, **kwargs)


_MAKERS = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full)
"""Functions of torch that allocate tensors of a given shape."""
