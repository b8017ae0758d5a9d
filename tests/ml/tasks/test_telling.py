"""Tasks that take long for many structures tell how far they are."""

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats import potentials
from aiida_mlal.ml.models import base
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.tasks.runner import execute
from aiida_mlal.ml.watching import watched_by

N = 600
MTP = {"architecture": "mtp", "level": 2, "radial_basis_size": 4}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    cell = bulk("Cu", cubic=True)
    structures = [cell.copy() for _ in range(N)]
    for atoms in structures:
        atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
    Configurations.from_ase(structures).save(folder / "all.safetensors")
    Configurations.from_ase(structures[:9]).save(folder / "train.safetensors")
    potentials.save(single(MTP, ["Cu"], 0), str(folder / "potential.safetensors"))
    return folder


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ({"task": "evaluate", "dataset": "all.safetensors"}, "structures predicted"),
        (
            {"task": "grade", "dataset": "all.safetensors", "train": "train.safetensors"},
            "structures graded",
        ),
        (
            {
                "task": "select",
                "pool": "all.safetensors",
                "potential": "potential.safetensors",
                "strategy": {"name": "max_diag", "features": {"name": "gradient"}},
                "filters": {"min_distance": None, "duplicate": None},
            },
            "candidates",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value["task"],
)
def test_each_structure_is_told_once(files, tmp_path, monkeypatch, task, told):
    monkeypatch.chdir(files)
    monkeypatch.setattr(base, "AT_ONCE", 1000)  # atoms
    heard = []
    with watched_by(lambda what, done, total: heard.append((what, done, total))):
        result = execute({**task, "output": str(tmp_path / "output.safetensors")})
    assert result["status"] == "ok", result
    steps = [done for what, done, total in heard if what == told and total == N]
    assert len(steps) > 1
    assert steps == sorted(set(steps))
    assert steps[-1] == N


@pytest.mark.parametrize(("n", "told"), [(1, ("steps", 4)), (3, ("runs", 3))])
def test_one_run_tells_its_steps_and_several_tell_themselves(files, tmp_path, monkeypatch, n, told):
    monkeypatch.chdir(tmp_path)
    Configurations.load(files / "train.safetensors")[:n].save("structures.safetensors")
    simulation = {"name": "md", "steps": 4, "guard": {"max_force": None, "escape": False}}
    heard = []
    with watched_by(lambda what, done, total, **_: heard.append((what, done, total))):
        result = execute(
            {
                "task": "simulate",
                "potential": str(files / "potential.safetensors"),
                "simulation": simulation,
            }
        )
    assert result["status"] == "ok", result
    assert {(what, total) for what, _, total in heard} == {told}
    assert [done for _, done, _ in heard] == sorted(done for _, done, _ in heard)
