"""What is written into a pipe that somebody closed, as ``head`` does."""

import os
import sys
from typing import Any


class Pipe:
    """A stream of text that drops what nobody reads any more.

    A command goes on to its end then, and what it computes is kept.

    Attributes
    ----------
    is_closed
        Whether nobody reads any more.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.is_closed = False

    def write(self, text: str) -> int:
        """Write to the stream."""
        try:
            return int(self._stream.write(text))
        except BrokenPipeError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._drop()

    def __getattr__(self, name: str) -> Any:
        """Return what else the stream has."""
        return getattr(self._stream, name)

    def _drop(self) -> None:
        """Let all go nowhere, also what the stream still holds when Python ends."""
        self.is_closed = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def forgive_closed_pipes() -> None:
    """Drop from now on what is written to a standard stream that nobody reads any more."""
    sys.stdout, sys.stderr = Pipe(sys.stdout), Pipe(sys.stderr)


def is_heard() -> bool:
    """Whether somebody may still read what is written to the standard output."""
    return not getattr(sys.stdout, "is_closed", False)
