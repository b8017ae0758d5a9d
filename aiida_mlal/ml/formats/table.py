"""Every format of files that is known: by which content and names, and who reads it."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aiida_mlal.ml.formats.content import read_head, stem

Holds = Literal["structures", "potential"]


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes
    ----------
    name
        What it is called in messages.
    holds
        What is in such a file.
    names
        Pattern of the names of such files, without the end that stands for a compression.
    begins
        Whether a file that begins like this, unpacked, is of the format.
    writes
        Whether this package writes it.
    """

    name: str
    holds: Holds
    names: str
    begins: Callable[[bytes], bool]
    writes: bool = True

    def is_named(self, path: str | Path) -> bool:
        """Whether the name of a file is one of this format."""
        return bool(re.search(self.names, stem(path)))


CONFIGURATIONS, CHECKPOINT, CFG, MTP, ALMTP, EXTXYZ, TRAJ, DUMP, DATA, ATOMEYE, ASE = (
    "safetensors", "checkpoint", "cfg", "mtp", "almtp", "extxyz", "traj", "lammps-dump-text",
    "lammps-data", "atomeye", "ase",
)  # fmt: skip

PW, CIF = "espresso-out", "cif"
"""What ASE calls the outputs of pw.x, and crystallographic information files."""

KIND_OF_CHECKPOINTS = "aiida-mlal/potential"
"""As in ``ml.models.checkpoint``, which imports torch."""


def metadata(head: bytes) -> dict[str, str]:
    """Return the texts at the head of a safetensors file; nothing if it is none."""
    length = int.from_bytes(head[:8], "little")
    text = head[8 : 8 + length].decode(errors="replace")
    start = re.match(r'\{\s*"__metadata__"\s*:\s*', text)
    try:  # which comes first, as this package writes it, and the rest may be long
        values = json.JSONDecoder().raw_decode(text, start.end())[0] if start else json.loads(text)
        values = values if start else values["__metadata__"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32


def _is_extxyz(head: bytes) -> bool:
    lines = head.split(b"\n", 2)
    return lines[0].strip().isdigit() and any(w in head for w in (b"Properties=", b"Lattice="))


def _is_lammps_data(head: bytes) -> bool:
    return all(re.search(rb"^\s*\d+\s+%s\b" % w, head, re.M) for w in (b"atoms", b"atom types"))


def _is_atomeye(head: bytes) -> bool:
    return re.match(rb"\s*Number of particles\s*=", head) is not None


FORMATS: tuple[Format, ...] = (
    Format(
        CHECKPOINT, "potential", r"(?!)",
        lambda head: _is_safetensors(head) and KIND_OF_CHECKPOINTS in metadata(head),
    ),
    Format(CONFIGURATIONS, "structures", r"\.safetensors$", _is_safetensors),
    Format(CFG, "structures", r"\.cfgs?(\.\d+)?$", lambda head: head.lstrip()[:9] == b"BEGIN_CFG"),
    Format(
        ALMTP, "potential", r"\.almtp$",
        lambda head: head.split(maxsplit=1)[:1] == [b"MTP"] and b"#MVS" in head,
    ),
    Format(MTP, "potential", r"\.mtp$", lambda head: head.split(maxsplit=1)[:1] == [b"MTP"]),
    Format(TRAJ, "structures", r"\.traj$", lambda head: head.startswith(b"- of UlmASE-Traj")),
    Format(EXTXYZ, "structures", r"\.(ext)?xyz$", _is_extxyz),
    Format(DUMP, "structures", r"(?!)", lambda head: b"ITEM: TIMESTEP" in head[:1000], False),
    Format(DATA, "structures", r"(?!)", _is_lammps_data, False),
    Format(ATOMEYE, "structures", r"(?!)", _is_atomeye, False),
    Format(ASE, "structures", "", lambda head: True),
)  # fmt: skip
"""The table, in the order in which a file is tried: by its content, then by its name."""


def known(path: str | Path, head: bytes | None = None) -> Format:
    """Return the format of a file: by what it begins with, else by its name, else one of ASE's.

    Raises
    ------
    ValueError
        If there is no such file.
    """
    head = read_head(path) if head is None else head
    for form in FORMATS[:-1]:
        if form.begins(head):
            return form
    return by_name(path)


def by_name(path: str | Path) -> Format:
    """Return the format that the name of a file stands for."""
    return next(form for form in FORMATS if form.is_named(path))
