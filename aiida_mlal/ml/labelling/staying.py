"""Code of users that wants to end the process."""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import NoReturn


@contextlib.contextmanager
def staying() -> Iterator[None]:
    """Make ``SystemExit`` of ``os._exit``, which would end the process without a word.

    Other threads, and processes that are forked meanwhile, may end by it as ever.
    """
    leave, process, thread = os._exit, os.getpid(), threading.get_ident()

    def refuse(status: int) -> NoReturn:
        if (os.getpid(), threading.get_ident()) != (process, thread):
            leave(status)
        raise SystemExit(f"the process was to be ended at once, with status {status}")

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = leave
