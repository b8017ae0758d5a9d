import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from aiida_mlal.ml.formats import files
from aiida_mlal.ml.formats.describe import describe
from aiida_mlal.ml.formats.labels import LabelKeys

FRAMES = 4


@pytest.fixture
def frames():
    found = []
    for seed in range(FRAMES):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        results = {
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(),
        }
        atoms.calc = SinglePointCalculator(atoms, **results)
        found.append(atoms)
    return found


@pytest.fixture
def truth(frames):
    return files.Configurations.from_ase(frames)


def renamed(tmp_path, frames, **names):
    """Write frames whose labels have other names, and return the file."""
    for atoms in frames:
        results = dict(atoms.calc.results)
        atoms.calc = None
        for label, name in names.items():
            value = results.pop(label)
            if label == "forces":
                atoms.arrays[name] = value
            elif label == "stress":
                xx, yy, zz, yz, xz, xy = value
                atoms.info[name] = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
            else:
                atoms.info[name] = value
        atoms.calc = SinglePointCalculator(atoms, **results)
    ase.io.write(tmp_path / "a.extxyz", frames)
    return tmp_path / "a.extxyz"


def test_a_column_that_looks_like_forces_is_named(tmp_path, frames, truth):
    path = renamed(tmp_path, frames, forces="force")
    found = files.load(path)
    assert np.isnan(found.configurations.forces).all()
    assert found.warnings == (
        f"{path}: not read, though it looks like labels: force (to be read with "
        "--forces-key force)",
    )
    found = files.load(path, keys=LabelKeys(forces="force"))
    np.testing.assert_allclose(found.configurations.forces, truth.forces, atol=1e-8)
    assert "force" not in found.configurations.arrays
    assert found.warnings == (f"{path}: the forces are 'force', which 4 of 4 structures have",)


def test_reference_labels_are_read_under_their_names(tmp_path, frames, truth):
    names = {"energy": "REF_energy", "forces": "REF_forces", "stress": "REF_stress"}
    path = renamed(tmp_path, frames, **names)
    found = files.load(path)
    assert found.configurations.status.tolist() == ["unlabelled"] * FRAMES
    for key in names.values():
        assert key in found.warnings[0]
    found = files.load(path, keys=LabelKeys(**names)).configurations
    assert found.status.tolist() == ["ok"] * FRAMES
    np.testing.assert_allclose(found.energies, truth.energies, rtol=1e-8)
    np.testing.assert_allclose(found.stresses, truth.stresses, atol=1e-8)
    assert not found.info


def test_a_key_that_only_some_structures_have(tmp_path, frames):
    path = renamed(tmp_path, frames, energy="dft_energy")
    frames = ase.io.read(path, ":")
    del frames[1].info["dft_energy"]
    ase.io.write(path, frames)
    assert "--energy-key dft_energy" in files.load(path).warnings[0]
    found = files.load(path, keys=LabelKeys(energy="dft_energy"))
    assert found.configurations.status.tolist() == ["ok", "unlabelled", "ok", "ok"]
    assert "'dft_energy', which 3 of 4 structures have" in found.warnings[0]


@pytest.mark.parametrize("key", ["virial", "REF_virial"])
def test_a_virial_is_the_stress_times_minus_the_volume(tmp_path, frames, truth, key):
    for atoms in frames:
        virial = -atoms.calc.results.pop("stress") * atoms.get_volume()
        xx, yy, zz, yz, xz, xy = virial
        atoms.info[key] = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    ase.io.write(tmp_path / "a.extxyz", frames)
    keys = None if key == "virial" else LabelKeys(virial=key)
    found = files.load(tmp_path / "a.extxyz", keys=keys)
    np.testing.assert_allclose(found.configurations.stresses, truth.stresses, atol=1e-9)
    assert f"-1 times '{key}' by the volume" in found.warnings[0]
    if keys is not None:
        assert f"--virial-key {key}" in files.load(tmp_path / "a.extxyz").warnings[0]


def test_a_virial_beside_a_stress_is_left_alone(tmp_path, frames, truth):
    for atoms in frames:
        atoms.info["virial"] = np.ones((3, 3))
    ase.io.write(tmp_path / "a.extxyz", frames)
    found = files.load(tmp_path / "a.extxyz")
    np.testing.assert_allclose(found.configurations.stresses, truth.stresses, atol=1e-8)
    assert "not read, though it looks like labels: virial" in found.warnings[0]


def test_a_virial_without_a_volume_is_no_stress(tmp_path):
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.8]], info={"virial": np.eye(3)})
    ase.io.write(tmp_path / "a.extxyz", atoms)
    found = files.load(tmp_path / "a.extxyz")
    assert np.isnan(found.configurations.stresses).all()
    assert "1 structures without a volume have none" in found.warnings[0]


def test_the_energy_of_a_file_is_of_one_kind_and_said(tmp_path, frames, truth):
    for atoms in frames[::2]:
        atoms.calc.results["free_energy"] = atoms.calc.results["energy"] - 0.5
    ase.io.write(tmp_path / "a.traj", frames)
    found = files.load(tmp_path / "a.traj")
    np.testing.assert_allclose(found.configurations.energies, truth.energies)
    assert "energies are 'energy': only 2 of 4 structures have a 'free_energy'" in found.warnings[0]
    for atoms in frames[1::2]:
        atoms.calc.results["free_energy"] = atoms.calc.results["energy"] - 0.5
    ase.io.write(tmp_path / "a.traj", frames)
    found = files.load(tmp_path / "a.traj")
    np.testing.assert_allclose(found.configurations.energies, truth.energies - 0.5)
    assert "energies are 'free_energy', whose derivative forces are" in found.warnings[0]
    found = files.load(tmp_path / "a.traj", keys=LabelKeys(energy="energy"))
    np.testing.assert_allclose(found.configurations.energies, truth.energies)


def test_the_status_of_another_code_is_none_of_ours(tmp_path, frames):
    for atoms in frames:
        atoms.info["status"] = "converged"
    ase.io.write(tmp_path / "a.extxyz", frames)
    found = files.load(tmp_path / "a.extxyz")
    assert len(found.configurations.learnable) == FRAMES
    assert found.configurations.info["file_status"].tolist() == ["converged"] * FRAMES
    assert "its 'status' (converged) is none of ours" in found.warnings[0]


def test_an_energy_that_is_no_number_is_said(tmp_path, frames):
    frames[2].calc.results["energy"] = np.nan
    ase.io.write(tmp_path / "a.extxyz", frames)
    found = files.load(tmp_path / "a.extxyz")
    assert found.configurations.status.tolist() == ["ok", "ok", "unlabelled", "ok"]
    assert "no number is the energy of 1 structures, the first is 2" in found.warnings[0]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"energy": "REF_energy"}, r"no structure has 'REF_energy', which was to be the energy"),
        ({"forces": "F"}, r"no structure has 'F', which was to be the forces, choose from \['site"),
        ({"energy": "name"}, "'name' cannot be the energy: expected numbers of shape"),
        ({"forces": "site"}, r"'site' cannot be the forces: expected 3 numbers for each atom"),
        ({"stress": "step"}, r"'step' cannot be the stress: expected numbers of shape \(3, 3\)"),
        ({"energy": "free_energy"}, "no structure has the energy 'free_energy'"),
    ],
)
def test_keys_that_are_no_labels_are_refused(tmp_path, frames, keys, message):
    for i, atoms in enumerate(frames):
        atoms.info |= {"name": f"n{i}", "step": i}
        atoms.arrays["site"] = np.arange(4.0)
    ase.io.write(tmp_path / "a.extxyz", frames)
    with pytest.raises(ValueError, match=r"a\.extxyz: .*" + message):
        files.load(tmp_path / "a.extxyz", keys=LabelKeys(**keys))


@pytest.mark.parametrize(
    ("label", "name", "said"),
    [
        ("stress", "stress_kbar", "kbar (the stress would have to be in eV/Å³)"),
        ("stress", "REF_stress_GPa", "GPa (the stress would have to be in eV/Å³)"),
        ("energy", "energy_per_atom", "per atom (the energy would have to be in eV (of all"),
        ("energy", "energy_Ha", "Hartree (the energy would have to be in eV (of all"),
        ("energy", "energy_eV_atom", "per atom (the energy would have to be in eV (of all"),
        ("stress", "stressGPa", "GPa (the stress would have to be in eV/Å³)"),
        ("energy", "kinetic_energy", "kinetic (the energy would have to be in eV (of all"),
        ("forces", "forces-Ry/bohr", "Rydberg (the forces would have to be in eV/Å)"),
    ],
)
def test_no_column_in_another_unit_is_taken(tmp_path, frames, label, name, said):
    found = files.load(renamed(tmp_path, frames, **{label: name}))
    assert f"looks like labels: {name}, whose name says {said}" in " ".join(found.warnings)
    assert "-key" not in " ".join(found.warnings)
    with pytest.raises(ValueError, match=f"{label}: the name '{name}' says .*, expected a column"):
        LabelKeys(**{label: name})


def test_a_name_of_stress_and_virial_may_be_either(tmp_path, frames):
    found = files.load(renamed(tmp_path, frames, stress="virial_stress"))
    wanted = "--stress-key virial_stress (if in eV/Å³) or --virial-key virial_stress (if in eV)"
    assert wanted in found.warnings[0]


@pytest.mark.parametrize("name", ["energy_Au", "energy_eV", "barrier_energy", "e_formation"])
def test_names_that_tell_no_other_unit(name):
    assert LabelKeys(energy=name).energy == name


def test_forces_are_of_atoms():
    assert LabelKeys(forces="force_per_atom").forces == "force_per_atom"


def test_one_source_of_the_stress():
    with pytest.raises(ValueError, match="expected the key of a stress or of a virial"):
        LabelKeys(stress="a", virial="b")


def test_what_we_write_looks_like_no_label(tmp_path, truth):
    predicted = truth.with_predictions(truth).with_info(force_std=np.ones(FRAMES))
    for name in ("a.extxyz", "a.safetensors"):
        files.write(predicted, tmp_path / name)
        assert files.load(tmp_path / name).warnings == ()


def test_a_status_without_a_label_is_said(tmp_path):
    path = tmp_path / "promised.extxyz"
    path.write_text("1\nstatus=ok Properties=species:S:1:pos:R:3\nCu 0 0 0\n")
    (said,) = describe(path)["warnings"]
    assert "has the status 'ok', but neither energy, forces nor stress" in said


def test_energies_of_a_trajectory_of_cp2k_are_not_taken_for_eV(tmp_path):
    path = tmp_path / "run-pos-1.xyz"
    path.write_text("1\n i =        0, time =        0.000, E =      -191.8\nCu 0.0 0.0 0.0\n")
    (said,) = [words for words in files.load(path).warnings if "not read" in words]
    assert "E, whose name says Hartree, as i, time and E are what CP2K writes" in said
    with pytest.raises(ValueError, match="energy: the name 'E' says Hartree"):
        files.load(path, keys=LabelKeys(energy="E"))
