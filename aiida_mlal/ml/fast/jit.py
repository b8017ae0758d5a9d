"""Compilation of kernels, whose machine code is kept on disk where it can be."""

import contextlib
import hashlib
import inspect
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import config, njit
from numba.core.caching import FunctionCache, IndexDataCacheFile

KEPT = 30 * 86400
"""Machine code of other sources is removed when it has not been written to for so many seconds."""

SETTINGS = ("OPT", "BOUNDSCHECK", "LOOP_VECTORIZE", "SLP_VECTORIZE")
"""Variables of numba that change machine code and are not among the keys of its own cache."""


def jit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function when it is first called, with numba's ``options``.

    Machine code is kept beside the source or in the user's cache, as numba does (the variable
    ``NUMBA_CACHE_DIR`` names another folder), for the sources that it was made of. Where nothing
    can be written each process compiles anew. A kernel has no powers ``x**2``: numba compiles these
    once for all kernels of a process, with the ``fastmath`` of the first, so that sums would
    depend on which one that was. Divisions by zero are as in numpy unless
    ``error_model`` says otherwise.
    """
    options = {"error_model": "numpy"} | options

    def decorate(function: Callable[..., Any]) -> Any:
        kernel: Any = njit(**options)(function)
        with contextlib.suppress(RuntimeError):  # how numba says that no folder can be written
            kernel._cache = KernelCache(function)
        return kernel

    return decorate


def inlined(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function that only kernels call, into each of them.

    LLVM compiles a function that it doesn't inline once for each kernel, not always to the same
    instructions, and the first of these that a process has loaded serves all kernels: sums would
    depend on what was compiled or loaded before.
    """
    return jit(forceinline=True, **options)


class KernelCache(FunctionCache):
    """Machine code of a function in files whose names have the hash of all sources of kernels.

    Kernels are inlined into those of other files, so numba's own rule, to compile what stands in
    a file that has changed, is not enough. That processes which run different sources never share
    a file is why the hash is in the name and not only in the index.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        source = inspect.getfile(function)
        stamp = sources_hash(source)
        self._kernel = f"{Path(source).stem}.{function.__qualname__}-"
        self._own = f"{self._impl.filename_base}.{stamp[:16]}"
        self._cache_file = IndexDataCacheFile(self._cache_path, self._own, stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the machine code for a signature; None if it is not there or cannot be read."""
        with contextlib.suppress(OSError):
            return super().load_overload(sig, target_context)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep machine code, and remove what is old; a full disk only costs the next process."""
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)
            self._clean()

    def _clean(self) -> None:
        for path in Path(self._cache_path).glob(f"{self._kernel}*.nb[ic]"):
            if not path.name.startswith(self._own) and time.time() - path.stat().st_mtime > KEPT:
                path.unlink(missing_ok=True)


@cache
def sources_hash(path: str) -> str:
    """Return a hash of what machine code depends on: all files beside this one, and one more.

    And of ``SETTINGS``.
    """
    settings = [getattr(config, name) for name in SETTINGS]
    digest = hashlib.sha256(repr(settings).encode())
    for source in [*sorted(Path(__file__).parent.glob("*.py")), Path(path)]:
        digest.update(source.name.encode() + b"\0" + hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()
