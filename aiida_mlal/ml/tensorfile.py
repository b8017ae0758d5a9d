"""Files of arrays with a description and a checksum: safetensors, which run no code when read."""

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load

from aiida_mlal.ml.wholefile import whole

CHECKSUM = "sha256"
_METADATA = "__metadata__"
_PICKLES = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_BLOCK = 2**20
"""Bytes of a file that are read at once for its checksum."""

_DTYPES = {
    np.dtype(name.lower() if name == "BOOL" else f"{_kind}{int(name[1:]) // 8}"): name
    for name, _kind in (
        ("BOOL", "?"), ("U8", "u"), ("I8", "i"), ("I16", "i"), ("U16", "u"), ("F16", "f"),
        ("I32", "i"), ("U32", "u"), ("F32", "f"), ("F64", "f"), ("I64", "i"), ("U64", "u"),
    )
}  # fmt: skip
"""Names of types of numbers in safetensors, in the order of its library, which sorts by them."""


class Outline(NamedTuple):
    """What is known of an array before its values: its type and shape."""

    dtype: np.dtype
    shape: tuple[int, ...]


def pack(kind: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return a file of the ``kind``: the same content always gives the same bytes.

    ``header`` are JSON values, among them the ``version`` of the format of this kind.
    """
    outlines = {name: Outline(array.dtype, array.shape) for name, array in arrays.items()}
    index = _index(kind, header, outlines)
    data = [_bytes(arrays[name]) for name in index if name != _METADATA]
    return b"".join([_head(index, data), *data])


def write(
    path: str | Path,
    kind: str,
    header: Mapping[str, Any],
    outlines: Mapping[str, Outline],
    parts: Iterable[Mapping[str, np.ndarray]],
) -> None:
    """Write the file that ``pack`` returns, of arrays that come in parts.

    Parameters
    ----------
    outlines
        Of the arrays in the file.
    parts
        Each has the next rows of all arrays. Only one is in memory at a time.
    """
    index = _index(kind, header, outlines)
    with whole(path) as file:
        start = len(_head(index))
        offsets = {
            name: start + entry["data_offsets"][0]
            for name, entry in index.items()
            if name != _METADATA
        }
        for part in parts:
            for name, offset in offsets.items():
                file.seek(offset)
                offsets[name] += file.write(_bytes(part[name].astype(outlines[name].dtype)))
        file.seek(start)
        head = _head(index, iter(lambda: file.read(_BLOCK), b""))
        file.seek(0)
        file.write(head)


def unpack(content: bytes, kind: str, version: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return header and arrays of a file that ``pack`` made.

    Raises
    ------
    ValueError
        If the bytes are no safetensors file, not of this ``kind``, of a newer ``version``, or
        not those that were written.
    """
    try:
        arrays = load(content)
        end = _end(content)
        index = json.loads(content[8:end])
    except (SafetensorError, ValueError, KeyError) as error:
        raise _not_intact(content, error) from error
    header = _checked(index, [memoryview(content)[end:]], kind, version)
    return header, arrays


def read(path: str | Path, kind: str, version: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Unpack a file (see ``unpack``) without its bytes in memory beside the arrays."""
    with Path(path).open("rb") as file:
        try:
            with safe_open(path, "numpy") as opened:
                arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            end = _end(file.read(8))
            index = json.loads(file.read(end - 8))
        except (SafetensorError, ValueError, KeyError) as error:
            file.seek(0)
            raise _not_intact(file.read(16), error) from error
        header = _checked(index, iter(lambda: file.read(_BLOCK), b""), kind, version)
    return header, arrays


def read_header(content: bytes, kind: str, version: int) -> dict[str, Any]:
    """Return only the header of a file that ``pack`` made; raises what ``unpack`` raises."""
    return unpack(content, kind, version)[0]


def _index(kind: str, header: Mapping[str, Any], outlines: Mapping[str, Outline]) -> dict[str, Any]:
    """Return the index of a file: offsets of each array in the order of the data, and metadata."""
    order = list(_DTYPES)
    index: dict[str, Any] = {_METADATA: {kind: json.dumps(header, sort_keys=True)}}
    end = 0
    for name in sorted(outlines, key=lambda name: (-order.index(outlines[name].dtype), name)):
        dtype, shape = outlines[name]
        begin, end = end, end + dtype.itemsize * int(np.prod(shape, dtype=int))
        entry = {"dtype": _DTYPES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
        index[name] = entry
    return index


def _head(index: Mapping[str, Any], data: Iterable[Any] = ()) -> bytes:
    """Return the header of a file, whose length does not depend on the values."""
    metadata = {**index[_METADATA], CHECKSUM: _checksum(index, data)}
    head = json.dumps({**index, _METADATA: metadata}, sort_keys=True).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head


def _bytes(array: np.ndarray) -> memoryview:
    """Return the values as they are in files, row by row and the smallest byte first."""
    ordered = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return ordered.reshape(-1).view(np.uint8).data


def _end(content: bytes) -> int:
    """Return the offset of the data in a file that begins with this content."""
    return 8 + int.from_bytes(content[:8], "little")


def _not_intact(content: bytes, error: Exception) -> ValueError:
    """Make the error of a content that cannot be read as safetensors."""
    # a length at the head of a safetensors file may look like a pickle, but is before a brace
    if content.startswith(_PICKLES) and content[8:9] != b"{":
        return ValueError("this is a pickle, which could run code when read; it is not opened")
    return ValueError(f"this is not an intact safetensors file ({error})")


def _checked(
    index: Mapping[str, Any], data: Iterable[Any], kind: str, version: int
) -> dict[str, Any]:
    """Return the header of a file, if it is of the kind and its content that which was written."""
    metadata = index.get(_METADATA, {})
    if kind not in metadata:
        raise ValueError(f"expected a file of {kind}, got a safetensors file of {sorted(metadata)}")
    header = _header(metadata[kind])
    if header["version"] > version:
        raise ValueError(
            f"the file has format version {header['version']}, this release reads up to {version}: "
            "install a newer aiida-mlal"
        )
    checksum = metadata.pop(CHECKSUM, None)  # the first files had none
    if set(metadata) != {kind} or checksum not in (None, _checksum(index, data)):
        raise ValueError("the file was damaged or changed: its content does not fit its checksum")
    return header


def _header(text: str) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except ValueError as error:
        raise ValueError(f"the description in the file is no JSON ({error})") from error
    if not isinstance(header, dict) or not isinstance(header.get("version"), int):
        raise ValueError("the description in the file has no format version")
    return header


def _checksum(index: Mapping[str, Any], data: Iterable[Any]) -> str:
    digest = sha256(json.dumps(index, sort_keys=True, separators=(",", ":")).encode())
    for block in data:
        digest.update(block)
    return digest.hexdigest()
