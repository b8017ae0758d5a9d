"""Arrays that cannot be changed, and arrays of texts."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from aiida_mlal.ml.text import UNHOLDABLE, holdable

LONGEST_TEXTS = 2**26
"""Characters of all texts of a key of ``info``, each as long as the longest: 256 MiB."""


def texts(values: Sequence[Any], name: str) -> np.ndarray:
    """Return texts as an array, each entry of which is as long as the longest.

    Raises
    ------
    ValueError
        If one is so long that the array would be out of proportion.
    """
    words = [holdable(str(value)) for value in values]
    check_width(max(map(len, words), default=0), len(words), name)
    return np.array(words, dtype=str)


def check_width(longest: int, n: int, name: str) -> None:
    """Raise ``ValueError`` for texts of this length that are more than an array may have."""
    name = name.removeprefix("info.")
    if longest * n > LONGEST_TEXTS:
        raise ValueError(
            f"info[{name!r}] has a text of {longest} characters, {n} structures can have texts of "
            f"{LONGEST_TEXTS // n}"
        )


def checked(values: Any, name: str = "") -> np.ndarray:
    """Return numbers or texts as an array that nobody can change; ``ValueError`` for others."""
    array = as_array(values, name)
    if array.dtype.kind not in "biufU":
        raise ValueError(f"expected numbers or strings, got {array.dtype}")
    if array.dtype.kind == "U" and UNHOLDABLE.search("".join(array.ravel().tolist())):
        array = texts(array.ravel().tolist(), name).reshape(array.shape)
    return frozen(array)


def as_array(values: Any, name: str) -> np.ndarray:
    """Return numbers or texts as an array."""
    if isinstance(values, (list, tuple)) and any(isinstance(v, str) for v in values):
        return texts(values, name)
    return np.asarray(values)


def says_nothing(value: Any) -> bool:
    """Whether a value only fills the place of one that a structure lacks."""
    if isinstance(value, str):
        return not value
    return np.asarray(value).dtype.kind == "f" and bool(np.isnan(value).all())


def is_text(array: np.ndarray) -> bool:
    """Whether an array has texts, which files keep in their header."""
    return array.dtype.kind == "U"


def frozen(values: Any, dtype: type | None = None) -> np.ndarray:
    """Return a read-only array, without a copy if it is read-only already."""
    array = np.asarray(values, dtype)
    if array is not values or not _is_frozen(array):
        array = np.array(array)
        array.setflags(write=False)
    return array


def _is_frozen(array: np.ndarray) -> bool:
    return not any(one.flags.writeable for one in with_bases(array))


def with_bases(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yield an array and those that it is a view of."""
    one: Any = array
    while isinstance(one, np.ndarray):
        yield one
        one = one.base
