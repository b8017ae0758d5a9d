import numpy as np
import pytest
from ase.build import bulk

from aiida_mlal.ml import load_potential
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats import files, potentials
from aiida_mlal.ml.formats.describe import describe
from aiida_mlal.ml.formats.table import FORMATS, by_name, known
from aiida_mlal.ml.models.factory import single


@pytest.fixture
def structures():
    return Configurations.from_ase([bulk("Cu"), bulk("Cu", cubic=True)])


@pytest.mark.parametrize("name", ["a.extxyz", "a.cfg", "a.traj", "a.safetensors"])
@pytest.mark.parametrize("other", ["a", "a.cfgs", "a.dat", "a.cfg.3", "a.xyz"])
def test_structures_are_known_by_their_content(tmp_path, structures, name, other):
    files.write(structures, tmp_path / name)
    (tmp_path / name).rename(tmp_path / other)
    assert files.read(tmp_path / other).keys == structures.keys
    assert describe(tmp_path / other)["kind"] == "structures"


@pytest.mark.parametrize("name", ["p.mtp", "p.almtp", "p.safetensors"])
@pytest.mark.parametrize("other", ["p", "p.pot", "p.xyz"])
def test_potentials_are_known_by_their_content(tmp_path, structures, name, other):
    potential = single({"architecture": "mtp", "level": 4}, ["Cu"], 0)
    potentials.save(potential, tmp_path / name)
    (tmp_path / name).rename(tmp_path / other)
    again = load_potential(tmp_path / other)
    np.testing.assert_allclose(
        again.predict(structures).energies, potential.predict(structures).energies
    )
    assert describe(tmp_path / other)["kind"] == "potential"
    with pytest.raises(ValueError, match=f"{other}: this is a potential"):
        files.read(tmp_path / other)


@pytest.mark.parametrize("name", ["a.cfgs", "a.cfgs.xz", "a.cfg.gz"])
def test_more_names_of_cfg_are_written(tmp_path, structures, name):
    files.write(structures, tmp_path / name)
    assert known(tmp_path / name).name == "cfg"
    assert files.read(tmp_path / name, ["Cu"]).keys == structures.keys


def test_every_file_has_a_format():
    assert by_name("CONTCAR").name == "ase"
    assert len({form.name for form in FORMATS}) == len(FORMATS)


@pytest.mark.parametrize("name", ["a.mtp", "a.almtp"])
def test_structures_are_not_written_as_a_potential(tmp_path, structures, name):
    with pytest.raises(ValueError, match="hold potentials"):
        files.write(structures, tmp_path / name)
