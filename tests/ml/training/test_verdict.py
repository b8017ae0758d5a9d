import numpy as np
import pytest
import torch
from ase import Atoms

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.training.options import LossOptions
from aiida_mlal.ml.training.problem import Problem
from aiida_mlal.ml.training.verdict import Verdict


def judged(structures, loss=None, mtp=None):
    mtp = mtp or single({"architecture": "mtp", "level": 2}, structures.elements, 0)
    targets = Prediction(
        *(
            torch.from_numpy(np.array(v))
            for v in (structures.energies, structures.forces, structures.stresses)
        )
    )
    return Verdict.of(
        Problem(mtp, mtp.prepare(mtp.graph(structures)), targets, loss or LossOptions())
    )


def alloys(energies, force=0.0):
    symbols = ["CuPd", "Cu2Pd2", "CuPd3", "Cu3Pd"]
    frames = []
    for k, symbol in enumerate(symbols):
        n = len(Atoms(symbol))
        frames.append(Atoms(symbol, np.arange(3.0 * n).reshape(n, 3) * (1 + 0.1 * k)))
    structures = Configurations.from_ase(frames)
    forces = np.full(structures.positions.shape, force)
    return structures.with_labels(np.asarray(energies, float), forces)


def test_energies_of_the_elements_explain_nothing():
    """E = 3 n_Cu - 1305 n_Pd leaves nothing, and what is beyond is the loss of the constants."""
    of_atoms = np.array([3.0 - 1305, 6 - 2610, 3 - 3915, 9 - 1305])
    assert judged(alloys(of_atoms)).constant == pytest.approx(0, abs=1e-12)
    # compositions of 2, 4, 4, 4 atoms in units of energies per atom: a least-squares fit by hand
    counts = np.array([[1, 1], [2, 2], [1, 3], [3, 1]])
    rest = np.array([0.2, -0.1, 0.05, 0.0])
    weight = 1 / counts.sum(1)
    matrix = weight[:, None] * counts
    left = weight * rest - matrix @ np.linalg.lstsq(matrix, weight * rest)[0]
    found = judged(alloys(of_atoms + rest), LossOptions(1.0, 0.0, 0.0)).constant
    assert found == pytest.approx((left**2).sum() / 2, rel=1e-6)


def test_forces_are_not_there_without_interaction():
    """The mean square of components, 0.3², in each of four structures."""
    found = judged(alloys(np.zeros(4), 0.3), LossOptions(0.0, 0.04, 0.0)).constant
    assert found == pytest.approx(4 * 0.04 * 0.3**2 / 2)


def test_noise_is_not_to_be_explained():
    quiet = judged(alloys(np.zeros(4), 0.005), LossOptions(0.0, 1.0, 0.0))
    loud = judged(alloys(np.zeros(4), 0.5), LossOptions(0.0, 1.0, 0.0))
    assert quiet.noise == loud.noise == pytest.approx(4 * 0.01**2 / 2)
    mute = Verdict(quiet.constant, quiet.constant, quiet.noise)
    assert mute.unexplained == (0.0, "labels")
    half = Verdict(loud.constant / 2, loud.constant, loud.noise)
    assert half.unexplained == (0.5, "labels")


def test_a_kind_of_labels_that_was_missed_is_named():
    """Forces of 5 eV/Å are half of all there is, so that energies are easily overlooked."""
    good = Verdict(0.1, 10.0, 0.0)
    missed = Verdict(0.11, 10.1, 0.0, {"energies": Verdict(0.06, 0.1, 0.0), "forces": good})
    assert missed.unexplained == (pytest.approx(0.6), "energies")
    enough = Verdict(0.11, 10.1, 0.0, {"energies": Verdict(0.02, 0.1, 0.0), "forces": good})
    assert enough.unexplained == (pytest.approx(0.11 / 10.1), "labels")


def test_a_few_labels_that_are_alike_are_judged_as_if_they_varied():
    """A level of 2 without coefficients predicts nothing: 10 meV/atom off is no failure."""
    near = alloys([0.02, 0.04, 0.04, 0.04])
    found = judged(near, LossOptions(1.0, 0.0, 0.0)).kinds["energies"]
    assert found.loss == pytest.approx(4 * 0.01**2 / 2, rel=0.2)
    assert found.constant == pytest.approx(4 * 0.1**2 / 2)


def test_labels_that_are_missing_do_not_count():
    energies = np.array([1.0, np.nan, np.nan, np.nan])
    structures = alloys(energies)
    blank = structures.with_labels(energies, np.full_like(structures.forces, np.nan))
    found = judged(blank)
    assert found.constant == pytest.approx(0, abs=1e-12)
    assert found.noise == pytest.approx(1e-6 / 2)
