"""Against results of MLIP-2."""

import numpy as np
import pytest

from aiida_mlal.ml.formats.mlip import cfg, mtp
from aiida_mlal.ml.selection.select import select
from aiida_mlal.ml.uncertainty.active_set import ActiveSet

NULL = {"L08_S1": 3, "L16_S1": 11}
"""Directions that no structure reaches: mixtures of radial functions, and a relation of level 16"""


@pytest.fixture(params=["L08_S1", "L16_S1"])
def folder(request, shared):
    return shared / "reference" / "mtp" / request.param


@pytest.mark.parametrize(
    ("mode", "train", "graded"),
    [
        ("configuration", "train.cfg.xz", "graded.cfg.xz"),
        ("neighbourhood", "train_small.cfg.xz", "graded_nbh.cfg.xz"),
    ],
)
def test_grades(folder, mode, train, graded):
    potential = mtp.read(folder / "pot.mtp.xz")
    active = ActiveSet.of(potential, cfg.read(folder / train), mode)
    assert active.rank == len(active.equations) - NULL[folder.name]
    found = active.grades(potential, cfg.read(folder / "in.cfg.xz"))
    np.testing.assert_allclose(
        found.values, cfg.read(folder / graded).info["MV_grade"], rtol=1e-9, atol=6e-7
    )
    assert not found.outside.any()


def test_selection_is_that_of_select_add_unless_filters_are_asked_for(folder):
    pool, train = cfg.read(folder / "cand.cfg.xz"), cfg.read(folder / "train.cfg.xz")
    potential = mtp.read(folder / "pot.mtp.xz")
    found = select(pool, train, {"name": "maxvol"}, potential=potential)
    wanted = cfg.read(folder / "diff.cfg.xz").info.get("idx", np.zeros(0))
    assert set(found.indices) == set(wanted.astype(int))
    assert found.of(pool).info["index"].tolist() == found.indices
