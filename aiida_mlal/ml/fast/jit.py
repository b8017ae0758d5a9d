"""Compilation of kernels, whose machine code is kept on disk where it can be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit


def jit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function when it is first called, with numba's ``options``.

    Machine code is kept beside the source or in the user's cache. Where nothing can be written
    each process compiles anew, and ``is_ready`` says so. Divisions by zero are as in numpy unless
    ``error_model`` says otherwise.
    """
    options = {"error_model": "numpy"} | options

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # how numba says that no folder can be written
            return njit(**options)(function)

    return decorate


def is_ready(kernel: Any) -> bool:
    """Return whether a kernel is compiled, or was so by an earlier process."""
    if kernel.signatures:
        return True
    folder, source = kernel.stats.cache_path, Path(kernel.py_func.__code__.co_filename)
    if folder is None:
        return False
    made = source.stat().st_mtime
    indices = Path(folder).glob(f"{source.stem}.{kernel.py_func.__qualname__}-*.nbi")
    return any(index.stat().st_mtime >= made for index in indices)
