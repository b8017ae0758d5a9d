import numpy as np
import pytest
import torch

from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.training.loss import Loss
from aiida_mlal.ml.training.options import LossOptions

COUNTS = (1, 4, 2)
VOLUMES = (11.0, 52.0, float("nan"))


def graph():
    return Graph(
        numbers=torch.full((sum(COUNTS),), 29),
        owner=torch.arange(len(COUNTS)).repeat_interleave(torch.tensor(COUNTS)),
        pairs=torch.zeros(2, 0, dtype=torch.long),
        vectors=torch.zeros(0, 3, dtype=torch.float64),
        shifts=torch.zeros(0, 3, dtype=torch.long),
        positions=torch.zeros(sum(COUNTS), 3, dtype=torch.float64),
        cells=torch.zeros(len(COUNTS), 3, 3, dtype=torch.float64),
        pbc=torch.ones(len(COUNTS), 3, dtype=torch.bool),
        volumes=torch.tensor(VOLUMES, dtype=torch.float64),
    )


def values(seed):
    rng = np.random.default_rng(seed)
    stresses = rng.normal(size=(len(COUNTS), 3, 3))
    stresses[np.isnan(VOLUMES)] = np.nan
    parts = rng.normal(size=len(COUNTS)), rng.normal(size=(sum(COUNTS), 3)), stresses
    return Prediction(*(torch.tensor(part) for part in parts))


def errors():
    """Of each structure: energy, sum of squares of forces, sum of squares of the virial."""
    known, said = values(0), values(1)
    start = 0
    for s, n in enumerate(COUNTS):
        energy = float(said.energies[s] - known.energies[s])
        forces = (said.forces - known.forces)[start : start + n].numpy()
        virial = (said.stresses - known.stresses)[s].numpy() * VOLUMES[s]
        yield n, energy, (forces**2).sum(), np.nan_to_num(virial**2).sum()
        start += n


def of(**options):
    return float(Loss.of(LossOptions(**options), graph(), values(0))(values(1)))


def test_per_atom_is_the_default():
    expected = sum(
        0.7 * (e / n) ** 2 + 0.3 * f / (3 * n) + 0.2 * v / n**2 for n, e, f, v in errors()
    )
    assert of(energy=0.7, force=0.3, stress=0.2) == pytest.approx(expected / 2)


def test_molecules_equation_7():
    expected = sum(0.7 * e**2 + 0.3 * f + 0.2 * v for n, e, f, v in errors())
    found = of(energy=0.7, force=0.3, stress=0.2, scaling="molecules")
    assert found == pytest.approx(expected / 2)


def test_structures_equation_11():
    expected = sum(0.7 * (e / n) ** 2 + 0.3 * f / n + 0.2 * v / n**2 for n, e, f, v in errors())
    found = of(energy=0.7, force=0.3, stress=0.2, scaling="structures")
    assert found == pytest.approx(expected / 2)


def test_vibrations_equation_12():
    expected = sum(0.7 * e**2 / n + 0.3 * f + 0.2 * v / n for n, e, f, v in errors())
    found = of(energy=0.7, force=0.3, stress=0.2, scaling="vibrations")
    assert found == pytest.approx(expected / 2)


def test_half_the_square_of_the_residuals():
    loss = Loss.of(LossOptions(stress=0.1, scaling="vibrations"), graph(), values(0))
    assert float(loss(values(1))) == pytest.approx(
        float(loss.residuals(values(1)).square().sum()) / 2
    )


def test_labels_without_a_weight_or_a_value_count_nothing():
    loss = Loss.of(LossOptions(energy=0, force=0, stress=1), graph(), values(0))
    assert len(loss.residuals(values(1))) == 2 * 9


def test_an_unknown_scaling_is_refused():
    from aiida_mlal.ml.options import build

    with pytest.raises(ValueError, match="scaling"):
        build(LossOptions, {"scaling": "crystals"}, "loss")
