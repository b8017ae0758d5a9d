"""Files that a licence forbids to hand on, found by their content."""

import gzip
import tarfile
from collections.abc import Iterable, Iterator
from io import BytesIO

from aiida.orm import Node

POTCAR = b"END of PSCTR-controll parameters"
"""What stands between the head of a POTCAR of VASP and its numbers; no output of VASP has it."""

LARGEST = 200_000_000
"""Bytes of an unpacked file that are looked through; the POTCARs of VASP have up to some MB."""


def licensed(nodes: Iterable[Node]) -> Iterator[str]:
    """Tell of each file with the content of a POTCAR, also within gzip and tar."""
    for node in nodes:
        for root, _, names in node.base.repository.walk():
            for name in names:
                path = str(root / name)
                if _holds_potcar(node.base.repository.get_object_content(path, "rb")):
                    yield (
                        f"the file {path!r} of node {node.uuid} ({node.node_type}) holds a POTCAR, "
                        "whose licence forbids to hand it on"
                    )


def _holds_potcar(content: bytes) -> bool:
    if content.startswith(b"\x1f\x8b"):
        with gzip.open(BytesIO(content)) as unpacked:
            try:
                content = unpacked.read(LARGEST)
            except (OSError, EOFError):
                return False
    if POTCAR in content:
        return True
    if content[257:262] != b"ustar":
        return False
    try:
        with tarfile.open(fileobj=BytesIO(content)) as archive:
            files = filter(None, (archive.extractfile(one) for one in archive.getmembers()))
            return any(_holds_potcar(file.read(LARGEST)) for file in files)
    except tarfile.TarError:
        return False
