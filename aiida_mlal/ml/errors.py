"""What an error that somebody else's code raised says, as words for a message."""

import errno
import traceback
from pathlib import Path

from aiida_mlal.ml.text import UNHOLDABLE, holdable, said

_OF = "_aiida_mlal_plugin"

_OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def is_of_the_machine(error: BaseException) -> bool:
    """Whether no code is to blame, but too many open files, a full disk, or one to read from."""
    return getattr(error, "errno", None) in _OF_THE_MACHINE


def attribute(error: BaseException, plugin: str) -> None:
    """Note on an error which plugin raised it, unless one inside of that one did."""
    if not hasattr(error, _OF):
        setattr(error, _OF, plugin)


def in_words(error: BaseException) -> str:
    """Return type and text of an error and, where it has no text, the line that raised it.

    Before them stands the plugin that it was attributed to.
    """
    name, text = type(error).__name__, said(error)
    if hasattr(error, _OF):
        name = f"{getattr(error, _OF)}: {name}"
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
