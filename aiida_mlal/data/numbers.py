"""Numbers as nodes."""

from typing import Any

from aiida.orm import Float, to_aiida_type


def to_float(value: Any) -> Any:
    """Make a node of a number: AiiDA makes an ``Int`` of 1, which no port of a ``Float`` takes."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Float(value)
    return to_aiida_type(value)
