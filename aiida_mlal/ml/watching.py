"""How far long work is: told by what works, heard by whoever watches, if somebody does."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

Watcher = Callable[..., None]
"""Called with ``what`` is done, how many are ``done``, of how many (None where nobody knows), and
other values by name."""


@dataclass
class _Watch:
    watcher: Watcher
    inside: bool = False


_WATCH: ContextVar[_Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Let a watcher hear what is told meanwhile."""
    token = _WATCH.set(_Watch(watcher))
    try:
        yield
    finally:
        _WATCH.reset(token)


def tell(what: str, done: int, total: int | None, **values: Any) -> None:
    """Tell the watcher, if there is one and no part of something larger tells."""
    watch = _WATCH.get()
    if watch is not None and not watch.inside:
        watch.watcher(what, done, total, **values)


def in_parts(parts: Iterable[slice], what: str) -> Iterator[slice]:
    """Yield consecutive parts of something, and tell after each how many items are done.

    What is done for each part tells nothing itself.
    """
    watch = _WATCH.get()
    pieces = list(parts)
    if watch is None or watch.inside or len(pieces) < 2:
        yield from pieces
        return
    watch.inside = True
    try:
        for piece in pieces:
            yield piece
            watch.watcher(what, piece.stop, pieces[-1].stop)
    finally:
        watch.inside = False
