import numpy as np
import pytest
import torch
from ase.build import bulk

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.engines.numba import kernels_of
from aiida_mlal.ml.fast import verlet
from aiida_mlal.ml.fast.verlet import n_parts
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.factory import ModelOptions, single
from aiida_mlal.ml.models.gp import GP
from tests.ml.models.test_contract import observe

MTP = {"architecture": "mtp", "level": 6}
ZBL = {"architecture": "zbl", "cutoff": 4.0, "switch": 2.0}
MODELS = {name: {"architecture": name} for name in ("morse", "bpnn", "gmnn", "gp", "second_moment")}
MODELS |= {"zbl": ZBL, "mtp": MTP, "mtps on a prior": MTP | {"prior": ZBL, "ensemble": 3}}


def alloy(repeat=4):
    rng = np.random.default_rng(0)
    atoms = bulk("Cu", "fcc", 3.8, cubic=True) * (repeat, 4, 4)
    atoms.symbols = rng.choice(["Cu", "Au"], len(atoms))
    atoms.rattle(0.1, rng=rng)
    return atoms


def make(model):
    torch.manual_seed(0)
    potential = ModelOptions.parse(model).build(["Cu", "Au"], 0)
    for part in potential.modules():
        if isinstance(part, GP):
            observe(part, torch.Generator().manual_seed(0))
    return potential


def evaluate(engine, atoms, gradients=False):
    found = []
    for _ in range(2):
        values = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
        found.append(engine(*values, gradients))
        atoms = atoms.copy()
        atoms.rattle(0.02, seed=1)
    return found


@pytest.mark.parametrize("threads", [2, 3, 50])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_threads_change_no_bit(model, threads):
    potential, atoms = make(model), alloy()
    assert n_parts(len(atoms)) == 4
    one, many = (
        evaluate(engine, atoms, engine.has_gradients)
        for engine in (kernels_of(potential, 0.5), kernels_of(potential, 0.5, threads))
    )
    for mine, theirs in zip(one, many):
        for name in ("energies", "forces", "virial"):
            assert getattr(mine, name).tobytes() == getattr(theirs, name).tobytes()
        assert mine.members.forces.tobytes() == theirs.members.forces.tobytes()
        if mine.gradients is not None:
            assert mine.gradients.tobytes() == theirs.gradients.tobytes()


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_parts_change_only_the_order_of_sums(model, monkeypatch):
    potential, atoms = make(model), alloy()
    divided = evaluate(kernels_of(potential, 0.5), atoms)
    monkeypatch.setattr(verlet, "MOST_PARTS", 1)
    for one, many in zip(evaluate(kernels_of(potential, 0.5), atoms), divided):
        assert many.energies == pytest.approx(one.energies, rel=1e-12, abs=1e-13)
        scale = np.abs(one.forces).max()
        assert many.forces == pytest.approx(one.forces, abs=1e-12 * scale)
        assert many.virial == pytest.approx(one.virial, abs=1e-11 * scale)


@pytest.mark.parametrize(
    ("n_atoms", "expected"), [(0, 1), (127, 1), (128, 2), (432, 4), (1024, 16), (10**6, 16)]
)
def test_the_number_of_parts_is_that_of_the_atoms_alone(n_atoms, expected):
    assert n_parts(n_atoms) == expected


@pytest.mark.parametrize("repeat", [1, 4], ids=["undivided", "divided"])
@pytest.mark.parametrize("prior", [None, "morse", "zbl"])
@pytest.mark.parametrize("ensemble", [1, 3])
def test_derivatives_by_the_parameters_pass_sums_and_committees(prior, ensemble, repeat):
    extra = {} if prior is None else {"prior": {"architecture": prior}}
    potential, atoms = make(MTP | extra | {"ensemble": ensemble}), alloy(repeat)
    engine = kernels_of(potential, 0.5)
    assert engine.has_gradients
    graph = potential.graph(Configurations.from_ase(atoms))
    expected = potential.parameter_gradients(graph).numpy()
    found = evaluate(engine, atoms, gradients=True)[0].gradients
    assert found.shape == expected.shape
    assert found == pytest.approx(expected, abs=1e-12 * abs(expected).max())


@pytest.mark.parametrize("model", [MTP | {"ensemble": 2}, MTP | {"prior": {"architecture": "zbl"}}])
def test_derivatives_by_the_parameters_are_those_of_autograd(model):
    potential = make(model)
    graph = potential.graph(Configurations.from_ase(alloy(1)[:20]))
    plain = Potential.parameter_gradients(potential, graph)
    torch.testing.assert_close(potential.parameter_gradients(graph), plain, rtol=1e-10, atol=1e-12)


def test_fixed_coefficients_have_no_derivatives():
    potential = make(MTP | {"prior": {"architecture": "morse"}})
    for weight in potential.parameters():
        weight.requires_grad_(False)
    assert not kernels_of(potential, 0.5).has_gradients
    next(potential.parameters()).requires_grad_()
    assert not kernels_of(potential, 0.5).has_gradients  # some, not all


def test_networks_know_no_derivatives_by_the_parameters():
    engine = kernels_of(make({"architecture": "bpnn"}), 0.5)
    assert not engine.has_gradients
    with pytest.raises(ValueError, match="no derivatives by the parameters"):
        evaluate(engine, alloy(1), gradients=True)


def test_there_is_at_least_one_thread():
    potential = single({"architecture": "morse"}, ["Cu"], seed=0)
    with pytest.raises(ValueError, match="expected one thread or more, got 0"):
        kernels_of(potential, 0.5, 0)
