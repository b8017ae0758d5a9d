import json
import pickle
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import (
    FixAtoms,
    FixBondLengths,
    FixCartesian,
    FixedLine,
    FixedPlane,
    FixScaled,
)
from ase.io import read, write

from aiida_mlal.ml.configurations import FORMAT, VERSION, Configurations
from aiida_mlal.ml.formats import files
from aiida_mlal.ml.tensorfile import pack, unpack


def labelled(atoms, energy=-1.0, seed=0):
    rng = np.random.default_rng(seed)
    results = {"energy": energy, "forces": rng.normal(size=(len(atoms), 3))}
    if atoms.pbc.all():
        results["stress"] = rng.normal(size=6)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def slab():
    atoms = fcc100("Cu", (1, 1, 3), vacuum=4)
    atoms.pbc = True, True, False
    atoms.set_constraint([FixAtoms([0]), FixCartesian([1], (True, False, True))])
    return atoms


@pytest.fixture
def frames():
    left_handed = Atoms("AuCu", [[0, 0, 0], [1, 2, 1.5]], cell=[[0, 3, 0], [3, 0, 0], [0.2, 0, 4]])
    left_handed.pbc = True
    return [
        labelled(molecule("H2O"), -3.0, 1),
        labelled(slab(), 2.5, 2),
        Atoms("Cu"),
        labelled(left_handed, 0.0, 3),
    ]


@pytest.fixture
def configurations(frames):
    return Configurations.from_ase(frames)


def same(one, other):
    return one.to_bytes() == other.to_bytes()


def test_ase_structures_come_back_as_they_were(frames, configurations):
    for atoms, again in zip(frames, configurations.to_ase(), strict=True):
        assert again == atoms  # of ASE: numbers, positions, cell and pbc
        assert (again.calc is None) == (atoms.calc is None)
        if atoms.calc is not None:
            assert again.get_potential_energy() == atoms.get_potential_energy()
            np.testing.assert_array_equal(
                again.get_forces(apply_constraint=False), atoms.get_forces(apply_constraint=False)
            )
            assert ("stress" in again.calc.results) == ("stress" in atoms.calc.results)
    np.testing.assert_array_equal(
        configurations.to_ase()[3].get_stress(), frames[3].get_stress(), strict=True
    )
    assert same(Configurations.from_ase(configurations.to_ase()), configurations)


def test_labels_that_are_missing_are_nan(configurations):
    np.testing.assert_array_equal(np.isnan(configurations.energies), [0, 0, 1, 0])
    np.testing.assert_array_equal(np.isnan(configurations.stresses).any(axis=(1, 2)), [1, 1, 1, 0])
    np.testing.assert_array_equal(np.isnan(configurations.forces).any(axis=1), [0] * 6 + [1, 0, 0])
    np.testing.assert_array_equal(configurations.status, ["ok", "ok", "unlabelled", "ok"])
    assert len(configurations.learnable) == 3


def test_stress_is_that_of_ase_in_all_its_components():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.2, seed=3)
    atoms.calc = EMT()
    stress = atoms.get_stress(voigt=False)
    found = Configurations.from_ase(atoms)
    np.testing.assert_array_equal(found.stresses[0], stress)
    full = labelled(bulk("Cu"))
    full.calc.results["stress"] = stress
    np.testing.assert_array_equal(Configurations.from_ase(full).stresses[0], stress)


def test_results_of_another_geometry_are_no_labels():
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    atoms.get_forces()
    atoms.positions[0, 0] += 0.1
    moved = Configurations.from_ase(atoms)
    assert np.isnan(moved.energies).all()
    assert np.isnan(moved.forces).all()
    stale = labelled(molecule("H2O"))
    stale.rattle(0.1, seed=0)
    assert np.isnan(Configurations.from_ase(stale).energies).all()


def test_forces_are_the_derivative_of_the_energy_taken():
    atoms = labelled(molecule("H2O"))
    atoms.calc.results["free_energy"] = -7.5  # of a smeared calculation: not the extrapolated one
    assert Configurations.from_ase(atoms).energies == [-7.5]


def test_a_calculator_that_has_not_run_gives_no_labels():
    atoms = bulk("Cu")
    atoms.calc = EMT()
    found = Configurations.from_ase(atoms)
    np.testing.assert_array_equal(found.status, ["unlabelled"])
    assert atoms.calc.results == {}


def test_constraints_are_kept_by_component(configurations):
    fixed = configurations.fixed[3:6]
    np.testing.assert_array_equal(fixed, [[1, 1, 1], [1, 0, 1], [0, 0, 0]])
    again = configurations.to_ase()[1]
    forces = again.get_forces()
    np.testing.assert_array_equal(forces == 0, fixed)
    moved = again.positions + 1.0
    again.set_positions(moved)
    np.testing.assert_array_equal(again.positions == moved, ~fixed)


def test_constraints_of_one_atom_add_up():
    atoms = Atoms("Cu2", np.eye(3)[:2])
    atoms.set_constraint([FixCartesian(0, (1, 0, 0)), FixCartesian([0, 1], (0, 0, 1))])
    np.testing.assert_array_equal(
        Configurations.from_ase(atoms).fixed, [[True, False, True], [False, False, True]]
    )
    masked = Atoms("Cu2", np.eye(3)[:2], constraint=FixAtoms(mask=[False, True]))
    np.testing.assert_array_equal(Configurations.from_ase(masked).fixed.all(axis=1), [False, True])


def test_other_constraints_are_named_and_refuse_to_move():
    atoms = molecule("H2O")
    atoms.set_constraint([FixBondLengths([(0, 1)]), FixAtoms([2])])
    found = Configurations.from_ase([molecule("H2O"), atoms])
    assert found.info["constraints_not_kept"].tolist() == ["", "FixBondLengths"]
    assert found.fixed[3:].any(axis=1).tolist() == [False, False, True]
    found[0].check_movable()
    with pytest.raises(ValueError, match=r"structure 1 \(H2O\): its constraints FixBondLengths"):
        found.check_movable()


@pytest.mark.parametrize(
    ("constraint", "fixed"),
    [
        (FixedPlane([1], [0, 0, 2]), [False, False, True]),
        (FixedLine([1], [0, -1, 0]), [True, False, True]),
        (FixScaled([1], [False, False, True]), [False, False, True]),
        (FixScaled([1], [True, True, False]), None),  # along the third vector, which is oblique
        (FixScaled([1], [True, False, False]), None),
        (FixedPlane([1], [0, 1, 1]), None),
        (FixedLine([1], [1e-3, 1, 0]), None),
    ],
)
def test_constraints_along_axes_are_kept(constraint, fixed):
    """As ASE keeps them: what it lets a random step do to the atom."""
    atoms = Atoms("Cu2", np.eye(3)[:2], cell=[[3, 1, 0], [-1, 2, 0], [1, 0, 4]], pbc=True)
    atoms.set_constraint(constraint)
    found = Configurations.from_ase(atoms)
    if fixed is None:
        assert found.info["constraints_not_kept"].tolist() == [type(constraint).__name__]
        assert not found.fixed.any()
        return
    assert found.fixed.tolist() == [[False] * 3, fixed]
    moved = atoms.copy()
    moved.set_positions(np.add(atoms.positions, [0.1, 0.2, 0.3]))
    still = np.abs(moved.positions - atoms.positions)[1] < 1e-12
    assert still.tolist() == fixed


def test_the_energy_is_of_one_kind_for_all():
    frames = [molecule("H2O") for _ in range(3)]
    for i, atoms in enumerate(frames[:2]):
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0 - i)
    frames[1].calc.results["free_energy"] = -2.5
    assert Configurations.from_ase(frames).energies[:2].tolist() == [-1.0, -2.0]
    frames[0].calc.results["free_energy"] = -1.5
    assert Configurations.from_ase(frames).energies[:2].tolist() == [-1.5, -2.5]
    assert Configurations.from_ase(frames, energy="energy").energies[:2].tolist() == [-1.0, -2.0]
    del frames[0].calc.results["free_energy"], frames[1].calc.results["energy"]
    with pytest.raises(ValueError, match="structure 0 has only an energy, structure 1 only a free"):
        Configurations.from_ase(frames)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({"energy": "low"}, "structure 1: energy: expected a real number, got 'low'"),
        ({"energy": 1j}, "structure 1: energy: expected a real number, got 1j"),
        ({"energy": [1.0, 2.0]}, r"expected a real number, got float64 of shape \(2,\)"),
        ({"forces": np.zeros((2, 3))}, r"forces: expected real numbers of shape \(3, 3\), got"),
        ({"stress": np.zeros(5)}, r"stress: expected real numbers of shape \(6,\) or \(3, 3\)"),
    ],
)
def test_results_of_another_shape_are_refused(results, message):
    frames = [molecule("H2O"), molecule("H2O")]
    frames[1].calc = SinglePointCalculator(frames[1])
    frames[1].calc.results.update(results)
    with pytest.raises(ValueError, match=message):
        Configurations.from_ase(frames)


def test_only_words_of_ours_are_a_status():
    frames = [molecule("H2O") for _ in range(3)]
    for atoms, word in zip(frames, ["converged", "ok", ""]):
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
        atoms.info["status"] = word
    found = Configurations.from_ase(frames)
    assert found.status.tolist() == ["ok"] * 3
    assert found.info["file_status"].tolist() == ["converged", "ok", ""]
    found = Configurations.from_ase(frames[1:])
    assert found.info["status"].tolist() == ["ok", "ok"]
    assert "file_status" not in found.info


def test_ok_without_a_label_is_refused(configurations):
    blank = configurations.with_labels(np.full(4, np.nan), np.full((9, 3), np.nan))
    with pytest.raises(ValueError, match=r"structure 0 .* has the status 'ok', but neither energy"):
        blank.with_info(status=["ok"] * 4).check_labels()
    with pytest.raises(ValueError, match=r"unknown status 'fine', choose from \['ok'"):
        configurations.with_info(status=["fine"] * 4).check_labels()


@pytest.mark.parametrize("number", [0, -1, 119])
def test_no_element_is_refused(number):
    with pytest.raises(ValueError, match=f"structure 1: atom 1 has the atomic number {number}, wh"):
        Configurations.from_geometry(
            [1, 6, 8, number], np.zeros((4, 3)), [2, 2], np.zeros((2, 3, 3)), np.zeros((2, 3))
        )


def test_negative_counts_are_refused():
    with pytest.raises(ValueError, match="counts must not be negative, got -1"):
        Configurations.from_geometry(
            [1], np.zeros((1, 3)), [2, -1], np.zeros((2, 3, 3)), np.zeros((2, 3))
        )


def test_one_long_text_among_many_is_refused_before_it_takes_memory():
    """Texts are as wide as the longest: a megabyte among 2000 would be 8 GB."""
    frames = [Atoms("H") for _ in range(2000)]
    for atoms in frames:
        atoms.info["comment"] = "short"
    frames[7].info["comment"] = "x" * 2**20
    message = r"info\['comment'\] has a text of 1048576 characters, 2000 structures can have texts"
    with pytest.raises(ValueError, match=message):
        Configurations.from_ase(frames)
    short = Configurations.from_ase(frames[8:])
    with pytest.raises(ValueError, match=message.replace("2000", "1992")):
        short.with_info(comment=["x" * 2**20] + ["short"] * 1991)
    with pytest.raises(ValueError, match=message.replace("2000", "1993")):
        Configurations.concatenate([short, Configurations.from_ase(frames[7])])
    content = short.with_info(comment=["short"] * 1992).to_bytes()
    one = json.dumps(["short"] * 1992)
    header, arrays = unpack(content, FORMAT, VERSION)
    header["strings"]["comment"] = ["x" * 2**20, *json.loads(one)[1:]]
    with pytest.raises(ValueError, match=message.replace("2000", "1992")):
        Configurations.from_bytes(pack(FORMAT, header, arrays))


def test_largest_force_leaves_out_what_is_fixed():
    atoms = Atoms("Cu3", np.eye(3))
    atoms.set_constraint([FixAtoms([0]), FixCartesian([1], (True, False, False))])
    forces = np.array([[9.0, 0, 0], [9.0, 3.0, 4.0], [0, 0, 1.0]])
    atoms.calc = SinglePointCalculator(atoms, forces=forces)
    found = Configurations.from_ase([atoms, atoms[2:], Atoms("Cu")])
    np.testing.assert_array_equal(found.max_forces, [5.0, np.nan, np.nan])


def test_info_is_kept_and_filled_up(frames):
    for i, atoms in enumerate(frames):
        atoms.info = {"name": f"n{i}", "step": i, "weight": i / 2, "none": None}
    frames[0].info["alone"] = 1.0
    found = Configurations.from_ase(frames)
    assert set(found.info) == {"alone", "name", "step", "weight"}
    assert np.isnan(found.info["alone"]).tolist() == [False, True, True, True]
    last = found.to_ase()[3].info
    assert last == {"name": "n3", "step": 3, "weight": 1.5}
    assert isinstance(found.to_ase()[3].info["step"], int)


def test_files_of_ase_keep_labels(tmp_path, configurations):
    for name in ("frames.extxyz", "frames.traj"):
        write(tmp_path / name, configurations.to_ase())
        again = Configurations.from_ase(read(tmp_path / name, ":"))
        for key in ("numbers", "positions", "cells", "pbc", "energies", "forces", "stresses"):
            np.testing.assert_allclose(getattr(again, key), getattr(configurations, key), atol=1e-7)


def test_more_values_travel_with_their_structures(configurations):
    full = configurations.with_info(label=["a", "bb", "c", "ä"], box=np.ones((4, 2, 2)))
    full = full.with_arrays(charge=np.arange(9), spin=np.arange(18.0).reshape(9, 2))
    some = full[[3, 1]]
    assert some.info["label"].tolist() == ["ä", "bb"]
    assert some.arrays["charge"].tolist() == [7, 8, 3, 4, 5]
    atoms = full.to_ase()[1]
    assert atoms.info["label"] == "bb"
    np.testing.assert_array_equal(atoms.arrays["spin"], [[6, 7], [8, 9], [10, 11]])
    assert same(Configurations.from_bytes(full.to_bytes()), full)
    assert (
        full.arrays["charge"].dtype
        == Configurations.from_bytes(full.to_bytes()).arrays["charge"].dtype
    )


@pytest.mark.parametrize(
    "which",
    [2, -1, slice(1, 3), slice(None, None, -1), [3, 0, 0], np.array([True, False, True, False])],
)
def test_selections_are_those_of_a_list(frames, configurations, which):
    index = np.atleast_1d(np.arange(4)[which])
    expected = Configurations.from_ase([frames[i] for i in index])
    assert same(configurations[which], expected)


def test_iteration_yields_each_structure(configurations):
    parts = list(configurations)
    assert [len(part) for part in parts] == [1] * 4
    assert same(Configurations.concatenate(parts), configurations)


@pytest.mark.parametrize("which", [[], slice(0), np.zeros(4, bool)])
def test_nothing_can_be_selected(configurations, which):
    nothing = configurations.with_info(label=["a"] * 4)[which]
    assert len(nothing) == 0
    assert nothing.positions.shape == (0, 3)
    assert same(Configurations.from_bytes(nothing.to_bytes()), nothing)


def test_an_index_out_of_range_is_an_error(configurations):
    with pytest.raises(IndexError):
        configurations[4]


def test_an_empty_set_is_a_set():
    empty = Configurations.empty()
    assert len(empty) == 0
    assert empty.to_ase() == []
    assert empty.elements == ()
    assert empty.keys == []
    assert len(empty.learnable) == 0
    assert same(Configurations.from_ase([]), empty)
    assert same(Configurations.from_bytes(empty.to_bytes()), empty)
    assert same(Configurations.concatenate([]), empty)


def test_adding_nothing_changes_nothing(configurations):
    full = configurations.with_info(run=np.arange(4), flag=[True] * 4)
    for batches in (
        [full, Configurations.empty()],
        [Configurations.empty(), full],
        [full[:0], full],
    ):
        assert same(Configurations.concatenate(batches), full)


def test_values_that_some_batches_lack_are_filled_in(configurations):
    one = configurations[[0, 2]].with_info(score=[1, 2], name=["a", "b"])
    one = one.with_arrays(charge=np.ones(4), spin=np.ones((4, 2)))
    other = configurations[[1]].with_info(status=["unconverged"])
    both = Configurations.concatenate([one, other])
    np.testing.assert_array_equal(both.info["score"], [1, 2, np.nan])
    assert both.info["name"].tolist() == ["a", "b", ""]
    assert both.status.tolist() == ["ok", "unlabelled", "unconverged"]
    np.testing.assert_array_equal(np.isnan(both.arrays["spin"]).any(axis=1), [0] * 4 + [1] * 3)
    assert len(both.learnable) == 1


def test_status_overrules_the_label(configurations):
    judged = configurations.with_info(status=["ok", "unphysical", "failed", "ok"])
    np.testing.assert_array_equal(judged.learnable.energies, [-3.0, 0.0])


def test_what_is_given_is_copied_and_frozen():
    numbers, positions, info = np.array([29, 6]), np.eye(3)[:2], np.array([1.0])
    found = Configurations.from_geometry(
        numbers, positions, [2], np.zeros((3, 3)), [False] * 3, info={"a": info}
    )
    numbers[0], positions[0], info[0] = 1, 7.0, 7.0
    assert found.numbers.tolist() == [29, 6]
    assert found.positions[0, 0] == 1.0
    assert found.info["a"] == [1.0]
    arrays = [found.numbers, found.positions, found.fixed, found.energies, found.info["a"]]
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(FrozenInstanceError):
        found.numbers = numbers


def test_structures_given_to_ase_are_copies(configurations):
    atoms = configurations.to_ase()[0]
    atoms.positions[:] = 0
    assert configurations.positions[0].any()


def test_bytes_do_not_depend_on_how_the_set_was_made(frames, configurations):
    again = Configurations.concatenate([configurations[:1], configurations[1:]])
    assert again.to_bytes() == configurations.to_bytes()
    a = configurations.with_info(x=[1.0] * 4).with_info(y=[2.0] * 4)
    b = configurations.with_info(y=[2.0] * 4, x=[1.0] * 4)
    assert a.to_bytes() == b.to_bytes()
    wide = configurations.with_info(word=np.array(["a"] * 4, dtype="U50"))
    assert same(wide, configurations.with_info(word=["a"] * 4))
    strange = {
        "positions": np.asfortranarray(configurations.positions.astype(">f8")),
        "counts": configurations.counts.astype(np.int16),
    }
    assert same(replace(configurations, **strange), configurations)


def test_a_file_is_read_as_it_was_written(tmp_path, configurations):
    full = configurations.with_info(reason=["", "line\nbreak", "'\"", "∞"]).with_arrays(u=[0.5] * 9)
    full.save(tmp_path / "set.safetensors")
    assert same(Configurations.load(tmp_path / "set.safetensors"), full)


def test_survives_a_process_boundary(configurations):
    assert same(pickle.loads(pickle.dumps(configurations)), configurations)


def test_equal_geometry_has_an_equal_key(configurations):
    assert len(set(configurations.keys)) == 4
    unlabelled = configurations.with_labels(np.full(4, np.nan), np.full((9, 3), np.nan)).with_info(
        run=range(4)
    )
    assert unlabelled.keys == configurations.keys
    assert configurations[[2, 0]].keys == [configurations.keys[2], configurations.keys[0]]
    minus_zero = Atoms("H", [[-0.0, 0, 0]])
    assert (
        Configurations.from_ase([minus_zero, Atoms("H")]).keys[0]
        == (Configurations.from_ase(Atoms("H")).keys[0])
    )


@pytest.mark.parametrize(
    "change",
    [
        {"symbols": "HF"},
        {"positions": [[0, 0, 0], [0, 0, np.nextafter(1.0, 2.0)]]},
        {"cell": [1, 1, 1]},
        {"pbc": (True, False, False)},
    ],
)
def test_another_geometry_has_another_key(change):
    base = {"symbols": "H2", "positions": [[0, 0, 0], [0, 0, 1.0]], "cell": [5, 5, 5]}
    pair = Configurations.from_ase([Atoms(**base), Atoms(**{**base, **change})])
    assert len(set(pair.keys)) == 2


def test_predictions_are_no_labels(configurations):
    bare = configurations.with_labels(np.full(4, np.nan), np.full((9, 3), np.nan))
    said = bare.with_predictions(configurations)
    np.testing.assert_array_equal(said.info["predicted_energy"], configurations.energies)
    np.testing.assert_array_equal(said.arrays["predicted_forces"], configurations.forces)
    assert len(said.learnable) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": np.zeros((3, 3))}, r"positions must have shape \(2, 3\), got \(3, 3\)"),
        ({"numbers": [1]}, r"numbers must have shape \(2,\)"),
        ({"pbc": [True]}, r"pbc must have shape \(1, 3\)"),
        ({"energies": [1.0, 2.0]}, r"energies must have shape \(1,\)"),
        ({"info": {"a": [1, 2]}}, r"info\['a'\] must have length 1, got 2"),
        ({"arrays": {"a": [1]}}, r"arrays\['a'\] must have length 2, got 1"),
        ({"arrays": {"a": ["x", "y"]}}, r"arrays\['a'\] must be numbers, got strings"),
        ({"info": {"a": [None]}}, "expected numbers or strings, got object"),
        ({"info": {"a": [1j]}}, "expected numbers or strings, got complex"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    fine = Configurations.from_ase(Atoms("H2", np.eye(3)[:2]))
    with pytest.raises(ValueError, match=message):
        replace(fine, **change)


def test_damaged_files_are_refused_with_their_name(tmp_path, configurations):
    path = tmp_path / "set.safetensors"
    content = bytearray(configurations.to_bytes())
    content[-3] ^= 1
    for broken, message in [(bytes(content), "checksum"), (content[:-3], "not an intact")]:
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=rf"set\.safetensors: .*{message}"):
            Configurations.load(path)


def test_foreign_and_newer_files_are_refused(tmp_path, configurations):
    header, arrays = unpack(configurations.to_bytes(), FORMAT, VERSION)
    newer = pack(FORMAT, {**header, "version": VERSION + 1}, arrays)
    with pytest.raises(ValueError, match="install a newer aiida-mlal"):
        Configurations.from_bytes(newer)
    with pytest.raises(ValueError, match="expected a file of aiida-mlal/configurations"):
        Configurations.from_bytes(pack("aiida-mlal/potential", header, arrays))
    with pytest.raises(ValueError, match="pickle, which could run code"):
        Configurations.from_bytes(pickle.dumps(configurations))
    del arrays["numbers"]
    with pytest.raises(ValueError, match=r"lacks \['numbers'\]"):
        Configurations.from_bytes(pack(FORMAT, header, arrays))


def test_what_is_not_there_takes_no_room(configurations):
    blank = Configurations.from_geometry(
        configurations.numbers,
        configurations.positions,
        configurations.counts,
        np.zeros((4, 3, 3)),
        np.zeros((4, 3)),
    )
    _, arrays = unpack(blank.to_bytes(), FORMAT, VERSION)
    assert sorted(arrays) == ["counts", "numbers", "pbc", "positions"]
    again = Configurations.from_bytes(blank.to_bytes())
    assert np.isnan(again.forces).all()
    assert again.forces.shape == blank.forces.shape
    np.testing.assert_array_equal(again.cells, blank.cells)
    np.testing.assert_array_equal(again.fixed, blank.fixed)


def test_files_of_the_first_version_are_read(configurations):
    header, arrays = unpack(configurations.to_bytes(), FORMAT, VERSION)
    full = {name: getattr(configurations, name) for name in ("forces", "stresses", "fixed")}
    first = pack(FORMAT, {**header, "version": 1}, {**arrays, **full})
    assert same(Configurations.from_bytes(first), configurations)


def test_summaries(configurations):
    assert configurations.elements == ("H", "O", "Cu", "Au")
    assert configurations.formulas == ["H2O", "Cu3", "Cu", "AuCu"]
    assert configurations.offsets.tolist() == [0, 3, 6, 7, 9]
    assert configurations.owner.tolist() == [0, 0, 0, 1, 1, 1, 2, 3, 3]
    assert json.dumps(configurations.formulas)


def test_a_geometry_is_finite():
    atoms = [Atoms("H"), Atoms("CO", cell=np.eye(3), pbc=True)]
    Configurations.from_ase(atoms).check_geometry()
    Configurations.empty().check_geometry()
    atoms[1].positions[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"structure 1 \(CO\): the position of atom 1 is not fin"):
        Configurations.from_ase(atoms).check_geometry()
    atoms[1].cell[0, 0] = np.inf
    with pytest.raises(ValueError, match=r"structure 1 \(CO\): its cell is not finite"):
        Configurations.from_ase(atoms).check_geometry()


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ({"forces": (0, np.nan)}, r"structure 0 .*forces of atom 0 .*got nan"),
        ({"forces": (1, -np.inf)}, r"forces of atom 1 .*got -inf"),
        ({"energies": (0, np.inf)}, r"energy in its label.*got inf"),
    ],
)
def test_a_label_is_whole_or_missing(label, message):
    one = Configurations.from_ase(Atoms("H2", [[0, 0, 0], [0, 0, 0.7]]))
    values = {"energies": np.zeros(1), "forces": np.zeros((2, 3))}
    for name, (place, value) in label.items():
        values[name][place] = value
    torn = one.with_labels(**values).with_info(status=["ok"])
    with pytest.raises(ValueError, match=message):
        torn.check_labels()
    torn.with_info(status=["failed"]).check_labels()
    one.with_labels([-1.0], np.full((2, 3), np.nan)).check_labels()
    Configurations.empty().check_labels()


def sited():
    """Iron with all that ASE may know of its atoms."""
    atoms = bulk("Fe", cubic=True)
    atoms.set_initial_magnetic_moments([2.0, -2.0])
    atoms.set_initial_charges([0.5, -0.5])
    atoms.set_tags([1, 2])
    atoms.set_masses([55.0, 57.0])
    return atoms


def test_moments_charges_tags_and_masses_stay_with_their_atoms():
    atoms = sited()
    plain = bulk("Cu")
    found = Configurations.from_bytes(Configurations.from_ase([plain, atoms]).to_bytes())
    joined = Configurations.concatenate([Configurations.from_ase(a) for a in (plain, atoms)])
    for again in (found, joined, found.bare):
        first, second = again.to_ase()
        for one, other in ((first, plain), (second, atoms)):
            for name in ("initial_magnetic_moments", "initial_charges", "tags", "masses"):
                got, wanted = (getattr(a, f"get_{name}")() for a in (one, other))
                np.testing.assert_array_equal(got, wanted)
                assert got.dtype == wanted.dtype


def test_vectors_of_moments_stand_beside_numbers():
    canted = Atoms("Fe", magmoms=[[1.0, 2.0, 0.0]])
    along_z = bulk("Cu")
    along_z.set_initial_magnetic_moments([3.0])
    found = Configurations.from_ase([canted, along_z]).arrays["initial_magmoms"]
    assert found.tolist() == [[1.0, 2.0, 0.0], [0.0, 0.0, 3.0]]


def test_what_ase_assumes_anyway_takes_no_room():
    atoms = bulk("Cu")
    atoms.set_tags([0])
    atoms.set_masses("defaults")
    assert not Configurations.from_ase(atoms).arrays


def test_states_of_equal_geometry_have_keys_of_their_own():
    def key(**moments):
        atoms = bulk("Cu") * (2, 1, 1)
        for name, values in moments.items():
            getattr(atoms, f"set_initial_{name}")(values)
        return Configurations.from_ase(atoms).keys[0]

    plain = key()
    assert key(magnetic_moments=[0.0, 0.0]) == plain
    assert len({plain, key(magnetic_moments=[2, 2]), key(magnetic_moments=[2, -2])}) == 3
    assert key(charges=[1, 0]) != plain
    both = Configurations.concatenate(
        [Configurations.from_ase(sited()), Configurations.from_ase(bulk("Cu"))]
    )
    assert both.keys[1] == Configurations.from_ase(bulk("Cu")).keys[0]


def test_files_keep_moments_charges_tags_and_masses(tmp_path):
    found = Configurations.from_ase(sited())
    for name in ("a.extxyz", "a.safetensors"):
        files.write(found, tmp_path / name)
        again = files.read(tmp_path / name)
        assert again.keys == found.keys
        for key, values in found.sites.items():
            np.testing.assert_array_equal(again.arrays[key], values)


@pytest.mark.parametrize("texts", [["a\x00b", "\ud800"], np.array(["a\x00b", "\ud800"])])
def test_texts_are_such_that_any_database_can_hold_them(texts):
    atoms = [Atoms("Cu"), Atoms("Cu")]
    found = Configurations.from_ase(atoms).with_info(reason=texts)
    assert found.info["reason"].tolist() == ["a\\x00b", "\\ud800"]


def strange(kind):
    """Return a cell of copper that nothing can be learned from."""
    atoms = bulk("Cu", cubic=True)
    if kind == "together":
        atoms.positions[2] = atoms.positions[1] + [1e-9, 0.0, 0.0]
    elif kind == "through the cell":
        atoms.positions[2] = atoms.positions[1] + atoms.cell[0]
    elif kind == "empty":
        del atoms[:]
    elif kind == "flat":
        atoms.cell[2] = 0.0
    return atoms


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("together", "atoms 1 and 2 are less than 0.01 Å apart"),
        ("through the cell", "atoms 1 and 2 are less than 0.01 Å apart"),
        ("empty", "there are no atoms"),
        ("flat", "periodic along lattice vector 2, which is zero"),
    ],
)
def test_structures_that_nothing_can_be_learned_from_are_named(kind, words):
    found = Configurations.from_ase([bulk("Cu", cubic=True), strange(kind)])
    with pytest.raises(ValueError, match=rf"structure 1 \(.*\): {words}"):
        found.check_atoms()
    found.check_atoms(np.array([True, False]))
    Configurations.from_ase([bulk("Cu"), Atoms("Cu")]).check_atoms()
