"""Simulations without a guard say where their potential is not to be relied upon."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.ensemble import Ensemble
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.simulation.md import MolecularDynamics
from aiida_mlal.ml.simulation.relax import Relax
from aiida_mlal.ml.uncertainty.carried import carry
from aiida_mlal.ml.uncertainty.domain import Domain

FREE = Guard(min_distance=None, max_force=None, escape=False, max_volume_ratio=None)
HOT = MolecularDynamics(
    steps=30, timestep=5.0, temperature=4000.0, thermostat_time=20.0, guard=FREE
)


def morse(depth=0.3):
    parameters = {"Cu": {"De": depth, "re": 2.7, "a": 1.4}}
    model = {"architecture": "morse", "cutoff": 4.5, "parameters": parameters}
    return ModelOptions.parse(model).build(["Cu"], seed=0)


def crystal(seed=None, width=0.05):
    atoms = bulk("Cu", a=3.47, cubic=True)
    if seed is not None:
        atoms.rattle(width, seed=seed)
    return Configurations.from_ase(atoms)


def test_grades_that_mean_nothing_are_named():
    model = {"architecture": "mtp", "level": 6, "cutoff": 4.5}
    potential = ModelOptions.parse(model).build(["Cu"], seed=0)
    learned = Configurations.concatenate([crystal(seed, 0.001) for seed in range(5)])
    carry(potential, {"name": "grade"}, learned)
    start = Configurations.concatenate([crystal(), crystal(1, 0.3)])
    result = HOT.run(potential, start)
    largest = max(run.max_uncertainty for run in result.runs)
    assert largest > 10
    said = result.warnings[0]
    worst = int(np.argmax([run.max_uncertainty for run in result.runs]))
    assert f"'grade' is {largest:.3g} in run {worst}, and 10 or more in 2 of 2" in said
    guarded = replace(HOT, guard=replace(FREE, break_=1e9)).run(potential, start)
    assert guarded.warnings == ()
    calm = replace(HOT, steps=0).run(potential, learned[:1])
    assert calm.runs[0].max_uncertainty <= 1.1
    assert calm.warnings == ()


@pytest.mark.parametrize(("depth", "n"), [(9.0, 1), (0.3001, 0)])
def test_members_that_disagree_are_named(depth, n):
    committee = Ensemble([morse(), morse(depth)])
    result = HOT.run(committee, crystal(1, 0.2))
    assert (result.runs[0].max_uncertainty > 1) == bool(n)
    assert len(result.warnings) == n
    assert all("'force_std' is" in said and "eV/Å in run 0" in said for said in result.warnings)


def test_of_a_relaxation_the_end_counts():
    committee = Ensemble([morse(), morse(9.0)])
    result = Relax(fmax=0.01, guard=FREE).run(committee, crystal(1, 0.2))
    run = result.runs[0]
    assert run.max_uncertainty > 1 > run.uncertainty
    assert result.warnings == ()


def test_surroundings_that_were_never_learned_are_named_without_a_measure():
    potential = morse()
    Domain.of(potential, crystal()).store(potential)
    assert Relax(fmax=0.01, guard=FREE).run(potential, crystal()).warnings == ()
    (said,) = HOT.run(potential, crystal(1, 0.2)).warnings
    assert said.startswith("at the end of runs: ")
    assert "nearest neighbours outside of what was labelled: Cu-Cu" in said
