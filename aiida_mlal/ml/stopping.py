"""How schedulers and users end a task: what was computed is kept, and no worker stays behind."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any


class Interrupted(BaseException):
    """The task was told to stop. Like ``KeyboardInterrupt``, it passes ``except Exception``.

    Attributes
    ----------
    result
        What goes to the result of what was computed until then.
    signal
        Number of the signal that told so, if one did.
    computed
        What the interrupted work left; each kind of work knows what it is.
    """

    def __init__(
        self, message: str, result: Mapping[str, Any] | None = None, signal: int | None = None
    ) -> None:
        super().__init__(message)
        self.result = dict(result or {})
        self.signal = signal
        self.computed: Any = None


_received: list[int] = []
"""Signals that came while a task was ``stoppable``."""


def check_stop() -> None:
    """Raise ``Interrupted`` if the task was told to stop.

    The exception that told so may have been caught by somebody else's code.
    """
    if _received:
        raise _interrupted(_received[0])


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Turn the signals of schedulers and users into ``Interrupted``, once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked worker, which would take the next piece of work
            os._exit(128 + number)
        for name in names:  # a second signal must not spoil the writing of the result
            signal.signal(name, signal.SIG_IGN)
        for child in multiprocessing.active_children():  # else we would wait for them
            child.terminate()
        _received.append(number)
        raise _interrupted(number)

    names = (signal.SIGTERM, signal.SIGINT)
    before = {name: signal.signal(name, stop) for name in names}
    try:
        yield
    finally:
        _received.clear()
        for name, handler in before.items():
            signal.signal(name, handler)


def end_with_parent() -> None:
    """Let this process, forked to work for another one, end as soon as that one is gone.

    A worker whose parent was killed by SIGKILL, as when memory runs out, would wait for its next
    piece of work for ever: siblings hold the pipe open that it would come from.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("expected a process that another one forked by multiprocessing")

    def watch() -> None:
        parent.join()
        os._exit(128 + signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _interrupted(number: int) -> Interrupted:
    return Interrupted(f"stopped by {signal.Signals(number).name}", signal=number)
