"""Fingerprints of methods: labels with equal ones can be learned from together."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any


@dataclass(frozen=True)
class Method:
    """The method of labels: all that determines them, known before anything is computed.

    Attributes
    ----------
    common
        What is the same for all structures, such as code and cutoffs.
    elements
        What decides only the labels of structures with an element, by its symbol, such as
        its pseudopotential.
    """

    common: Mapping[str, Any]
    elements: Mapping[str, Any] = field(default_factory=dict)

    def fingerprint(self, version: Any = None, elements: Collection[str] | None = None) -> str:
        """Return the fingerprint of labels: hashes of the method, of the version and by element.

        Numbers count by their value: 14 is 14.0.

        Parameters
        ----------
        version
            Of the code that computed the labels; it is not known before.
        elements
            Those of the structure that is labelled; all by default.
        """
        chosen = sorted(self.elements if elements is None else set(elements) & set(self.elements))
        hashes = [f"{one}:{_hash(self.elements[one], 8)}" for one in chosen]
        return "-".join([_hash(self.common, 16), _hash(version, 8), *hashes])


def fit_together(fingerprints: Iterable[str], versions: bool = True) -> bool:
    """Whether labels can be learned from together.

    They can where the method and the version are the same, and what belongs to an element is the
    same in all labels that have it.

    Parameters
    ----------
    versions
        Whether the versions count.
    """
    heads: set[tuple[str, ...]] = set()
    elements: set[tuple[str, str]] = set()
    for mark in fingerprints:
        head = [part for part in mark.split("-") if ":" not in part]
        heads.add(tuple(head if versions else head[:1]))
        for part in mark.split("-")[len(head) :]:
            element, _, digest = part.partition(":")
            elements.add((element, digest))
    return len(heads) < 2 and len({element for element, _ in elements}) == len(elements)


def _hash(value: Any, length: int) -> str:
    text = json.dumps(_canonical(value), sort_keys=True, default=str)
    return sha256(text.encode()).hexdigest()[:length]


def _canonical(value: Any) -> Any:
    """Return JSON with whole numbers as floats."""
    if isinstance(value, Mapping):
        return {str(key): _canonical(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value
