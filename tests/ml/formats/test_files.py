from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian
from ase.spacegroup import Spacegroup

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats import files
from aiida_mlal.ml.formats.describe import describe, is_potential, summary
from aiida_mlal.ml.formats.types import Types


@pytest.fixture
def structures():
    frames = []
    for i in range(3):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.05, seed=i)
        atoms.set_constraint(FixAtoms([0]))
        atoms.calc = EMT()
        values = {
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces(apply_constraint=False),
            "stress": atoms.get_stress(),
        }
        atoms.calc = SinglePointCalculator(atoms, **values)
        frames.append(atoms)
    return Configurations.from_ase(frames)


@pytest.mark.parametrize("name", ["a.safetensors", "a.extxyz", "a.traj", "a.db", "a.json"])
def test_what_is_written_is_read(tmp_path, structures, name):
    files.write(structures, tmp_path / name)
    again = files.read(tmp_path / name)
    for key in ("numbers", "cells", "pbc"):
        np.testing.assert_allclose(getattr(again, key), getattr(structures, key), atol=1e-12)
    for key in ("positions", "energies", "forces", "stresses"):
        np.testing.assert_allclose(getattr(again, key), getattr(structures, key), rtol=1e-15)
    np.testing.assert_array_equal(again.fixed, structures.fixed)


@pytest.mark.parametrize("name", ["a.extxyz", "a.safetensors"])
def test_predictions_are_read_too(tmp_path, structures, name):
    forces = np.random.default_rng(0).normal(size=(12, 3))
    uncertainty = np.arange(12.0)
    structures = structures.with_info(uncertainty=[0.1, 0.2, 0.3], run=[0, 0, 1]).with_arrays(
        predicted_forces=forces, uncertainty=uncertainty
    )
    files.write(structures, tmp_path / name)
    again = files.read(tmp_path / name)
    np.testing.assert_allclose(again.arrays["predicted_forces"], forces, atol=1e-7)
    np.testing.assert_allclose(again.arrays["uncertainty"], uncertainty)
    np.testing.assert_allclose(again.info["uncertainty"], [0.1, 0.2, 0.3])
    assert list(again.info["run"]) == [0, 0, 1]


def test_a_cfg_holds_single_values_only(tmp_path, structures):
    predicted = np.zeros((3, 3, 3))
    files.write(
        structures.with_info(predicted_stress=predicted, grade=[1, 2, 3]), tmp_path / "a.cfg"
    )
    again = files.read(tmp_path / "a.cfg")
    assert "predicted_stress" not in again.info
    assert list(again.info["grade"]) == [1, 2, 3]


def test_cfg_of_a_process_of_mlip(tmp_path, structures):
    files.write(structures, tmp_path / "a.cfg")
    (tmp_path / "a.cfg").rename(tmp_path / "a.cfg.0")
    assert files.read(tmp_path / "a.cfg.0").keys == structures.keys


def test_cfg_of_mlip(tmp_path, structures):
    files.write(structures, tmp_path / "a.cfg.xz", elements=["Ag", "Cu"])
    again = files.read(tmp_path / "a.cfg.xz", elements=["Ag", "Cu"])
    assert again.elements == ("Cu",)
    np.testing.assert_allclose(again.energies, structures.energies)


def test_no_structures(tmp_path):
    files.write(Configurations.empty(), tmp_path / "a.safetensors")
    assert len(files.read(tmp_path / "a.safetensors")) == 0


@pytest.mark.parametrize("name", ["a.safetensors", "a.xyz", "a.cfg", "a.vasp", "a.zzz", "a"])
def test_nonsense_is_refused(tmp_path, name):
    (tmp_path / name).write_text("nonsense\n")
    with pytest.raises(ValueError, match=f"{name}: "):
        files.read(tmp_path / name)


def test_an_empty_file_is_said_to_be_so(tmp_path):
    path = tmp_path / "nothing.extxyz"
    path.touch()
    with pytest.raises(ValueError, match=r"nothing\.extxyz is empty"):
        files.read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*a.xyz"):
        files.read(tmp_path / "a.xyz")


def test_a_name_that_several_formats_have_says_which_is_written(tmp_path, structures):
    (said, *_) = files.write(structures[0], tmp_path / "cu.data")
    assert "format of RuNNer and n2p2, in Hartree and Bohr: no data file of LAMMPS" in said
    assert not any("RuNNer" in said for said in files.write(structures[0], tmp_path / "cu.xyz"))


def test_formats_that_cannot_be_written(tmp_path, structures):
    with pytest.raises(ValueError, match=r"a\.zzz: ASE does not know this format"):
        files.write(structures, tmp_path / "a.zzz")
    with pytest.raises(ValueError, match="ASE reads the format 'cp2k-dcd' only"):
        files.write(structures, tmp_path / "a.dcd")
    with pytest.raises(ValueError, match="there is no folder"):
        files.write(structures, tmp_path / "nowhere" / "a.extxyz")


def test_summary_of_mixed_structures(structures):
    mixed = Configurations.concatenate([structures, Configurations.from_ase(Atoms("H2"))])
    found = summary(mixed)
    assert found["formulas"] == {"Cu4": 3, "H2": 1}
    assert found["statuses"] == {"ok": 3, "unlabelled": 1}
    per_atom = structures.energies / 4
    assert found["energy_per_atom"] == [per_atom.min(), per_atom.max()]
    assert found["n_with_stress"] == 3


def test_summary_of_nothing():
    assert summary(Configurations.empty())["n_structures"] == 0


def test_structures_are_no_potential(tmp_path, structures):
    for name in ("a.safetensors", "a.extxyz"):
        files.write(structures, tmp_path / name)
        assert not is_potential(tmp_path / name)
        assert describe(tmp_path / name)["kind"] == "structures"


def test_an_empty_text_swallows_nothing(tmp_path):
    structures = Configurations.from_ase(bulk("Cu")).with_info(blank=[""], next=[3])
    files.write(structures, tmp_path / "a.extxyz")
    assert files.read(tmp_path / "a.extxyz").info["next"].tolist() == [3]


@pytest.mark.parametrize("name", ["a.extxyz", "a.cfg", "a.traj", "a.safetensors"])
def test_a_full_disk_is_one_sentence(tmp_path, structures, name, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    for module, function in (
        (files.cfg, "write"),
        (files.extxyz, "write"),
        (files.ase.io, "write"),
        (Configurations, "save"),
    ):
        monkeypatch.setattr(module, function, full)
    with pytest.raises(ValueError, match=f"{name} could not be written: No space left on device"):
        files.write(structures, tmp_path / name)


POSCAR = """Cu
1.0
{}
Cu
2
Selective dynamics
Direct
0 0 0 F F F
0.5 0.02 0.0 T T F
"""


def test_selective_dynamics_along_an_axis_is_kept(tmp_path):
    slab = "3 0 0\n1 3 0\n0 0 9"
    (tmp_path / "POSCAR").write_text(POSCAR.format(slab))
    found = files.load(tmp_path / "POSCAR")
    assert found.configurations.fixed.tolist() == [[True] * 3, [False, False, True]]
    assert found.warnings == ()


def test_selective_dynamics_along_oblique_vectors_is_read_and_named(tmp_path):
    (tmp_path / "POSCAR").write_text(POSCAR.format("0 3.61 3.61\n1.805 0 1.805\n1.805 1.805 0"))
    found = files.load(tmp_path / "POSCAR")
    assert found.configurations.formulas == ["Cu2"]
    assert "no simulation can keep the constraints FixScaled" in found.warnings[0]
    with pytest.raises(ValueError, match=r"structure 0 \(Cu2\): its constraints FixScaled"):
        found.configurations.check_movable()


@pytest.mark.parametrize("counts", ["999999999", "+999999999", "999999999 0.1 T"])
def test_counts_are_compared_with_the_size_of_the_file(tmp_path, counts):
    text = POSCAR.format("3 0 0\n0 3 0\n0 0 9").replace("\n2\n", f"\n{counts}\n")
    (tmp_path / "POSCAR").write_text(text)
    with pytest.raises(ValueError, match="POSCAR: it is to have 999999999 atoms, but has 11 lines"):
        files.read(tmp_path / "POSCAR")


def test_columns_and_keys_that_only_some_structures_have_are_kept(tmp_path):
    frames = [Atoms("H"), Atoms("H")]
    frames[1].info["weight"] = 2.0
    frames[1].new_array("site", np.array([[1.0, 2.0, 3.0]]))
    ase.io.write(tmp_path / "a.extxyz", frames)
    found = files.read(tmp_path / "a.extxyz")
    np.testing.assert_array_equal(found.info["weight"], [np.nan, 2.0])
    np.testing.assert_array_equal(found.arrays["site"], [[np.nan] * 3, [1.0, 2.0, 3.0]])


DUMP = """ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0 4
0 4
0 4
ITEM: ATOMS id type {columns}x y z fx fy fz
2 1 {second}0.0 1.70 2.34 0.1 0 0
1 2 {first}0.0 0.0 0.0 -0.1 0 0
"""


DATA = """# a cell

2 atoms
2 atom types

0 10 xlo xhi
0 10 ylo yhi
0 10 zlo zhi

{masses}Atoms # atomic

1 1 0 0 0
2 2 2 2 2
"""


class TestDumpsOfLAMMPS:
    """ASE gives them an energy of 0, and takes numbers of types for atomic numbers."""

    @pytest.fixture
    def dump(self, tmp_path):
        path = tmp_path / "md.lammpstrj"
        path.write_text(DUMP.format(columns="", first="", second=""))
        return path

    def test_they_have_no_energy(self, dump):
        found = files.load(dump, ["Ni", "Al"])
        assert np.isnan(found.configurations.energies).all()
        assert found.configurations.status.tolist() == ["unlabelled"]
        assert found.configurations.forces[:, 0].tolist() == [-0.1, 0.1]
        assert "1 of 1 structures have forces but no energy" in "".join(found.warnings)

    def test_elements_are_those_of_the_types(self, dump):
        assert files.load(dump, ["Ni", "Al"]).configurations.numbers.tolist() == [13, 28]
        assert files.load(dump, default=["Ni", "Al"]).configurations.numbers.tolist() == [13, 28]
        assert files.load(dump).types == Types(("H", "He"), "nobody", first=1)
        with pytest.raises(ValueError, match=r"types 1 to 2, got \['Ni'\]"):
            files.load(dump, ["Ni"])

    def test_those_that_are_named_are_kept(self, dump):
        dump.write_text(DUMP.format(columns="element ", first="O ", second="Mg "))
        assert files.load(dump, default=["Ni", "Al"]).configurations.numbers.tolist() == [8, 12]
        assert files.load(dump, named=True).types is None

    def test_they_are_refused_where_elements_matter(self, dump):
        assert not files.load(dump).types.named
        for default in (None, ["H", "He"]):  # which are those that nobody named
            with pytest.raises(ValueError, match="only number the types of their atoms"):
                files.load(dump, default=default, named=True)
        assert files.load(dump, ["H", "He"], named=True).types.named
        found = files.load(dump, default=["Ni", "Al"], named=True)
        assert "its types count as Ni, Al, as in what it goes with" in " ".join(found.warnings)

    def test_data_files_number_types_as_well(self, tmp_path):
        path = tmp_path / "lmp.data"
        path.write_text(DATA.format(masses=""))
        assert not files.load(path).types.named
        with pytest.raises(ValueError, match="only number the types"):
            files.load(path, named=True)
        assert files.load(path, ["Ni", "Al"]).configurations.numbers.tolist() == [28, 13]
        path.write_text(DATA.format(masses="Masses\n\n1 58.69\n2 26.98\n\n"))
        assert files.load(path, named=True).configurations.numbers.tolist() == [28, 13]

    @pytest.mark.parametrize(
        ("atoms", "lines"), [("3", "has 2"), ("1", "has 2"), ("2147483648 1.5", "the file has")]
    )
    def test_a_frame_has_the_atoms_that_it_announces(self, dump, atoms, lines):
        dump.write_text(dump.read_text().replace("ATOMS\n2\n", f"ATOMS\n{atoms}\n"))
        words = f"frame 0 is to have {atoms.split()[0]} atoms, but {lines}"
        with pytest.raises(ValueError, match=words):
            files.load(dump, ["Ni", "Al"])


class TestWhatAFormatHasNoPlaceFor:
    @pytest.fixture
    def labelled(self):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.05, seed=1)
        atoms.calc = EMT()
        atoms.get_potential_energy()
        atoms.set_constraint(FixCartesian(0, (True, False, False)))
        return Configurations.from_ase(atoms)

    @pytest.mark.parametrize(
        ("name", "lost"),
        [
            ("a.vasp", "energies, forces, stresses"),
            ("a.cif", "energies, forces, stresses, which atoms are fixed"),
            ("a.traj", None),
            ("a.extxyz", None),
            ("a.safetensors", None),
        ],
    )
    def test_is_said(self, labelled, tmp_path, name, lost):
        said = files.write(labelled, tmp_path / name)
        assert [one.split(": ", 1)[1].startswith(lost) for one in said] == [True] * bool(lost)

    def test_directions_are_fixed_along_lattice_vectors(self, labelled, tmp_path):
        """Atom 0 cannot move along x, which is the first lattice vector."""
        files.write(labelled, tmp_path / "POSCAR")
        assert "F T T" in " ".join((tmp_path / "POSCAR").read_text().split())
        assert (files.read(tmp_path / "POSCAR").fixed == labelled.fixed).all()
        assert labelled.fixed.any()

    def test_a_file_of_one_structure_refuses_more(self, labelled, tmp_path):
        two = Configurations.concatenate([labelled, labelled])
        with pytest.raises(ValueError, match="'vasp' has one structure, got 2"):
            files.write(two, tmp_path / "two.vasp")
        with pytest.raises(ValueError, match="'vasp' has one structure only"):
            files.check_target(tmp_path / "two.vasp", several=True)

    def test_the_end_of_a_name_decides(self, labelled, tmp_path):
        files.write(labelled, tmp_path / "x_POSCAR.traj")
        assert files.read(tmp_path / "x_POSCAR.traj").energies == labelled.energies


def test_a_file_of_n2p2_is_said_to_be_in_atomic_units(tmp_path):
    path = tmp_path / "input.data"
    path.write_text(
        "begin\nlattice 7.0 0.0 0.0\nlattice 0.0 7.0 0.0\nlattice 0.0 0.0 7.0\n"
        "atom 0.0 0.0 0.0 Cu 0.0 0.0 0.1 0.0 0.0\natom 0.0 0.0 4.2 Cu 0.0 0.0 -0.1 0.0 0.0\n"
        "energy -3279.0\ncharge 0.0\nend\n"
    )
    assert "read as of atomic units, Hartree and Bohr" in " ".join(files.load(path).warnings)


def test_an_energy_that_others_contradict_is_named(tmp_path):
    frames = [bulk("Cu", cubic=True) for _ in range(6)]
    for i, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=i)
        energy = EMT().get_potential_energy(atoms) + 50.0 * (i == 3)
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
    ase.io.write(tmp_path / "a.extxyz", frames)
    said = " ".join(describe(tmp_path / "a.extxyz")["warnings"])
    assert "the energies of 1 of 6 structures are far from what the others let expect" in said
    assert "number 3 (+12.5)" in said


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("a.extxyz", "charges, dipole, energies, magmoms"),
        ("a.traj", "charges, dipole, energies, magmoms"),
        ("a.json", "charges, dipole, energies, magmoms"),
        ("a.db", "charges, dipole, magmoms"),  # which has no energies of atoms
    ],
)
def test_results_that_are_no_labels_are_named_in_every_format(tmp_path, name, lost):
    """They went without a word."""
    atoms = bulk("Cu", cubic=True)
    labels = {"energy": -1.0, "forces": np.zeros((4, 3))}
    others = {
        "energies": np.ones(4),
        "charges": np.ones(4),
        "magmoms": np.ones(4),
        "dipole": np.ones(3),
    }
    atoms.calc = SinglePointCalculator(atoms, **labels, **others)
    ase.io.write(tmp_path / name, atoms)
    found = files.load(tmp_path / name)
    assert found.configurations.energies.tolist() == [-1.0]
    assert f"{tmp_path / name}: not kept of its results: {lost}" in found.warnings
    atoms.calc = SinglePointCalculator(atoms, **labels)
    (tmp_path / name).unlink()
    ase.io.write(tmp_path / name, atoms)
    assert not any("not kept" in told for told in files.load(tmp_path / name).warnings)


def test_texts_of_atoms_are_named(tmp_path):
    atoms = bulk("Cu", cubic=True)
    atoms.set_array("site", np.array(["corner", "face", "face", "face"]))
    ase.io.write(tmp_path / "a.extxyz", atoms)
    found = files.load(tmp_path / "a.extxyz")
    assert any("no numbers or texts of one shape: ['site']" in one for one in found.warnings)


@pytest.mark.parametrize(
    ("along", "warned"), [("0   0   0", True), ("1   0   1", True), ("", False)]
)
def test_fixed_atoms_of_an_output_of_pw_are_told(tmp_path, along, warned):
    """They moved without a word where a relaxation began from such a file."""
    whole = (Path(__file__).parent / "outputs" / "pw_unconverged.out").read_text()
    atoms = f"ATOMIC_POSITIONS (angstrom)\nH  0.2850166292  0.0  -0.7604672011  {along}\n"
    atoms += "H  0.2850166292  1.0  0.7604672011  1   1   1\n\n"
    (tmp_path / "pw.out").write_text(whole.replace("JOB DONE", atoms + "JOB DONE"))
    warnings = files.load(tmp_path / "pw.out").warnings
    assert any("it has fixed atoms, which are not read" in one for one in warnings) == warned


def test_what_builders_of_ase_note_for_themselves_is_no_loss(tmp_path):
    slab = fcc100("Cu", (1, 1, 2), vacuum=5)
    crystal = bulk("Cu", cubic=True)
    crystal.info["spacegroup"] = Spacegroup(225)
    ase.io.write(tmp_path / "built.traj", [slab, crystal])
    assert slab.info
    assert files.load(tmp_path / "built.traj").warnings == ()
