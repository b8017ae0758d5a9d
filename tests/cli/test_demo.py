"""What the demo begins with and how it tells of its progress."""

import logging

import numpy as np
import pytest
from ase.constraints import FixAtoms

from aiida_mlal.cli.demo import carbon_on_copper, told


def test_carbon_is_three_angstrom_above_the_hollow():
    atoms = carbon_on_copper()
    carbon = atoms.positions[atoms.symbols == "C"][0]
    copper = atoms.positions[atoms.symbols == "Cu"]
    top = copper[copper[:, 2] > copper[:, 2].max() - 0.1]
    assert atoms.get_chemical_formula() == "CCu12"
    assert carbon[2] - top[0, 2] == pytest.approx(3.0)
    in_plane = np.linalg.norm(top[:, :2] - carbon[:2], axis=1)
    np.testing.assert_allclose(in_plane, in_plane[0])


def test_the_lowest_layer_is_fixed():
    atoms = carbon_on_copper()
    (constraint,) = atoms.constraints
    assert isinstance(constraint, FixAtoms)
    lowest = np.flatnonzero(atoms.positions[:, 2] < atoms.positions[:, 2].min() + 0.1)
    assert sorted(constraint.index) == lowest.tolist()
    assert len(lowest) == 4


def test_only_the_campaign_is_heard(capsys):
    before = logging.getLogger("aiida").handlers[:]
    with told():
        logger = logging.getLogger("aiida.orm")
        logger.warning("[7|OfflineWorkChain|_tell]: iteration 1: trained")
        logger.info("[8|TrainBaseWorkChain|results]: done")
    assert logging.getLogger("aiida").handlers == before
    said = capsys.readouterr().out
    assert "iteration 1: trained" in said
    assert "done" not in said
