"""Velocities of frames, as momenta in files: what ASE reads."""

import numpy as np
from ase.units import fs

from aiida_mlal.ml.ase_properties import usual_site
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import VELOCITIES


def ase_momenta(one: Configurations) -> np.ndarray | None:
    """Return the momenta of the atoms of a structure in ASE's unit, (amu eV)^(1/2).

    None where it has no velocities, or not of all atoms.
    """
    velocities = VELOCITIES.of(one)
    if not len(velocities) or not np.isfinite(velocities).all():
        return None
    masses = one.arrays.get("masses", usual_site("masses", one.numbers))
    momenta: np.ndarray = velocities / fs * masses[:, None]
    return momenta
