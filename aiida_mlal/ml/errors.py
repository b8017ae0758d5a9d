"""What an error that somebody else's code raised says, as words for a message."""

import traceback
from pathlib import Path


def in_words(error: BaseException) -> str:
    """Return type and text of an error and, where it has no text, the line that raised it."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:
        text = "its message cannot be shown"
    if text.strip():
        return f"{name}: {text}"
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return name
    last = frames[-1]
    where = f"{last.name}() in line {last.lineno} of {Path(last.filename).name}"
    return f"{name} without a message, in {where}" + (f": {last.line}" if last.line else "")
