"""Text of others, such as messages of errors, as any file, terminal and database can hold it."""

import re

LONGEST, LONG = 500, 2000
"""Most characters of the reason why there is no label, and of a message."""

UNHOLDABLE = re.compile("[\x00\ud800-\udfff]")
"""What PostgreSQL, and UTF-8 itself, have no place for: NUL, and halves of characters."""


def printable(text: str, longest: int = LONGEST) -> str:
    """Return a text as one line of a bounded length that any file and database can hold."""
    line = " ".join(text[: 4 * longest].split())
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    return shown if len(shown) <= longest else f"{shown[: longest - 4]} ..."


def holdable(text: str) -> str:
    """Escape the characters that databases cannot hold."""
    return UNHOLDABLE.sub(lambda match: repr(match[0])[1:-1], text)


def said(error: BaseException) -> str:
    """Return the text of an error, or that it cannot be shown."""
    try:
        return str(error)
    except Exception:
        return "its message cannot be shown"


def message(error: BaseException, longest: int = LONGEST) -> str:
    """Return the text of an error on one line."""
    return printable(said(error), longest)


def counted(n: int, noun: str) -> str:
    """Return a number of things in words, such as ``1 label`` or ``2 labels``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
