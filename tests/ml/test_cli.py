import json
from pathlib import Path

import ase.io
import ase.units
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from click.testing import CliRunner

from aiida_mlal.ml import load_potential, plugins
from aiida_mlal.ml.cli import mlal
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import RUN
from aiida_mlal.ml.models import checkpoint
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.simulation.state import Checkpoint


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frames = []
    for seed in range(3):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.08, seed=seed)
        atoms.calc = EMT()
        atoms.get_forces()
        frames.append(atoms)
    ase.io.write("cu.extxyz", frames)
    blank = frames[0].copy()
    blank.calc = None
    ase.io.write("start.xyz", blank, format="extxyz")
    return tmp_path


def run(*arguments, status=0):
    result = CliRunner().invoke(mlal, arguments, catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result


def answer(*arguments):
    return json.loads(run(*arguments).stdout)


def test_a_step_of_a_campaign_by_hand(folder):
    """Label, train, relax, select, label, evaluate."""
    assert answer("label", "start.xyz", "-c", "emt")["statuses"] == {"ok": 1}
    model = {"architecture": "bpnn", "prior": {"architecture": "morse"}, "ensemble": 2}
    (folder / "model.json").write_text(json.dumps(model))
    trained = answer(
        "train", "labelled.safetensors", "-m", "model.json", "-t", '{"epochs": 3}', "--seed", "4"
    )
    assert trained["n_structures"] == 1
    simulation = '{"name": "relax", "max_steps": 3}'
    runs = answer("simulate", "start.xyz", "-p", "potential.safetensors", "-s", simulation)["runs"]
    assert len(runs) == 1
    chosen = answer(
        "select", "trajectory.safetensors", "--train", "labelled.safetensors",
        "-s", '{"name": "final_uncertainty", "n": 2}', "-f", '{"duplicate": 1e-5}',
    )  # fmt: skip
    assert chosen["selected"][0]["reason"] == "last frame of run 0"
    assert [r["index"] for r in chosen["rejected"]] == [0]
    new = answer("label", "selected.safetensors", "-c", "emt", "-o", "new.extxyz")
    assert new["statuses"] == {"ok": 2}
    errors = answer("evaluate", "new.extxyz", "-p", "potential.safetensors")["errors"]
    assert errors["force_mae"] > 0


def test_a_bare_name_stands_for_its_options(folder):
    assert answer("train", "cu.extxyz", "-m", "bpnn", "-t", '{"epochs": 1}')["n_structures"] == 3
    assert load_potential("potential.safetensors").config()["architecture"] == "bpnn"
    assert answer("select", "cu.extxyz", "-s", "random")["n_train"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "cu.extxyz", "-m", "bpnm"], "did you mean 'bpnn'"),
        (["train", "start.xyz", "-m", "bpnn"], "no structure with a label"),
        (["label", "start.xyz", "-c", "emmt"], "did you mean 'emt'"),
        (["select", "cu.extxyz", "-s", "finla"], "did you mean 'final'"),
        (["select", "cu.extxyz", "-s", '{"name": "final", "m": 1}'], "unknown option 'm'"),
        (["simulate", "cu.extxyz", "-p", "cu.extxyz"], "is of no format of potentials"),
        (["show", "nonsense.safetensors"], "not an intact safetensors file"),
        (["show", "nonsense.xyz"], "number of atoms: expected a whole number from 0"),
        (["show", "nonsense.foo"], "nonsense.foo"),
        (["convert", "cu.extxyz", "x.foo"], "x.foo"),
        (["fit-morse", "Xy", "-c", "emt"], "'Xy' is no chemical element"),
        (["fit-morse", "Si", "-c", "emt"], "No EMT-potential for Si"),
    ],
)
def test_bad_input_is_one_sentence(folder, arguments, words):
    for name in ("nonsense.safetensors", "nonsense.xyz", "nonsense.foo"):
        (folder / name).write_text("3 nonsense\n")
    result = run(*arguments, status=1)
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert result.stderr.startswith("Error: ")


@pytest.mark.parametrize("model", ['{"architecture"', "missing.json", "list.json"])
def test_bad_json_is_a_wrong_call(folder, model):
    (folder / "list.json").write_text("[1]")
    result = run("train", "cu.extxyz", "-m", model, status=2)
    assert "--model" in result.stderr


def test_bare_names_only_where_they_mean_something(folder):
    result = run("train", "cu.extxyz", "-m", "bpnn", "-t", "fast", status=2)
    assert "expected JSON" in result.stderr


def test_run_does_a_task_in_its_folder(folder):
    sub = folder / "sub"
    sub.mkdir()
    Configurations.from_ase(ase.io.read("start.xyz")).save(sub / "dataset.safetensors")
    (sub / "task.json").write_text('{"task": "label", "calculator": {"name": "emt"}}')
    run("run", "sub/task.json")
    assert json.loads((sub / "result.json").read_text())["status"] == "ok"
    (sub / "task.json").write_text('{"task": "labl"}')
    assert "did you mean 'label'" in run("run", "sub/task.json", status=1).stderr


def test_convert_keeps_labels(folder):
    run("convert", "cu.extxyz", "cu.safetensors")
    run("convert", "cu.safetensors", "cu.cfg")
    run("convert", "cu.cfg", "again.extxyz")
    first, last = (
        Configurations.from_ase(ase.io.read(f, ":")) for f in ("cu.extxyz", "again.extxyz")
    )
    np.testing.assert_allclose(first.energies, last.energies, atol=1e-7)
    np.testing.assert_allclose(first.forces, last.forces, atol=1e-7)
    np.testing.assert_allclose(first.stresses, last.stresses, atol=1e-7)


def test_convert_takes_the_last_and_appends(folder):
    run("convert", "cu.extxyz", "few.extxyz", "--last")
    run("convert", "cu.extxyz", "few.extxyz", "--append")
    found = Configurations.from_ase(ase.io.read("few.extxyz", ":"))
    whole = Configurations.from_ase(ase.io.read("cu.extxyz", ":"))
    assert found.keys == [whole.keys[-1], *whole.keys]
    np.testing.assert_allclose(found.energies, [whole.energies[-1], *whole.energies])
    assert "filled in" not in run("convert", "cu.extxyz", "few.extxyz", "--append").output
    frames = whole.with_columns({RUN: np.arange(len(whole)) + 3})
    frames.save("frames.safetensors")
    said = run("convert", "frames.safetensors", "few.extxyz", "--append").output
    assert "filled in, where structures did not have it: run (0)\n" in said
    checkpoint.Checkpoint(single({"architecture": "mtp", "level": 2}, ["Cu"], 0)).save(
        "p.safetensors"
    )
    refused = run("convert", "p.safetensors", "p.almtp", "--last", status=1)
    assert "--last and --append are for structures" in refused.stderr


def test_runs_that_are_appended_are_numbered_behind(folder):
    """Both had the number 0, and counted as one."""
    whole = Configurations.from_ase(ase.io.read("cu.extxyz", ":"))
    n = len(whole)
    whole.with_info(step=np.arange(n), time=np.arange(n) * 2.0, run=np.zeros(n, int)).save(
        "a.safetensors"
    )
    run("convert", "a.safetensors", "all.safetensors")
    said = run("convert", "a.safetensors", "all.safetensors", "--append").output
    assert "all.safetensors has such runs: those of a.safetensors are now [1]" in said
    runs = Configurations.load("all.safetensors").info["run"].tolist()
    assert runs == [0] * n + [1] * n
    whole.with_info(step=np.arange(n) + n, run=np.ones(n, int)).save("later.safetensors")
    said = run("convert", "later.safetensors", "all.safetensors", "--append").output
    assert "such runs" not in said
    assert Configurations.load("all.safetensors").info["run"].tolist()[2 * n :] == [1] * n


def test_types_keep_their_numbers(folder):
    """Files of MLIP for MLIP, which knows numbers only, have those of the file or potential."""
    run("convert", "cu.extxyz", "a.cfg", "--elements", "Zn,Cu")
    run("convert", "a.cfg", "b.cfg")
    training = '{"epochs": 1}'
    model = '{"architecture": "mtp", "level": 2}'
    run("train", "a.cfg", "-m", model, "-t", training, "--elements", "Zn,Cu", "-o", "p.almtp")
    run(
        "simulate", "p.almtp", "start.xyz", "-s", '{"name": "relax", "max_steps": 1}', "-o", "c.cfg"
    )
    grade = ("grade", "p.almtp", "a.cfg", "--train", "a.cfg", "--mode", "neighbourhood")
    run(*grade, "-o", "d.cfg")
    run("cut", "d.cfg", "--threshold", "0.1", "-o", "e.cfg")
    for name in "abcde":
        text = (folder / f"{name}.cfg").read_text()
        assert "\n     1   1 " in text
        assert "Feature   elements\tZn Cu" in text


def test_types_without_names_keep_their_numbers_too(folder):
    run("convert", "cu.extxyz", "a.cfg", "--elements", "Ag,Zn,Cu")
    text = (folder / "a.cfg").read_text()
    (folder / "a.cfg").write_text(text.replace(" Feature   elements\tAg Zn Cu\n", ""))
    said = run("convert", "a.cfg", "b.cfg").output
    assert "a.cfg: it does not say which elements its types are: they count as H, He" in said
    assert "\n     1   2 " in (folder / "b.cfg").read_text()
    run("convert", "b.cfg", "c.extxyz", "--elements", "Ag,Zn,Cu")
    assert answer("show", "c.extxyz")["elements"] == ["Cu"]
    training = (
        "train",
        "a.cfg",
        "-m",
        '{"architecture": "mtp", "level": 2}',
        "-t",
        '{"epochs": 1, "unexplained": 10, "patience": null}',
    )
    shown = answer("show", "a.cfg")
    assert "a.cfg: it does not say which elements its types are" in " ".join(shown["warnings"])
    assert shown["elements"] == ["type 2"]
    assert "formulas" not in shown
    assert "elements" not in (folder / "b.cfg").read_text()
    assert not answer("show", "a.cfg", "--elements", "Ag,Zn,Cu")["warnings"]
    refused = "a.cfg: the structures only number the types of their atoms: say which"
    assert refused in run(*training, status=1).output
    for command in ("label a.cfg -c emt", "select a.cfg -s random", "analyse b.cfg"):
        assert "only number the types" in run(*command.split(), status=1).output
    for target in ("d.extxyz", "d.safetensors"):
        assert "--elements" in run("convert", "a.cfg", target, status=1).output
        assert not (folder / target).exists()
    labelled = answer("label", "a.cfg", "-c", "emt", "--elements", "Ag,Zn,Cu")
    assert labelled["statuses"] == {"ok": shown["n_structures"]}
    assert not answer(*training, "--elements", "Ag,Zn,Cu")["message"]


@pytest.mark.parametrize("target", ["nowhere/a.cfg", "nowhere/a.extxyz", "nowhere/a.safetensors"])
def test_a_missing_folder_is_one_sentence(folder, target):
    message = "there is no folder nowhere"
    assert message in run("convert", "cu.extxyz", target, status=1).stderr
    result = run("train", "cu.extxyz", "-m", "bpnn", "-o", "nowhere/p.safetensors", status=1)
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_a_training_set_that_is_made_small_keeps_its_labels(folder):
    run("train", "cu.extxyz", "-m", '{"architecture": "mtp", "level": 2}', "-t", '{"epochs": 1}')
    found = answer(
        "select", "potential.safetensors", "cu.extxyz", "-s", "maxvol", "-o", "few.extxyz"
    )
    few, many = (ase.io.read(name, ":") for name in ("few.extxyz", "cu.extxyz"))
    assert [atoms.info["index"] for atoms in few] == [s["index"] for s in found["selected"]]
    for atoms in few:
        assert atoms.get_potential_energy() == many[atoms.info["index"]].get_potential_energy()
    assert "no labels" in run("errors", "potential.safetensors", "start.xyz", status=1).stderr


def test_labels_that_all_failed_are_no_success(folder):
    ase.io.write("mgo.xyz", bulk("MgO", "rocksalt", a=4.2), format="extxyz")
    said = run("label", "mgo.xyz", "-c", "emt", status=1)
    assert "no structure has a good label: 1 of 1" in said.stderr
    assert len(Configurations.load("labelled.safetensors")) == 1


def test_simulations_go_on_from_a_state(folder):
    model = '{"architecture": "bpnn", "hidden": [2], "cutoff": 4.0}'
    run("train", "cu.extxyz", "-m", model, "-t", '{"epochs": 1}')
    Path("begun.safetensors").write_bytes(Checkpoint("another").to_bytes())
    arguments = ("simulate", "potential.safetensors", "start.xyz", "--begun", "begun.safetensors")
    assert "the state is that of simulations from" in run(*arguments, status=1).stderr


def test_what_conversion_leaves_out_is_said(folder):
    frame = ase.io.read("cu.extxyz", "0")
    assert "left out" not in run("convert", "cu.extxyz", "cu.cfg", "--elements", "Cu").output
    frame.set_constraint(FixAtoms([0]))
    frame.set_array("colour", np.arange(4.0))
    frame.pbc = [True, True, False]
    ase.io.write("fixed.extxyz", frame)
    said = run("convert", "fixed.extxyz", "fixed.cfg").output
    wanted = "fixed atoms, lattice vectors without periodicity, stresses without a periodic cell, c"
    assert f"left out, as fixed.cfg has no place for it: {wanted}olour\n" in said
    training = ("-m", '{"architecture": "mtp", "level": 2}', "-t", '{"epochs": 1}')
    run("train", "cu.extxyz", *training, "-o", "a.almtp")
    assert not Path("progress.json").exists()
    assert "has no place for it: the active set" in run("convert", "a.almtp", "a.mtp").output
    assert "left out" not in run("convert", "a.almtp", "b.safetensors").output
    assert "no release of LAMMPS" in run("convert", "a.almtp", "b.almtp", "--lammps", "in.a").output
    assert "extrapolation_control:threshold_break=10 " in Path("in.a").read_text()
    run("convert", "a.almtp", "c.mtp", "--lammps", "in.c")
    assert "extrapolation" not in Path("in.c").read_text()
    for others, said in (
        (("a.almtp", "b.safetensors"), "is for potentials .mtp or .almtp"),
        (("cu.extxyz", "cu.cfg"), "has structures"),
    ):
        assert said in run("convert", *others, "--lammps", "in.x", status=1).stderr
        assert not Path("in.x").exists()


def test_convert_potentials(folder):
    run("train", "cu.extxyz", "-m", '{"architecture": "mtp", "level": 2}', "-t", '{"epochs": 1}')
    run("convert", "potential.safetensors", "pot.almtp")
    run("convert", "pot.almtp", "back.safetensors", "--elements", "Cu")
    structures = Configurations.from_ase(ase.io.read("cu.extxyz", ":"))
    first, last = (
        load_potential(f).predict(structures) for f in ("potential.safetensors", "back.safetensors")
    )
    np.testing.assert_allclose(first.energies, last.energies, rtol=1e-6)
    run("train", "cu.extxyz", "-m", "bpnn", "-t", '{"epochs": 1}')
    result = run("convert", "potential.safetensors", "pot.mtp", status=1)
    assert "holds moment tensor potentials, this is a 'bpnn'" in result.stderr


def test_show_structures(folder):
    found = answer("show", "cu.extxyz")
    assert (found["n_structures"], found["n_atoms"], found["elements"]) == (3, 12, ["Cu"])
    assert found["statuses"] == {"ok": 3}
    assert found["n_with_stress"] == 3
    forces = Configurations.from_ase(ase.io.read("cu.extxyz", ":")).max_forces
    assert found["largest_force"] == pytest.approx(forces.max())
    assert answer("show", "start.xyz")["energy_per_atom"] is None


def test_show_potential(folder):
    run("train", "cu.extxyz", "-m", "bpnn", "-t", '{"epochs": 1}')
    found = answer("show", "potential.safetensors")
    assert found["kind"] == "potential"
    assert found["training"]["n_structures"] == 3
    content = bytearray(Path("potential.safetensors").read_bytes())
    content[-20] ^= 1
    Path("altered.safetensors").write_bytes(content)
    result = run("show", "altered.safetensors", status=1)
    assert "damaged or changed" in result.stderr


def test_fit_morse_gives_parameters_of_the_model(folder):
    found = answer("fit-morse", "Cu", "-c", "emt")
    plugins.find("models", "morse").Options(parameters=found)
    model = json.dumps(
        {"architecture": "bpnn", "prior": {"architecture": "morse", "parameters": found}}
    )
    run("train", "cu.extxyz", "-m", model, "-t", '{"epochs": 1}')


def test_info_lists_what_is_installed():
    found = answer("info")
    assert "final" in found["plugins"]["strategies"]
    assert found["versions"]["aiida-mlal"] == "0.1.0"


@pytest.mark.parametrize("command", ["", *mlal.commands])
def test_every_command_explains_itself(command):
    arguments = [command, "--help"] if command else ["--help"]
    text = run(*arguments).stdout
    assert "Usage: " in text
    assert len(text.splitlines()) > 5


@pytest.fixture
def grown(folder):
    """A moment tensor potential and structures that it does not know."""
    model = '{"architecture": "mtp", "level": 4, "radial_basis_size": 4}'
    training = '{"epochs": 1, "optimizer": {"name": "adam"}}'
    answer("train", "cu.extxyz", "-m", model, "-t", training)
    strange = ase.io.read("cu.extxyz", ":")
    for seed, atoms in enumerate(strange):
        atoms.calc = None
        atoms.rattle(0.4, seed=seed)
    ase.io.write("strange.extxyz", strange)
    return folder


def test_grades_and_what_is_worth_a_label(grown):
    known = answer("grade", "potential.safetensors", "cu.extxyz", "--train", "cu.extxyz")
    assert known["max_grade"] == pytest.approx(1, abs=1e-5)
    assert 0 < known["rank"] <= 3
    arguments = ["--train", "cu.extxyz", "--mode", "neighbourhood", "-o", "g.extxyz"]
    found = answer("grade", "potential.safetensors", "strange.extxyz", *arguments)
    assert found["n_extrapolative"] == 3
    frames = ase.io.read("g.extxyz", ":")
    for atoms in frames:
        assert atoms.arrays["grade"].max() == pytest.approx(atoms.info["grade"])
    assert "3 clusters" in run("cut", "g.extxyz", "--radius", "4", "-o", "cut.cfg").stdout
    assert len(ase.io.read("g.extxyz", ":")) == 3
    answer(
        "select", "potential.safetensors", "strange.extxyz", "--train", "cu.extxyz",
        "--strategy", "maxvol", "-o", "chosen.extxyz",
    )  # fmt: skip
    chosen = ase.io.read("chosen.extxyz", ":")
    assert chosen
    assert {int(atoms.info["index"]) for atoms in chosen} <= {0, 1, 2}
    assert all(atoms.info["grade"] > 1 for atoms in chosen)


def test_training_keeps_the_active_set(grown):
    found = answer("grade", "potential.safetensors", "cu.extxyz")
    assert found["max_grade"] == pytest.approx(1, abs=1e-5)
    guard = {"break": 1.5, "max_force": None, "min_distance": None}
    simulation = json.dumps({"name": "relax", "max_steps": 2, "guard": guard})
    runs = answer("simulate", "potential.safetensors", "strange.extxyz", "-s", simulation)["runs"]
    assert {r["reason"] for r in runs} == {"uncertain"}


def test_predictions_and_errors(grown):
    told = answer(
        "evaluate", "potential.safetensors", "cu.extxyz", "-o", "said.extxyz", "--as-labels"
    )
    assert "in said.extxyz are predictions" in told["message"]
    said = ase.io.read("said.extxyz", ":")
    wanted = load_potential("potential.safetensors").predict(
        Configurations.from_ase(ase.io.read("cu.extxyz", ":"))
    )
    energies = [atoms.get_potential_energy() for atoms in said]
    np.testing.assert_allclose(energies, wanted.energies, rtol=1e-6)
    assert said[0].get_stress().shape == (6,)
    errors = answer("errors", "potential.safetensors", "cu.extxyz")["errors"]
    assert errors["energy_rmse"] > 0


def test_predictions_are_not_labels(grown):
    bare = [atoms.copy() for atoms in ase.io.read("cu.extxyz", ":")]
    ase.io.write("bare.extxyz", bare)
    answer("evaluate", "potential.safetensors", "bare.extxyz", "-o", "said.extxyz")
    shown = answer("show", "said.extxyz")
    assert shown["statuses"] == {"unlabelled": len(bare)}
    said = ase.io.read("said.extxyz", ":")
    wanted = load_potential("potential.safetensors").predict(Configurations.from_ase(bare))
    energies = [atoms.info["predicted_energy"] for atoms in said]
    np.testing.assert_allclose(energies, wanted.energies, rtol=1e-6)
    forces = np.concatenate([atoms.arrays["predicted_forces"] for atoms in said])
    np.testing.assert_allclose(forces, wanted.forces, atol=1e-6)


def test_smallest_distance(folder):
    found = answer("mindist", "cu.extxyz")
    assert 2.0 < found["mindist"] < 2.6
    assert len(found["structures"]) == 3


def test_a_command_says_which_files_it_wants(folder):
    words = run("evaluate", "cu.extxyz", status=2).output
    assert "expected POTENTIAL and STRUCTURES, got 1 files" in words


TEMPLATE = """MTP
version = 1.1.0
potential_name = MTP1m
species_count = 1
potential_tag =
radial_basis_type = RBChebyshev
\tmin_dist = 2
\tmax_dist = 5
\tradial_basis_size = 4
\tradial_funcs_count = 2
alpha_moments_count = 8
alpha_index_basic_count = 5
alpha_index_basic = {{0, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}, {1, 0, 0, 0}}
alpha_index_times_count = 5
alpha_index_times = {{0, 0, 1, 5}, {1, 1, 1, 6}, {2, 2, 1, 6}, {3, 3, 1, 6}, {0, 5, 1, 7}}
alpha_scalar_moments = 5
alpha_moment_mapping = {0, 4, 5, 6, 7}
"""


def test_a_file_without_coefficients_is_trained(folder):
    """The first command of MLIP: `mlp train 06.mtp train.cfg`."""
    (folder / "06.mtp").write_text(TEMPLATE)
    few = '{"epochs": 5}'
    result = answer("train", "cu.extxyz", "-m", "06.mtp", "-t", few, "-o", "cu.mtp")
    assert result["n_parameters"] == 2 * 4 + 1 + 5
    assert result["errors"]["train"]["force_rmse"] < 0.1
    trained = load_potential("cu.mtp")
    assert trained.elements == ("Cu",)
    lists = TEMPLATE[TEMPLATE.index("alpha_moments_count") :]
    assert lists in (folder / "cu.mtp").read_text()
    missing = run("train", "cu.extxyz", "-m", "08.mtp", status=2)
    assert "there is no file 08.mtp" in missing.output


@pytest.fixture
def reference(folder):
    """Structures whose labels have the names of references."""
    frames = ase.io.read("cu.extxyz", ":")
    for atoms in frames:
        results = atoms.calc.results
        atoms.calc = None
        atoms.info["REF_energy"] = results["energy"]
        atoms.arrays["REF_forces"] = results["forces"]
    ase.io.write("ref.extxyz", frames)
    return ["--energy-key", "REF_energy", "--forces-key", "REF_forces"]


def test_labels_of_other_names_are_named_wherever_labels_are_read(folder, reference):
    hint = "--energy-key REF_energy --forces-key REF_forces"
    result = run("train", "ref.extxyz", "-m", "bpnn", "-t", '{"epochs": 1}', status=1)
    assert "no structure with a label of status 'ok'" in result.stderr
    assert hint in result.stderr
    assert hint in answer("show", "ref.extxyz")["warnings"][0]
    assert hint in run("convert", "ref.extxyz", "out.extxyz").stdout


def test_label_keys_say_where_the_labels_are(folder, reference):
    trained = answer("train", "ref.extxyz", "-m", "bpnn", "-t", '{"epochs": 1}', *reference)
    assert trained["n_structures"] == 3
    assert "the energies are 'REF_energy', which 3 of 3 structures have" in trained["message"]
    errors = answer("errors", "potential.safetensors", "ref.extxyz", *reference)["errors"]
    assert errors["force_mae"] > 0
    assert answer("show", "ref.extxyz", *reference)["statuses"] == {"ok": 3}
    run("convert", "ref.extxyz", "out.extxyz", *reference)
    assert answer("show", "out.extxyz")["statuses"] == {"ok": 3}
    chosen = answer("select", "ref.extxyz", "-s", "random", *reference)
    assert "the forces are 'REF_forces'" in chosen["message"]
    assert np.isfinite(Configurations.load("selected.safetensors").energies).all()


def test_a_training_that_learned_nothing_is_a_value_and_a_warning(folder):
    training = '{"epochs": 1, "starts": 1, "optimizer": {"name": "lbfgs", "iterations": 1}}'
    arguments = ("train", "cu.extxyz", "-m", '{"architecture": "bpnn", "hidden": []}')
    result = run(*arguments, "-t", training)
    assert json.loads(result.stdout)["learned"] is False
    assert "Warning: the potential has learned" in result.stderr
    result = run(*arguments, "-t", '{"unexplained": 100}')
    assert json.loads(result.stdout)["learned"] is True
    assert "Warning" not in result.stderr


def test_one_of_candidates_and_training_set_has_the_labels_that_are_named(folder, reference):
    """Such as a pool without labels beside a training set with labels of another name."""
    query = ("select", "start.xyz", "-s", "random", "-f", "{}")
    message = answer(*query, "--train", "ref.extxyz", *reference)["message"]
    assert "the energies are 'REF_energy', which 3 of 3 structures have" in message
    named = ("--energy-key", "free_energy")
    assert "selected" in answer(*query, "--train", "cu.extxyz", *named)
    for keys, key in ((reference, "REF_energy"), (named, "free_energy")):
        result = run(*query, "--train", "start.xyz", *keys, status=1)
        assert f"none of ['start.xyz', 'start.xyz'] has '{key}'" in result.stderr


def test_warnings_of_reading_are_printed_by_all_commands(folder, reference, grown):
    hint = "ref.extxyz: not read, though it looks like labels: REF_energy, REF_forces"
    assert hint in answer("mindist", "ref.extxyz")["warnings"][0]
    assert hint in answer("label", "ref.extxyz", "-c", "emt")["message"]
    run("train", "cu.extxyz", "-m", "bpnn", "-t", '{"epochs": 1}', "-o", "cu.safetensors")
    relax = ("-s", '{"name": "relax", "max_steps": 1}')
    assert hint in answer("simulate", "cu.safetensors", "ref.extxyz", *relax)["message"]
    grades = ("--train", "cu.extxyz", "--mode", "neighbourhood", "-o", "graded.extxyz")
    assert hint in answer("grade", "potential.safetensors", "ref.extxyz", *grades)["message"]
    said = run("cut", "graded.extxyz", "--threshold", "0", "-o", "cut.cfg").stdout
    assert hint.replace("ref.", "graded.") in said


def test_molecular_dynamics_is_run_and_analysed(folder):
    checkpoint.Checkpoint(single({"architecture": "morse", "cutoff": 4.5}, ["Cu"], 0)).save(
        "morse.safetensors"
    )
    options = '{"name": "md", "steps": 40, "every": 4, "temperature": 500, "thermostat": "bussi"}'
    (ended,) = answer("simulate", "morse.safetensors", "start.xyz", "-s", options)["runs"]
    assert ended["reason"] == "completed"
    assert ended["results"]["time_ps"] == pytest.approx(0.04)
    (found,) = answer("analyse", "trajectory.safetensors", "--skip", "8", "--bins", "12")["runs"]
    assert (found["frames"], found["interval_fs"]) == (9, 4)
    assert found["highest_peak_A"]["Cu-Cu"] == pytest.approx(2.55, abs=0.3)
    (curves,) = json.loads((folder / "analysis.json").read_text())["runs"]
    assert len(curves["mean_square_displacement"]["Cu"]["squares_A2"]) == 9
    near = answer("analyse", "trajectory.safetensors", "--cutoff", "0.5")["runs"][0]
    assert near["highest_peak_A"] == {"Cu-Cu": None}
    message = run("analyse", "cu.extxyz", status=1).output
    assert "cu.extxyz: expected frames of molecular dynamics" in message


def test_velocities_in_files_are_kept(folder):
    atoms = ase.io.read("start.xyz")
    atoms.set_velocities(np.arange(12.0).reshape(4, 3) / 100)
    ase.io.write("moving.extxyz", atoms)
    checkpoint.Checkpoint(single({"architecture": "morse"}, ["Cu"], 0)).save("morse.safetensors")
    options = '{"name": "md", "steps": 0, "velocities": "given", "thermostat": "none"}'
    run("simulate", "morse.safetensors", "moving.extxyz", "-s", options)
    found = Configurations.load("trajectory.safetensors").arrays["velocities"]
    wanted = atoms.get_velocities() * ase.units.fs
    np.testing.assert_allclose(found, wanted - wanted.mean(axis=0), atol=1e-9)


def test_predictions_are_said_to_be_no_labels(folder):
    known = Configurations.from_ase(ase.io.read("cu.extxyz", ":"))
    bare = [Atoms(a.symbols, a.positions, cell=a.cell, pbc=True) for a in known.to_ase()]
    Configurations.from_ase(bare).with_predictions(known).save("frames.safetensors")
    said = run("convert", "frames.safetensors", "frames.extxyz").output
    wanted = (
        "predictions, which are no labels: predicted_energy, predicted_forces, predicted_stress"
    )
    assert said.splitlines()[1:] == [wanted]
    said = run("convert", "frames.safetensors", "frames.cfg").output
    assert "no labels: predicted_energy\n" in said
    assert "labels" not in run("convert", "cu.extxyz", "cu.traj").output


def test_properties_of_a_calculator_are_printed_and_their_curves_written(folder):
    """A rattled cell of copper relaxes to fcc."""
    wanted = ("-P", "lattice", "-P", '{"name": "cold_curve", "n": 5}')
    found = answer("properties", "start.xyz", "-c", "emt", *wanted, "-o", "all.extxyz")
    (row,) = found["structures"]
    assert row["lattice"]["a_A"]["value"] == pytest.approx(3.59, abs=5e-3)
    assert found["computed_by"] == "calculator"
    curves = json.loads((folder / "all.curves.json").read_text())
    assert len(curves["s0_cold_curve_energy_eV_per_atom"][0]) == 5
    assert [atoms.info["purpose"] for atoms in ase.io.read("all.extxyz", ":")] == [
        "equilibrium", *["cold_curve"] * 5
    ]  # fmt: skip
    message = run("properties", "start.xyz", "-P", "lattice", status=1).output
    assert "expected a potential, a calculator, or both, got none" in message
