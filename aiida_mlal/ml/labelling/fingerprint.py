"""What made a label, as a short word: equal exactly where energies fit together."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any


def fingerprint(method: Mapping[str, Any], version: Any = None) -> str:
    """Return a hash of a method and one of the version of the code that followed it.

    The first is known before anything is computed, so that methods can be compared in time.
    Numbers count by their value: 14 is 14.0.
    """
    return f"{_hash(method, 16)}-{_hash(version, 8)}"


def method_of(mark: str) -> str:
    """Return the part of a fingerprint that is the method's."""
    return mark.partition("-")[0]


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
