"""Structures of AIRSS (``.res``), whose title has the enthalpy at a pressure as energy."""

from collections.abc import Iterator
from pathlib import Path

import ase.io
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import GPa

RES = "res"
"""What ASE calls this format."""


def read(path: Path) -> Iterator[Atoms]:
    r"""Read the structures, with the energy :math:`E = H - pV` in place of the enthalpy H.

    The title is ``TITL name pressure/GPa volume enthalpy ...`` (C. J. Pickard and R. J. Needs,
    J. Phys.: Condens. Matter 23, 053201 (2011), and the manual of AIRSS). ASE (3.29) takes the
    enthalpy for the energy.
    """
    for atoms in ase.io.iread(str(path), ":", format=RES):
        enthalpy = atoms.info.pop("energy", None)
        if enthalpy is not None:
            work = float(atoms.info.get("pressure") or 0.0) * GPa * atoms.get_volume()
            atoms.calc = SinglePointCalculator(atoms, energy=float(enthalpy) - work)
        yield atoms
