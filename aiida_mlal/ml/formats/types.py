"""Files that number the types of their atoms: which element each type is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ase.data import chemical_symbols


@dataclass(frozen=True)
class Types:
    """The map from types to elements.

    Attributes
    ----------
    elements
        Chemical symbols of the types, in their order.
    source
        What says so: the ``file``, its ``masses``, its ``reader``, or what the file goes with
        (``default``). ``nobody``: types count as H, He, ..., and these only tell them apart.
    first
        The number of the first type: 0 in files of MLIP, 1 in those of LAMMPS.
    """

    elements: tuple[str, ...]
    source: Literal["file", "masses", "reader", "default", "nobody"]
    first: int = 0

    @classmethod
    def of(
        cls,
        elements: Sequence[str] | None,
        default: Sequence[str] | None,
        atomic_numbers: Iterable[int],
        first: int = 0,
    ) -> "Types":
        """Map the types of a file that doesn't name them.

        A ``default`` of H, He, ... in this order is as good as none.

        Parameters
        ----------
        elements, default
            What its reader says, and what it goes with.
        atomic_numbers
            Of the atoms, where types count as H, He, ...
        """
        if elements is not None:
            return cls(tuple(elements), "reader", first)
        if default is not None and list(default) != chemical_symbols[1 : len(default) + 1]:
            return cls(tuple(default), "default", first)
        counted = chemical_symbols[1 : max(atomic_numbers, default=0) + 1]
        return cls(tuple(counted), "nobody", first)

    @property
    def named(self) -> bool:
        """Whether the elements are those of the atoms."""
        return self.source != "nobody"

    def labels(self, atomic_numbers: Iterable[int]) -> list[str]:
        """Name the species of atoms: by element, or ``type 0`` where nobody says which it is."""
        numbers = sorted(set(atomic_numbers))
        if self.named:
            return [chemical_symbols[z] for z in numbers]
        return [f"type {z - 1 + self.first}" for z in numbers]


def check_named(named: Iterable[str], elements: Sequence[str] | None) -> None:
    """Refuse elements that a file names where others are given; None: all are right.

    Raises
    ------
    ValueError
        Which names those that are not among the given ones.
    """
    others = sorted(set(named) - set(elements)) if elements else []
    if others:
        raise ValueError(f"it has {others} by its own words, got the elements {elements}")
