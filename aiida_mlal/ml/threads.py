"""How many threads torch and BLAS compute with, on whose number sums depend in the last digits."""

import contextlib
import os
import sys
from collections.abc import Iterator

from threadpoolctl import threadpool_limits

VARIABLE = "OMP_NUM_THREADS"


@contextlib.contextmanager
def said_threads() -> Iterator[int]:
    """Let torch and BLAS have as many threads as ``OMP_NUM_THREADS`` says, one if it says nothing.

    Never as many as the machine has cores, so that a result is not one of the machine.
    """
    said = os.environ.get(VARIABLE)
    n = int(said) if said is not None and said.isdigit() and int(said) else 1
    torch = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    os.environ[VARIABLE] = str(n)  # for what is not yet loaded
    try:
        with threadpool_limits(n):
            if torch is not None:
                torch.set_num_threads(n)
            yield n
    finally:
        if said is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = said
        if torch is not None:
            torch.set_num_threads(before)
