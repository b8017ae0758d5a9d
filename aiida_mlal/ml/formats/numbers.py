"""Numbers in texts, as the codes write them: Python alone would take ``1_0.5`` and ``NaN`` too."""

import re

_WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_REAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d{1,4})?", re.ASCII)


def whole(text: str, what: str, least: int = 0) -> int:
    """Return a whole number not below ``least``; ``what`` it is goes into the ``ValueError``."""
    if not _WHOLE.fullmatch(text) or int(text) < least:
        wanted = "a whole number" if least < 0 else f"a whole number from {least}"
        raise ValueError(f"{what}: expected {wanted}, got {text[:40]!r}")
    return int(text)


def is_real(text: str) -> bool:
    """Whether a text is a decimal number, perhaps with an exponent."""
    return len(text) <= 64 and bool(_REAL.fullmatch(text))


def real(text: str, what: str) -> float:
    """Return a finite number; ``what`` it is goes into the ``ValueError``."""
    if not is_real(text):
        raise ValueError(f"{what}: expected a finite number, got {text[:40]!r}")
    number = float(text.lower().replace("d", "e"))
    if abs(number) == float("inf"):
        raise ValueError(f"{what}: expected a finite number, got {text[:40]!r}")
    return number
