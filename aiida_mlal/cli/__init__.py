"""Command line interface: ``aiida-mlal``, and ``verdi data mlal``."""

from aiida_mlal.cli import archive, demo, folder, launch, report, setup, status
from aiida_mlal.cli.root import root

__all__ = ["archive", "demo", "folder", "launch", "report", "root", "setup", "status"]
