"""Arguments that several commands take."""

from collections.abc import Callable
from typing import Any

import click
from aiida.cmdline.params.types import ProcessParamType


def campaign_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Take the campaign, by PK, UUID or label."""
    return click.argument("campaign", type=ProcessParamType())(function)


def parse_indices(text: str) -> list[int]:
    """Return the indices in a text such as ``0-3,7``."""
    indices: list[int] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = part.partition("-")
        try:
            some = range(int(first), int(last if dash else first) + 1)
        except ValueError as error:
            raise ValueError(f"expected indices such as 0-3,7, got {text!r}") from error
        if not some:
            raise ValueError(
                f"expected indices such as 0-3,7, got {part!r}, which begins at its end"
            )
        indices += some
    return sorted(set(indices))
