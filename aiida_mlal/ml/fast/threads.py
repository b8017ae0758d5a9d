"""Threads that share the atoms of a structure."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Threads:
    """Runs a function, once for each of ``n`` threads; kernels let go of Python's lock.

    With one there is no other than the thread that calls.
    """

    def __init__(self, n: int) -> None:
        if n < 1:
            raise ValueError(f"expected one thread or more, got {n}")
        self.n = n
        self._pool = ThreadPoolExecutor(n - 1) if n > 1 else None

    def run(self, work: Callable[[int], None]) -> None:
        """Call the function with 0 to n - 1, at the same time."""
        others = []
        if self._pool is not None:
            others = [self._pool.submit(work, t) for t in range(1, self.n)]
        work(0)
        for other in others:
            other.result()
