import numpy as np
import pytest
import torch

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.descriptor import Described
from tests.ml.fast.test_bpnn import ELEMENTS, STRUCTURES
from tests.ml.fast.test_gp import DESCRIPTORS, gp
from tests.ml.models.test_descriptor import STRUCTURES as SMALL


def assert_same(process, frames):
    graph = process.graph(Configurations.from_ase(frames))
    found, expected = process.prepare(graph), Described.of(process, graph)
    for name in ("features", "jacobian", "virials", "squares"):
        mine, theirs = getattr(found, name), getattr(expected, name)
        scale = max(1.0, float(theirs.abs().max())) if theirs.numel() else 1.0
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12 * scale)
    assert torch.equal(found.graph.pairs, expected.graph.pairs)
    assert torch.equal(found.species, expected.species)


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("elements", ELEMENTS, ids=len)
def test_derivatives_are_those_of_torch(structure, elements):
    process = gp(elements)
    assert_same(process, [structure(process.elements)])


@pytest.mark.parametrize("descriptor", DESCRIPTORS.values(), ids=DESCRIPTORS)
def test_any_descriptor_agrees_with_torch(descriptor):
    process = gp(("C", "Cu"), descriptor={"eta_units": "1/A^2", **descriptor})
    assert_same(process, [make() for make in SMALL.values()])


def test_derivatives_by_positions_are_those_of_finite_differences():
    process, step = gp(("C", "Cu")), 1e-4
    atoms = SMALL["molecule"]()
    atoms.rattle(0.1, seed=3)

    def described(positions):
        there = atoms.copy()
        there.positions = positions
        return process.prepare(process.graph(Configurations.from_ase(there)))

    known = described(atoms.positions)
    maps = known.maps(torch.tensor([0]), torch.arange(3)[None])[0, :-9]
    for k in range(9):
        move = np.zeros(9)
        move[k] = step
        ends = [described(atoms.positions + s * move.reshape(3, 3)).features for s in (1, -1)]
        expected = (ends[1] - ends[0]) / (2 * step)  # forces are minus derivatives
        torch.testing.assert_close(maps[k], expected, rtol=1e-5, atol=1e-7)


def test_no_structures_and_single_precision():
    process = gp(("C", "Cu"))
    assert process.prepare(process.graph(Configurations.empty())).features.shape[0] == 0
    assert process.float().prepare(process.graph(Configurations.empty())).jacobian.dtype == (
        torch.float32
    )


def test_exponents_that_are_no_integers_are_left_to_torch():
    process = gp(("C", "Cu"), descriptor={"g4_zetas": [1.5]})
    assert_same(process, [SMALL["molecule"]()])
