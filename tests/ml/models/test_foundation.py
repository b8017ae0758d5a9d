from functools import cache

import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.labelling.calculators import CalculatorOptions
from aiida_mlal.ml.labelling.foundation import FOUNDATION
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.factory import ModelOptions

pytestmark = pytest.mark.filterwarnings("ignore")  # of the packages, once in a process


def build(name, elements, **options):
    return ModelOptions.parse({"architecture": name, **options}).build(elements, 0)


potential = cache(build)
"""A potential, whose weights take a second to be read."""


def theirs(name, atoms):
    """Let the calculator of the package compute, as its documentation says."""
    atoms = atoms.copy()
    if name == "sevennet":
        from sevenn.calculator import SevenNetCalculator

        atoms.calc = SevenNetCalculator("7net-0", device="cpu")
    else:
        from chgnet.model.dynamics import CHGNetCalculator

        atoms.calc = CHGNetCalculator(use_device="cpu")
    return atoms


@pytest.mark.parametrize("name", FOUNDATION)
def test_a_crystal_is_as_the_package_computes_it(name):
    atoms = bulk("NaCl", "rocksalt", a=5.5)
    atoms.rattle(0.05, seed=1)
    atoms.set_cell(atoms.cell @ (np.eye(3) + 0.02 * np.eye(3, k=1)), scale_atoms=True)
    found = potential(name, ("Cl", "Na")).predict(Configurations.from_ase([atoms]))
    wanted = theirs(name, atoms)
    assert found.energies[0] == pytest.approx(wanted.get_potential_energy(), abs=1e-4)
    np.testing.assert_allclose(found.forces, wanted.get_forces(), atol=1e-4)
    np.testing.assert_allclose(found.stresses[0], wanted.get_stress(voigt=False), atol=1e-5)


@pytest.mark.parametrize("name", FOUNDATION)
@pytest.mark.parametrize("side", [None, 2.0, 30.0])
def test_a_molecule_has_no_images_whatever_its_cell(name, side):
    """CHGNet takes all structures as periodic, so that a small cell would be a crystal."""
    atoms = molecule("CH3OH")
    far = atoms.copy()
    far.set_cell(np.eye(3) * 30)
    far.center()
    far.pbc = True
    if side is not None:
        atoms.set_cell(np.eye(3) * side)
    found = potential(name, ("H", "C", "O")).predict(Configurations.from_ase([atoms, far]))
    assert found.energies[0] == pytest.approx(found.energies[1], abs=1e-4)
    forces = found.forces.reshape(2, -1, 3)
    np.testing.assert_allclose(forces[0], forces[1], atol=1e-3)
    assert np.isnan(found.stresses[0]).all()


@pytest.mark.parametrize("name", FOUNDATION)
def test_a_slab_has_no_images_above_it(name):
    near, far = (fcc111("Al", (1, 1, 2), vacuum=height) for height in (1.0, 10.0))
    near.pbc, far.pbc = (True, True, False), True
    near.rattle(0.02, seed=1), far.rattle(0.02, seed=1)
    found = potential(name, ("Al",)).predict(Configurations.from_ase([near, far]))
    assert found.energies[0] == pytest.approx(found.energies[1], abs=1e-4)


@pytest.mark.parametrize("name", FOUNDATION)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (0, 2, 1)])
def test_any_vector_of_the_cell_may_be_the_one_that_is_not_periodic(name, order):
    """SevenNet puts axis x in the place of the first one, so that the cell became singular."""
    slab = fcc111("Cu", (1, 1, 3), vacuum=4.0)
    slab.rattle(0.05, seed=1)
    slab.pbc = (True, True, False)
    turned = slab.copy()
    turned.set_cell(slab.cell.array[list(order)])
    turned.pbc = slab.pbc[list(order)]
    found = potential(name, ("Cu",)).predict(Configurations.from_ase([slab, turned]))
    assert found.energies[1] == pytest.approx(found.energies[0], abs=1e-4)
    np.testing.assert_allclose(found.forces[3:], found.forces[:3], atol=1e-4)


def test_functionals_differ_and_are_told():
    atoms = Configurations.from_ase([bulk("NaCl", "rocksalt", a=5.6)])
    told, energies = [], []
    for checkpoint in ("7net-0", "7net-mf-0-pbe", "7net-mf-0-r2scan"):
        model = potential("sevennet", ("Cl", "Na"), checkpoint=checkpoint)
        energies.append(model.predict(atoms).energies[0])
        described = model.options.calculator.describe()
        told.append(described["functional"])
        assert described["licence"] == "MIT"
        assert len(described["weights"]) == 64
    assert told == ["PBE", "PBE", "r2SCAN"]
    assert abs(energies[0] - energies[1]) < 0.3 < abs(energies[2] - energies[1])


def test_a_file_of_the_name_of_a_checkpoint_is_not_loaded(tmp_path, monkeypatch):
    """It would be a pickle, which runs code."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "7net-0").write_bytes(b"cos\nsystem\n(S'touch loaded'\ntR.")
    atoms = Configurations.from_ase([bulk("Cu")])
    assert np.isfinite(build("sevennet", ("Cu",)).predict(atoms).energies).all()
    assert not (tmp_path / "loaded").exists()


def test_it_is_kept_and_read_without_weights(tmp_path):
    model = potential("chgnet", ("Cu",), checkpoint="r2scan")
    Checkpoint(model).save(tmp_path / "a.safetensors")
    again = Checkpoint.load(tmp_path / "a.safetensors").potential
    assert again.config() == model.config()
    assert (tmp_path / "a.safetensors").stat().st_size < 4000


def test_labels_by_default_options_are_of_one_method():
    plain = CalculatorOptions("sevennet")
    for same in ({"checkpoint": "7net-0"}, {"device": "cuda"}):
        assert CalculatorOptions("sevennet", same).fingerprint == plain.fingerprint
    other = CalculatorOptions("sevennet", {"checkpoint": "7net-l3i5"})
    assert other.fingerprint != plain.fingerprint
    assert plain.gives_stress


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"checkpoint": "7net-omni"}, "unknown checkpoint '7net-omni', did you mean"),
        ({"checkpoint": "/tmp/mine.pth"}, "weights in a file of yours are loaded by a function"),
        ({"checkpiont": "7net-0"}, "unknown option 'checkpiont', did you mean 'checkpoint'"),
    ],
)
def test_other_weights_are_refused_with_what_there_is(options, said):
    with pytest.raises(ValueError, match=said):
        CalculatorOptions("sevennet", options)
    with pytest.raises(ValueError, match="checkp"):
        ModelOptions.parse({"architecture": "sevennet", **options})


def test_a_package_that_is_missing_is_said(monkeypatch):
    monkeypatch.setattr("aiida_mlal.ml.labelling.foundation._path", lambda package, file: None)
    with pytest.raises(
        ValueError, match=r"cannot be built: .*pip install aiida-mlal\[foundation\]"
    ):
        CalculatorOptions("chgnet").build()
