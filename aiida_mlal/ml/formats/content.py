"""The bytes of files, unpacked where they are compressed, and never more than they can mean."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

_MAGIC = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\x00": ".xz"}
_OPENERS: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
ENDINGS = tuple(_OPENERS)
"""Ends of names of compressed files. They are known by their first bytes as well."""

SMALL, RATIO = 2**26, 200
"""Bytes that any file may unpack to, and how many times its own size a larger one may."""

HEAD = 2**16
"""Bytes that are enough to see what a file is."""


def read_bytes(path: str | Path) -> bytes:
    """Return the content of a file, unpacked if it is compressed.

    Raises
    ------
    ValueError
        If there is no such file, it is not intact, or unpacks to ``RATIO`` times its size.
    """
    path = _existing(path)
    limit = max(SMALL, RATIO * path.stat().st_size)
    content = _read(path, limit + 1)
    if len(content) > limit:
        raise ValueError(
            f"the file unpacks to more than {RATIO} times its size, which no file of structures "
            "does: unpack it yourself if you trust it"
        )
    return content


def as_text(content: bytes) -> str:
    """Return a content as UTF-8; ``ValueError`` for what is no text."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"this is no text: byte {error.start} is not UTF-8") from error


def read_head(path: str | Path) -> bytes:
    """Return the first ``HEAD`` bytes of the content of a file, unpacked if it is compressed."""
    return _read(_existing(path), HEAD)


def compression(path: str | Path) -> str:
    """Return the ending that stands for the compression of a file: empty if it has none."""
    with Path(path).open("rb") as file:
        return _packed(file)


def compress(content: bytes, path: str | Path) -> bytes:
    """Return the content as the end of a name wants it compressed."""
    packers: dict[str, Callable[[bytes], bytes]] = {
        ".gz": _gzip,
        ".bz2": bz2.compress,
        ".xz": lzma.compress,
    }
    pack = packers.get(Path(path).suffix)
    return content if pack is None else pack(content)


def stem(path: str | Path) -> str:
    """Return the name of a file without the end that stands for its compression."""
    path = Path(path)
    return path.stem if path.suffix in ENDINGS else path.name


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise ValueError("there is no such file")
    return path


def _packed(file: IO[bytes]) -> str:
    start = file.read(8)
    file.seek(0)
    return next((end for magic, end in _MAGIC.items() if start.startswith(magic)), "")


def _read(path: Path, n: int) -> bytes:
    with path.open("rb") as file:
        ending = _packed(file)
        if not ending:
            if path.suffix in ENDINGS and path.stat().st_size:
                raise ValueError(f"this is not an intact {path.suffix} file: it begins otherwise")
            return file.read(n)
        try:
            with _OPENERS[ending](file) as unpacked:
                content: bytes = unpacked.read(n)
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            raise ValueError(f"this is not an intact {ending} file") from error
    return content


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)
