"""Structures of AIRSS."""

import numpy as np
import pytest
from ase.units import GPa

from aiida_mlal.ml.formats.files import load

RES = """TITL al-1 {pressure} 65.9 -200.0 0.0 0.0 4 (Fm-3m) n - 1
CELL 1.54180 4.04 4.04 4.04 90 90 90
LATT -1
SFAC Al
Al 1 0.0 0.0 0.0 1.0
Al 1 0.5 0.5 0.0 1.0
Al 1 0.5 0.0 0.5 1.0
Al 1 0.0 0.5 0.5 1.0
END
"""


@pytest.mark.parametrize("pressure", [0.0, 10.0])
def test_enthalpies_become_energies(tmp_path, pressure):
    """The enthalpy at 10 GPa was the energy, and was said not to be read."""
    path = tmp_path / "al.res"
    path.write_text(RES.format(pressure=pressure))
    contents = load(path)
    expected = -200.0 - pressure * GPa * 4.04**3
    np.testing.assert_allclose(contents.configurations.energies, expected)
    assert "energy" not in contents.configurations.info
    assert not any("looks like labels" in said for said in contents.warnings)
