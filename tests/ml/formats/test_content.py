import bz2
import gzip
import lzma

import pytest
from ase.build import bulk

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats import files
from aiida_mlal.ml.formats.content import read_bytes

PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("ending", PACKERS)
def test_what_unpacks_out_of_all_proportion_is_refused(tmp_path, ending):
    path = tmp_path / f"a.cfg{ending}"
    path.write_bytes(PACKERS[ending](b"\n" * (2**26 + 1)))
    with pytest.raises(ValueError, match="unpacks to more than 200 times its size"):
        read_bytes(path)


@pytest.mark.parametrize("ending", PACKERS)
def test_a_file_that_is_cut_off_is_refused(tmp_path, ending):
    path = tmp_path / f"a.cfg{ending}"
    path.write_bytes(PACKERS[ending](bytes(range(256)) * 9)[:-20])
    with pytest.raises(ValueError, match=f"not an intact {ending} file"):
        read_bytes(path)


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("name", ["a.extxyz", "a.cfg", "a.traj", "a.safetensors"])
def test_every_format_may_be_compressed(tmp_path, name, ending):
    structures = Configurations.from_ase(bulk("Cu"))
    files.write(structures, tmp_path / name)
    packed = tmp_path / f"{name}{ending}"
    packed.write_bytes(PACKERS[ending]((tmp_path / name).read_bytes()))
    assert files.read(packed).keys == structures.keys


def test_no_zip_archive_is_opened(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ValueError, match=r"a\.npz: ASE"):
        files.read(tmp_path / "a.npz")
