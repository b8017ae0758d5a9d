"""Files of arrays with a description and a checksum: safetensors, which run no code when read."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

CHECKSUM = "sha256"
_METADATA = "__metadata__"
_PICKLES = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def pack(kind: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return a file of the ``kind``: the same content always gives the same bytes.

    ``header`` are JSON values, among them the ``version`` of the format of this kind.
    """
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    index, data = _split(save(contiguous, {kind: json.dumps(header, sort_keys=True)}))
    index[_METADATA][CHECKSUM] = _checksum(index, data)
    head = json.dumps(index, sort_keys=True).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + data


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
        index, data = _split(content)
    except (SafetensorError, ValueError, KeyError) as error:
        # a length at the head of a safetensors file may look like a pickle, but is before a brace
        if content.startswith(_PICKLES) and content[8:9] != b"{":
            raise ValueError(
                "this is a pickle, which could run code when read; it is not opened"
            ) from error
        raise ValueError(f"this is not an intact safetensors file ({error})") from error
    metadata = index.get(_METADATA, {})
    if kind not in metadata:
        raise ValueError(f"expected a file of {kind}, got a safetensors file of {sorted(metadata)}")
    header = _header(metadata[kind])
    if header["version"] > version:
        raise ValueError(
            f"the file has format version {header['version']}, this release reads up to {version}: "
            "install a newer aiida-mlal"
        )
    found = metadata.pop(CHECKSUM, None)  # the first files had none
    if set(metadata) != {kind} or found not in (None, _checksum(index, data)):
        raise ValueError("the file was damaged or changed: its content does not fit its checksum")
    return header, arrays


def read_header(content: bytes, kind: str, version: int) -> dict[str, Any]:
    """Return only the header of a file that ``pack`` made; raises what ``unpack`` raises."""
    return unpack(content, kind, version)[0]


def _header(text: str) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except ValueError as error:
        raise ValueError(f"the description in the file is no JSON ({error})") from error
    if not isinstance(header, dict) or not isinstance(header.get("version"), int):
        raise ValueError("the description in the file has no format version")
    return header


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return where each array is, with the metadata, and the data of all arrays."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def _checksum(index: Mapping[str, Any], data: bytes) -> str:
    digest = sha256(json.dumps(index, sort_keys=True, separators=(",", ":")).encode())
    digest.update(data)
    return digest.hexdigest()
