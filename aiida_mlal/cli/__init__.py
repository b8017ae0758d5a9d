"""Command line interface: ``aiida-mlal``, and ``verdi data mlal``."""

from aiida_mlal.cli import archive, report, setup, status
from aiida_mlal.cli.root import root

__all__ = ["archive", "report", "root", "setup", "status"]
