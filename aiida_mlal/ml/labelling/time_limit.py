"""A limit of time for what a user's code computes."""

import contextlib
import faulthandler
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from aiida_mlal.ml.labelling.outcome import NoLabel

GRACE = 10.0
"""Time in s after which the process is ended, if the code does not even let itself be stopped."""


class TooLong(NoLabel, TimeoutError):
    """There was no label in time."""


@contextlib.contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise ``TooLong`` in what takes longer; None is no limit.

    Code that is not Python, or that catches the error and goes on, does not end by that. Then the
    process ends a little later, as if it had been killed.
    """
    if seconds is None:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLong(f"there was no label after {seconds:g} s")

    # signals are for the main thread, and not known to all systems
    alarmed = hasattr(signal, "setitimer") and (
        threading.current_thread() is threading.main_thread()
    )
    before: Any = signal.signal(signal.SIGALRM, stop) if alarmed else None
    with contextlib.suppress(OSError, ValueError):  # no standard error to write to
        if sys.__stderr__ is not None:
            faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=sys.__stderr__)
    try:
        if alarmed:
            signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        if alarmed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()
