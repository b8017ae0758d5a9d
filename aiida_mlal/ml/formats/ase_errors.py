"""What a reader of ASE says when it fails, as a sentence for somebody who wrote the file."""

import re

_INTERNAL = re.compile(
    r"invalid literal|could not convert|not subscriptable|unpack|NoneType|dtype|codec|"
    r"setting an array|argument|object|operand|out of (range|bounds)|list index|[a-z]+Error|"
    r"reshape|negative dimensions|iterable|expected str|memory|\bNone\b|no attribute|"
    r"cannot convert|in position|truth value|buffer|<class|tuple|unsupported|substring"
)


def without_internals(error: Exception) -> str:
    """Return the text of an error of a reader of ASE; a sentence in place of Python's own words."""
    said = str(error).partition("\n")[0]
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str):
        return f"{error.args[0][:60]!r} is not known, or missing"
    if isinstance(error, MemoryError):
        return "it would take more memory than there is"
    if not said or len(said) > 300 or isinstance(error, AssertionError) or _INTERNAL.search(said):
        return "it is damaged, or of a dialect that is not known"
    return said
