"""Validators of numbers among the inputs of processes."""

from typing import Any

from aiida.orm import Float, Int


def at_least_one(node: Int | None, _: Any) -> str | None:
    """Validate a number of things."""
    if node is not None and node.value < 1:
        return f"expected a number above 0, got {node.value}"
    return None


def above_zero(node: Float | None, _: Any) -> str | None:
    """Validate a threshold."""
    if node is not None and not node.value > 0:
        return f"expected a number above 0, got {node.value:g}"
    return None


def share(node: Float | None, _: Any) -> str | None:
    """Validate a share of a whole."""
    if node is not None and not 0 <= node.value <= 1:
        return f"expected a share between 0 and 1, got {node.value}"
    return None
