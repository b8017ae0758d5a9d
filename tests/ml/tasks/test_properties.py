import json
import os
import signal

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats.describe import describe
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.ensemble import Ensemble
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.models.sum import Sum
from aiida_mlal.ml.properties.elastic import Elastic
from aiida_mlal.ml.properties.members import separate
from aiida_mlal.ml.properties.spread import interval95
from aiida_mlal.ml.tasks.runner import execute

LATTICE, ELASTIC = {"name": "lattice"}, {"name": "elastic"}


def morse(depth, elements=("Cu",)):
    parameters = {e: {"De": depth, "re": 2.2, "a": 1.4} for e in elements}
    model = {"architecture": "morse", "cutoff": 4.0, "parameters": parameters}
    return ModelOptions.parse(model).build(list(elements), 0)


@pytest.fixture
def crystals(folder):
    Configurations.from_ase([bulk("Cu", a=3.0), bulk("Cu", a=3.0, cubic=True)]).save(
        "structures.safetensors"
    )


@pytest.fixture
def committee(folder):
    """Three Morse potentials of different depths, which all have the same minimum."""
    committee = Ensemble([morse(depth) for depth in (1.0, 1.1, 1.3)])
    Checkpoint(committee).save("potential.safetensors")
    return committee


def test_numbers_of_a_committee_have_the_mean_and_the_interval_of_its_members(crystals, committee):
    result = execute({"task": "properties", "properties": [LATTICE, ELASTIC]})
    assert result["status"] == "ok", result
    assert result["message"] == ""
    first, second = result["structures"]
    c44 = first["elastic"]["C44_GPa"]
    assert len(c44["members"]) == 3
    assert c44["value"] == pytest.approx(np.mean(c44["members"]))
    assert c44["interval95"] == pytest.approx(interval95(c44["members"]))
    depths = np.array([1.0, 1.1, 1.3])
    np.testing.assert_allclose(np.array(c44["members"]) / depths, c44["members"][0], rtol=1e-3)
    assert first["lattice"]["a_A"]["interval95"] < 1e-3
    assert second["elastic"]["C44_GPa"]["value"] == pytest.approx(c44["value"], rel=1e-3)


def test_a_reference_stands_beside(folder, committee):
    Configurations.from_ase(bulk("Cu")).save("structures.safetensors")
    result = execute({"task": "properties", "properties": [LATTICE], "calculator": {"name": "emt"}})
    assert result["status"] == "ok", result
    (row,) = result["structures"]
    assert row["lattice"]["a_A"]["reference"] == pytest.approx(3.59, abs=0.01)
    alone = execute(
        {"task": "properties", "properties": [LATTICE], "potential": None,
         "calculator": {"name": "emt"}}
    )  # fmt: skip
    assert alone["structures"][0]["lattice"]["a_A"] == {"value": row["lattice"]["a_A"]["reference"]}
    assert (alone["computed_by"], result["computed_by"]) == ("calculator", "potential")


def test_what_was_computed_is_kept_with_its_purpose(folder, crystals, committee):
    properties = [ELASTIC, {"name": "equation_of_state", "n": 5}]
    execute({"task": "properties", "properties": properties})
    written = Configurations.load("properties.safetensors")
    counts = dict(zip(*np.unique(written.info["purpose"], return_counts=True)))
    assert counts == {"equilibrium": 6, "elastic": 24, "equation_of_state": 30}
    assert sorted(set(written.info["member"].tolist())) == [0, 1, 2]
    assert not np.isfinite(written.energies).any()
    last = written[np.flatnonzero(written.info["member"] == 2)]
    np.testing.assert_allclose(
        morse(1.3).predict(last.bare).energies, last.info["predicted_energy"], atol=1e-8
    )
    curves = json.loads((folder / "properties.curves.json").read_text())
    assert np.shape(curves["s1_equation_of_state_energy_eV_per_atom"]) == (3, 5)


def test_a_property_that_a_structure_lacks_costs_no_other(folder, committee):
    from ase import Atoms

    pair = Atoms("Cu2", [[0, 0, 0], [2.3, 0, 0]])
    Configurations.from_ase([pair, bulk("Cu", a=3.0)]).save("structures.safetensors")
    result = execute({"task": "properties", "properties": [LATTICE, {"name": "dimer"}]})
    assert result["status"] == "ok", result
    molecule, crystal = result["structures"]
    assert set(molecule["lattice"]) == {"warnings"}
    assert "Cu2 is not periodic everywhere" in result["message"]
    assert molecule["dimer"]["Cu_Cu_distance_A"]["value"] == pytest.approx(2.2, abs=0.05)
    assert "value" in crystal["lattice"]["a_A"]


def test_nothing_at_all_is_an_error(folder, committee):
    from ase import Atoms

    Configurations.from_ase(Atoms("Cu", [[0, 0, 0]])).save("structures.safetensors")
    result = execute({"task": "properties", "properties": [LATTICE]})
    assert result["status"] == "invalid_input"
    assert (
        "nothing could be computed: structure 0, lattice: member 0: not computed"
        in (result["message"])
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"properties": []}, "properties: choose from"),
        ({"properties": [LATTICE, LATTICE]}, "'lattice' is asked for twice"),
        ({"properties": [{"name": "elastics"}]}, "did you mean 'elastic'"),
        ({"properties": [{"name": "elastic", "strains": 1}]}, "did you mean 'strain'"),
        ({"potential": None}, "expected a potential, a calculator, or both, got none"),
        ({"relaxation": {"fmax": 0.0}}, "expected fmax above 0"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(options, words):
    result = execute({"task": "properties", **options})
    assert result["status"] == "invalid_input"
    assert words in result["message"]


def test_fixed_atoms_are_refused(folder, committee):
    from ase.constraints import FixAtoms

    atoms = bulk("Cu")
    atoms.set_constraint(FixAtoms([0]))
    Configurations.from_ase(atoms).save("structures.safetensors")
    message = execute({"task": "properties"})["message"]
    assert "structure 0 (Cu) has fixed atoms, and properties are those of free ones" in message


def test_each_member_of_a_sum_has_the_prior():
    prior, committee = morse(0.5), Ensemble([morse(1.0), morse(2.0)])
    one = Configurations.from_ase(bulk("Cu", a=3.0))
    energies = [p.predict(one).energies[0] for p in separate(Sum([prior, committee]))]
    unit = morse(1.0).predict(one).energies[0]
    np.testing.assert_allclose(energies, [1.5 * unit, 2.5 * unit], rtol=1e-6)
    assert separate(prior) == [prior]
    assert separate(committee) == committee.members


def test_what_was_computed_before_an_interruption_is_kept(crystals, committee, monkeypatch):
    monkeypatch.setattr(Elastic, "of", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    result = execute({"task": "properties", "properties": [LATTICE, ELASTIC]})
    assert result["status"] == "interrupted"
    row = result["structures"][1]
    assert row["lattice"]["a_A"]["value"] > 2
    assert "elastic" not in row
    kept = Configurations.load("properties.safetensors")
    assert kept.info["purpose"].tolist() == ["equilibrium"] * 2


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_potential_that_learned_no_stress_is_told(folder, weight):
    """As of a campaign with a fixed cell: E(V) was wrong by 61 GPa, without a word."""
    frames = [bulk("Cu", a=3.6, cubic=True) for _ in range(4)]
    for i, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=i)
        atoms.calc = EMT()
        atoms.get_stress(), atoms.get_forces()
    Configurations.from_ase(frames).save("dataset.safetensors")
    Configurations.from_ase(bulk("Cu")).save("structures.safetensors")
    loss = {"stress": weight}
    training = {"epochs": 2, "loss": loss}
    model = {"architecture": "gp", "cutoff": 4.0}
    trained = execute({"task": "train", "model": model, "training": training})
    assert trained["status"] == "ok", trained
    shown = describe("potential.safetensors")["warnings"]
    found = execute({"task": "properties", "properties": [LATTICE]})
    moving = {"name": "relax", "max_steps": 1, "cell": "full"}
    runs = execute({"task": "simulate", "simulation": moving})
    for said in (" ".join(shown), found["message"], runs["message"]):
        assert ("learned no stresses (of its training set they are off by" in said) == (not weight)
    still = execute({"task": "simulate", "simulation": {**moving, "cell": "fixed"}})
    assert "learned no stresses" not in still["message"]
