import numpy as np
import pytest
import torch
from ase.build import bulk

from aiida_mlal.ml.models.ensemble import Ensemble
from aiida_mlal.ml.models.factory import single

MODELS = ("morse", "bpnn", "gmnn", "zbl")


def alloy():
    rng = np.random.default_rng(0)
    atoms = bulk("Cu", "fcc", 3.8, cubic=True) * (2, 2, 2)
    atoms.symbols = rng.choice(["Cu", "Au"], len(atoms))
    atoms.rattle(0.1, rng=rng)
    return atoms


def evaluate(potential, atoms, threads):
    evaluator = potential.evaluator(0.5, threads)
    found = []
    for _ in range(2):
        found.append(evaluator(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc))
        atoms = atoms.copy()
        atoms.rattle(0.02, seed=1)
    return found


@pytest.mark.parametrize("threads", [2, 3, 50])
@pytest.mark.parametrize("model", MODELS)
def test_threads_change_only_the_order_of_sums(model, threads):
    torch.manual_seed(0)
    potential = single({"architecture": model}, ["Cu", "Au"], seed=0)
    for one, many in zip(evaluate(potential, alloy(), 1), evaluate(potential, alloy(), threads)):
        assert many.energies == pytest.approx(one.energies, rel=1e-12, abs=1e-13)
        scale = np.abs(one.forces).max()
        assert many.forces == pytest.approx(one.forces, abs=1e-12 * scale)
        assert many.virial == pytest.approx(one.virial, abs=1e-11 * scale)


def test_threads_leave_each_member_what_it_finds():
    members = [single({"architecture": "mtp", "level": 6}, ["Cu", "Au"], seed=s) for s in range(3)]
    potential = Ensemble(members)
    one, many = (evaluate(potential, alloy(), threads)[-1] for threads in (1, 3))
    assert many.members.energies == pytest.approx(one.members.energies, rel=1e-12)
    assert many.members.forces == pytest.approx(one.members.forces, abs=1e-14)


def test_there_is_at_least_one_thread():
    potential = single({"architecture": "morse"}, ["Cu"], seed=0)
    with pytest.raises(ValueError, match="expected one thread or more, got 0"):
        potential.evaluator(0.5, 0)
