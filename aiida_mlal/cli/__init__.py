"""Command line interface: ``aiida-mlal``, and ``verdi data mlal``."""

from aiida_mlal.cli import archive, demo, folder, kill, launch, report, setup, status
from aiida_mlal.cli.root import root

__all__ = ["archive", "demo", "folder", "kill", "launch", "report", "root", "setup", "status"]
