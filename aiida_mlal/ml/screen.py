"""What a user sees of how far a command is: on standard error, as results go to the other."""

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import click

from aiida_mlal.ml.watching import watched_by

OFTEN, ON_TERMINAL = 0.1, 5.0
"""Time in s between two pictures of a bar, and between two lines where nobody knows the end."""


class Screen:
    """A watcher that draws a bar on a terminal, and elsewhere writes a line now and then.

    Parameters
    ----------
    stream
        Where to.
    patience
        Time in s before a bar is drawn: what takes less needs none.
    every
        Time in s between two lines where there is no terminal; None for none.
    clock
        Of the time, in s.
    """

    def __init__(
        self,
        stream: TextIO,
        patience: float = 1.0,
        every: float | None = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._clock = stream, clock
        self._is_terminal = stream.isatty()
        self._patience, self._every = patience, ON_TERMINAL if self._is_terminal else every
        self._what, self._done = "", 0
        self._begun = self._last = self._heard = clock()  # s
        self._bar: Any = None  # whose class click does not name

    def __call__(self, what: str, done: int, total: int | None, **values: Any) -> None:
        """Show it, unless it is too early."""
        if what != self._what or done < self._done:
            self.close()
            self._what, self._begun, self._last = what, self._heard, self._heard
        self._done, self._heard = done, self._clock()
        with contextlib.suppress(OSError, ValueError):  # a terminal that was closed
            if self._is_terminal and total is not None:
                self._draw(done, total, _words(values))
            else:
                self._write(done, total, _words(values))

    def close(self) -> None:
        """End the line of the bar, if there is one."""
        if self._bar is not None:
            with contextlib.suppress(OSError, ValueError):
                self._bar.render_finish()
        self._bar, self._what, self._done = None, "", 0

    def _draw(self, done: int, total: int, words: str) -> None:
        now = self._heard
        if self._bar is None:
            if now - self._begun < self._patience or done >= total:
                return
            self._bar = click.progressbar(
                length=total,
                label=self._what,
                file=self._stream,
                width=20,
                show_pos=True,
                item_show_func=lambda words: words,
            )
            self._bar.start = time.time() - (now - self._begun)  # by which it foresees the end
        elif now - self._last < OFTEN and done < total:
            return
        self._last = now
        room = shutil.get_terminal_size().columns - len(self._what) - len(str(total)) * 2 - 42
        self._bar.update(done - self._bar.pos, words[: max(room, 0)])

    def _write(self, done: int, total: int | None, words: str) -> None:
        now = self._heard
        if self._every is None or now - self._last < self._every:
            return
        self._last = now
        many = f"{done}" if total is None else f"{done} of {total}"
        left = "" if not (total and done) else _left((now - self._begun) / done * (total - done))
        line = ", ".join(filter(None, [f"{self._what}: {many}", words, left]))
        print(line, file=self._stream, flush=True)


@contextlib.contextmanager
def shown(lines: bool = True) -> Iterator[None]:
    """Show meanwhile how far things are; where there is no terminal by lines, if at all."""
    screen = Screen(sys.stderr, every=30.0 if lines else None)
    try:
        with watched_by(screen):
            yield
    finally:
        screen.close()


def _words(values: dict[str, Any]) -> str:
    """Return values by name, without those that nobody knows."""
    return ", ".join(
        f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
        if value is not None
    )


def _left(seconds: float) -> str:
    """Say how long something takes."""
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min left"
    return f"about {seconds / 3600:.0f} h left"
