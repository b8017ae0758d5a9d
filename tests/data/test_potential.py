import pickle
import subprocess
import sys

import numpy as np
import pytest
from aiida import orm
from aiida.common.exceptions import ValidationError
from safetensors.numpy import save

from aiida_mlal.data.potential import FORMAT, PotentialData
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.tensorfile import pack, unpack
from aiida_mlal.ml.uncertainty.oed import OED


@pytest.fixture
def node(potential):
    return PotentialData.from_potential(potential, {"seed": 3, "loss": float("nan")})


def test_predicts_after_loading_as_before(node, potential, configurations):
    loaded = orm.load_node(node.store().pk).load()
    before, after = potential.predict(configurations), loaded.predict(configurations)
    assert np.array_equal(before.energies, after.energies)
    assert np.array_equal(before.forces, after.forces)


def test_attributes_say_what_it_is(node, potential):
    attributes = node.store().base.attributes.all
    assert attributes["architecture"] == "sum"
    assert attributes["architectures"] == ["bpnn", "morse"]
    assert attributes["elements"] == ["C", "Cu"]
    assert attributes["cutoff"] == potential.cutoff
    assert attributes["parameters"] == sum(p.numel() for p in potential.parameters())
    assert attributes["training"] == {"seed": 3, "loss": None}
    assert attributes["units"]["energy"] == "eV"


def test_equal_potentials_have_equal_bytes_and_hash(node, potential):
    other = PotentialData.from_potential(potential, {"seed": 3, "loss": float("nan")})
    assert node.store().content == other.store().content
    assert node.base.caching.get_hash() == other.base.caching.get_hash()


def test_reading_attributes_does_not_import_torch(node, tmp_path):
    path = tmp_path / "potential.safetensors"
    path.write_bytes(node.content)
    script = (
        "import sys\n"
        "from aiida_mlal.data.potential import PotentialData\n"
        f"summary = PotentialData._summarise(open({str(path)!r}, 'rb').read())\n"
        "assert summary['elements'] == ['C', 'Cu'], summary\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True)


def test_pickle_is_not_opened(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps({"weights": 1}))
    with pytest.raises(ValueError, match=r"model.pt: this is a pickle, which could run code"):
        PotentialData.from_file(path)


def test_damaged_file_is_refused(node):
    with pytest.raises(ValueError, match="not an intact safetensors file"):
        PotentialData(node.content[:-100])


def test_foreign_file_is_refused():
    with pytest.raises(ValueError, match="expected a file of aiida-mlal/potential"):
        PotentialData(save({"a": np.zeros(2)}, {"format": "other"}))


def test_newer_file_is_refused(node):
    newer = node.content.replace(b'\\"version\\": 1', b'\\"version\\": 9')
    assert newer != node.content
    with pytest.raises(ValueError, match=r"format version 9.*install a newer aiida-mlal"):
        PotentialData(newer)


def test_weights_that_are_not_finite_are_refused(node):
    header, arrays = unpack(node.content, FORMAT, 1)
    name = next(k for k, v in arrays.items() if v.dtype.kind == "f" and v.size)
    arrays[name] = np.full_like(arrays[name], np.nan)
    with pytest.raises(ValueError, match="weights that are not finite"):
        PotentialData(pack(FORMAT, header, arrays))


def test_a_measure_may_leave_open_what_it_does_not_know(aiida_profile, configurations):
    """The information matrix of atomic energies has no errors to be scaled by: there are none."""
    model = {"architecture": "bpnn", "cutoff": 4.0, "hidden": [4]}
    potential = ModelOptions.parse(model).build(["C", "Cu"], seed=1)
    potential.extras = OED().fitted(potential, configurations).extras
    assert any(bool(value.double().isnan().any()) for value in potential.extras.values())
    node = PotentialData.from_potential(potential).store()
    values = OED().measure(node.load(), configurations).values
    np.testing.assert_allclose(values, OED().measure(potential, configurations).values)


def test_changed_weights_are_refused(node):
    changed = bytearray(node.content)
    changed[-1] ^= 1
    with pytest.raises(ValueError, match="does not fit its checksum"):
        PotentialData(bytes(changed))


def test_damaged_file_is_not_stored(node):
    node.base.repository.put_object_from_bytes(node.content[:-100], PotentialData.FILE)
    with pytest.raises(ValidationError, match="not an intact"):
        node.store()


def test_a_clone_of_a_stored_node_can_be_stored(aiida_profile, potential):
    # the database rounds numbers, and caching clones what is in it
    node = PotentialData.from_potential(potential, {"loss": 0.1 + 0.2, "rate": 1 / 3}).store()
    assert node.clone().store().sha256 == node.sha256
