"""What an error that somebody else's code raised says, as words for a message."""

import traceback
from pathlib import Path

from aiida_mlal.ml.text import UNHOLDABLE, holdable, said


def in_words(error: BaseException) -> str:
    """Return type and text of an error and, where it has no text, the line that raised it."""
    name, text = type(error).__name__, said(error)
    if text.strip():
        return holdable(f"{name}: {text}")
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return name
    last = frames[-1]
    where = f"{last.name}() in line {last.lineno} of {Path(last.filename).name}"
    return f"{name} without a message, in {where}" + (f": {last.line}" if last.line else "")


def cause(error: BaseException) -> BaseException | None:
    """Return the error, or None if its text is such that the log of a process cannot hold it.

    ``raise ... from cause(error)`` then leaves it out of the traceback.
    """
    try:
        return None if UNHOLDABLE.search(str(error)) else error
    except Exception:
        return None
