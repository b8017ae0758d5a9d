"""Command line interface: ``aiida-mlal``, and ``verdi data mlal``."""

from aiida_mlal.cli import (
    archive,
    compare,
    demo,
    folder,
    graph,
    kill,
    launch,
    report,
    setup,
    status,
    why,
)
from aiida_mlal.cli.root import root

__all__ = [
    "archive",
    "compare",
    "demo",
    "folder",
    "graph",
    "kill",
    "launch",
    "report",
    "root",
    "setup",
    "status",
    "why",
]
