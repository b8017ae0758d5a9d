"""The elements that potentials know."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from ase.data import atomic_numbers, chemical_symbols


class KnowsElements(Protocol):
    """Anything with elements, such as a potential."""

    elements: tuple[str, ...]


def by_atomic_number(elements: Sequence[str]) -> tuple[str, ...]:
    """Sort chemical symbols by atomic number; ``ValueError`` for unknown, equal or no symbols."""
    unknown = sorted(set(elements) - set(chemical_symbols[1:]))
    if unknown:
        raise ValueError(f"{unknown} are no chemical elements")
    if not elements or len(set(elements)) != len(elements):
        raise ValueError(f"expected one or more different elements, got {list(elements)}")
    return tuple(sorted(elements, key=atomic_numbers.__getitem__))


def common_elements(potentials: Sequence[KnowsElements]) -> tuple[str, ...]:
    """Return the elements that potentials have in common; ``ValueError`` if they differ."""
    different = sorted({potential.elements for potential in potentials})
    if len(different) != 1:
        raise ValueError(
            "expected one or more potentials of the same elements, got "
            f"{list(map(list, different))}"
        )
    return different[0]


def check_known(known: Sequence[str], elements: Iterable[str]) -> None:
    """Raise ``ValueError`` for elements of structures that a potential doesn't know."""
    strange = sorted(set(elements) - set(known))
    if not strange:
        return
    problem = f"the potential knows {list(known)}, the structures have {strange}"
    if list(known) == chemical_symbols[1 : 1 + len(known)]:
        problem += "; species of a file that does not name them count as H, He, ...: say which "
        problem += "elements they are"
    raise ValueError(problem)
