"""Numbers, durations and options as a person reads them."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def digits(value: float | None, n: int = 3) -> str:
    """Return a number with ``n`` significant digits, or a dash."""
    return "–" if value is None or not np.isfinite(value) else f"{value:.{n}g}"


def seconds(value: float | None) -> str:
    """Return a duration that a person can read."""
    if value is None:
        return "–"
    if value < 100:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def plain(value: Any) -> Any:
    """Return inputs as JSON can have them: nodes by their values, or by what they are called."""
    from aiida.orm import AbstractCode, Dict, KpointsData, List, Node

    from aiida_mlal.workflows.labelling.inputs import describe_kpoints

    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if not isinstance(value, Node):
        return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
    if isinstance(value, Dict):
        return value.get_dict()
    if isinstance(value, List):
        return value.get_list()
    if isinstance(value, AbstractCode):
        return value.full_label
    if isinstance(value, KpointsData):
        return describe_kpoints(value)
    for name in ("value", "filename"):
        if hasattr(value, name):
            return getattr(value, name)
    known = f" {value.pk}" if value.is_stored else ""
    return f"{type(value).__name__}{known}"


def flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Return nested options as pairs of a path and a value in words; empty ones are left out."""
    if isinstance(value, Mapping):
        return [
            pair for key, one in value.items() for pair in flat(one, f"{name}.{key}".strip("."))
        ]
    if isinstance(value, (list, tuple)) and any(isinstance(one, Mapping) for one in value):
        return [pair for i, one in enumerate(value) for pair in flat(one, f"{name}.{i}")]
    if value is None or value == "" or value == []:
        return []
    if isinstance(value, (list, tuple)):
        return [(name, ", ".join(_word(one) for one in value))]
    return [(name, _word(value))]


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
