import pytest

from aiida_mlal.ml import load_potential
from aiida_mlal.ml.formats import mtp, potentials
from aiida_mlal.ml.formats.describe import describe, is_potential
from aiida_mlal.ml.models.factory import single


@pytest.fixture
def morse():
    return single({"architecture": "morse"}, ["Cu", "O"], 0)


def test_checkpoint(tmp_path, morse):
    path = tmp_path / "p.safetensors"
    potentials.save(morse, path)
    assert load_potential(path).describe() == morse.describe()
    assert load_potential(path, ["O"]).elements == ("O", "Cu")
    assert is_potential(path)
    assert describe(path)["elements"] == ["O", "Cu"]


def test_elements_that_are_missing(tmp_path, morse):
    potentials.save(morse, tmp_path / "p.safetensors")
    with pytest.raises(ValueError, match=r"knows \['O', 'Cu'\], not \['Ag'\]"):
        load_potential(tmp_path / "p.safetensors", ["Cu", "Ag"])


@pytest.mark.parametrize("name", ["p.mtp", "p.almtp"])
def test_moment_tensor_potentials(tmp_path, name):
    potential = single({"architecture": "mtp", "level": 4}, ["Cu", "O"], 1)
    potentials.save(potential, tmp_path / name)
    again = load_potential(tmp_path / name, ["Cu", "O"])
    assert isinstance(again, mtp.MTP)
    assert set(again.elements) == {"Cu", "O"}
    assert describe(tmp_path / name)["kind"] == "potential"


def test_formats_of_others_are_refused(tmp_path, morse):
    with pytest.raises(ValueError, match="holds moment tensor potentials"):
        potentials.save(morse, tmp_path / "p.mtp")
    with pytest.raises(ValueError, match="no format of potentials"):
        potentials.save(morse, tmp_path / "p.pt")
    (tmp_path / "p.pt").touch()
    with pytest.raises(ValueError, match="no format of potentials"):
        load_potential(tmp_path / "p.pt")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*p.safetensors"):
        load_potential(tmp_path / "p.safetensors")


def test_structures_are_no_potential(tmp_path):
    from aiida_mlal.ml.configurations import Configurations

    Configurations.empty().save(tmp_path / "p.safetensors")
    with pytest.raises(ValueError, match="expected a file of aiida-mlal/potential"):
        load_potential(tmp_path / "p.safetensors")
