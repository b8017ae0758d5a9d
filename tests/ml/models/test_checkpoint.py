import io
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from safetensors.torch import save

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.checkpoint import FORMAT, VERSION, Checkpoint
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.tensorfile import pack, unpack

OPTIONS = {
    "architecture": "bpnn",
    "hidden": [3],
    "prior": {"architecture": "morse", "parameters": {"Cu": {"De": 2.0, "re": 2.3, "a": 1.5}}},
    "ensemble": 2,
}


@pytest.fixture(scope="module")
def checkpoint():
    potential = ModelOptions.parse(OPTIONS).build(["C", "Cu"], seed=3)
    extras = {"active_set": torch.arange(6.0, dtype=torch.float64).reshape(2, 3).T}
    return Checkpoint(potential, {"seed": 3, "curve": [{"loss": 0.1}], "nothing": None}, extras)


@pytest.fixture(scope="module")
def content(checkpoint):
    return checkpoint.to_bytes()


@pytest.fixture
def parts(content):
    """Header and arrays, to be changed."""
    return unpack(content, FORMAT, VERSION)


def test_everything_comes_back(tmp_path, checkpoint):
    checkpoint.save(tmp_path / "potential.safetensors")
    again = Checkpoint.load(tmp_path / "potential.safetensors")
    assert again.training == checkpoint.training
    assert torch.equal(again.extras["active_set"], checkpoint.extras["active_set"])
    assert again.potential.config() == checkpoint.potential.config()
    dimer = Configurations.from_ase(Atoms("CuC", np.eye(3)[:2] * 1.3))
    for name in ("energies", "forces"):
        np.testing.assert_array_equal(
            getattr(again.potential.predict(dimer), name),
            getattr(checkpoint.potential.predict(dimer), name),
        )
    assert again.to_bytes() == checkpoint.to_bytes()


def test_equal_checkpoints_have_equal_bytes(checkpoint, content):
    training = dict(reversed(checkpoint.training.items()))
    potential = ModelOptions.parse(OPTIONS).build(["Cu", "C"], seed=3)
    assert replace(checkpoint, training=training, potential=potential).to_bytes() == content
    assert replace(checkpoint, training={"seed": 4}).to_bytes() != content


def test_a_training_that_is_resumed_finds_its_gradients(content):
    again = Checkpoint.from_bytes(content).potential
    assert sum(weight.requires_grad for weight in again.parameters()) > 0


def test_the_header_says_what_it_is_without_torch(parts):
    header, _ = parts
    assert header["elements"] == ["C", "Cu"]
    assert header["cutoff"] == 6.0
    assert header["dtype"] == "float64"
    assert header["parameters"] == 2 * 2 * (20 * 3 + 3 + 3 + 1)
    assert header["units"] == {"energy": "eV", "length": "Å", "stress": "eV/Å^3"}


@pytest.mark.parametrize("place", [-1, -100, 200, 2000])
def test_an_altered_byte_is_noticed(content, place):
    altered = bytearray(content)
    altered[place] ^= 1
    with pytest.raises(ValueError, match=r"checksum|not an intact|no JSON|version"):
        Checkpoint.from_bytes(bytes(altered))


@pytest.mark.parametrize("end", [0, 5, 100, 1000, -1])
def test_a_part_of_the_file_is_noticed(content, end):
    with pytest.raises(ValueError, match="not an intact safetensors file"):
        Checkpoint.from_bytes(content[:end])


def test_nothing_that_could_run_code_is_opened(checkpoint):
    file = io.BytesIO()
    torch.save(checkpoint.potential.state_dict(), file)
    for content in (file.getvalue(), pickle.dumps(checkpoint.potential.state_dict())):
        with pytest.raises(ValueError, match="pickle, which could run code when read"):
            Checkpoint.from_bytes(content)


def test_files_of_others_are_refused(tmp_path, parts):
    for content in (save({"a": torch.zeros(2)}), Configurations.empty().to_bytes()):
        (tmp_path / "other.safetensors").write_bytes(content)
        with pytest.raises(
            ValueError, match=r"other\.safetensors: expected a file of aiida-mlal/potential"
        ):
            Checkpoint.load(tmp_path / "other.safetensors")


def test_a_newer_file_says_what_to_do(parts):
    header, arrays = parts
    newer = pack(FORMAT, {**header, "version": VERSION + 1}, arrays)
    with pytest.raises(ValueError, match="install a newer aiida-mlal"):
        Checkpoint.from_bytes(newer)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(parts, value):
    header, arrays = parts
    name = next(name for name in sorted(arrays) if name.endswith("weight"))
    arrays[name] = arrays[name].copy()
    arrays[name][0, 0] = value
    with pytest.raises(ValueError, match="weights that are not finite"):
        Checkpoint.from_bytes(pack(FORMAT, header, arrays))


def changed_shape(header, arrays):
    name = next(name for name in sorted(arrays) if name.endswith("bias"))
    arrays[name] = np.zeros(9)


def changed_description(header, arrays):
    header["potential"]["terms"][1]["members"][0]["options"]["hidden"] = [4]


def missing_weight(header, arrays):
    del arrays[next(name for name in sorted(arrays) if name.endswith("bias"))]


def strange_weight(header, arrays):
    arrays["weights.strange"] = np.zeros(2)


@pytest.mark.parametrize(
    "change", [changed_shape, changed_description, missing_weight, strange_weight]
)
def test_weights_of_another_potential_are_refused(parts, change):
    header, arrays = parts
    change(header, arrays)
    with pytest.raises(ValueError, match="the weights do not fit the description"):
        Checkpoint.from_bytes(pack(FORMAT, header, arrays))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"potential": {"architecture": "bpn"}}, "unknown model 'bpn'"),
        ({"potential": {"architecture": "bpnn"}}, "lacks 'elements'"),
        ({"dtype": "save"}, r"unknown type of weights 'save', choose from \['float32'"),
    ],
)
def test_descriptions_of_nothing_are_refused(parts, change, message):
    header, arrays = parts
    with pytest.raises(ValueError, match=message):
        Checkpoint.from_bytes(pack(FORMAT, header | change, arrays))


def test_a_description_without_a_potential_is_refused(parts):
    header, arrays = parts
    del header["potential"]
    with pytest.raises(ValueError, match=r"lacks \['potential'\]"):
        Checkpoint.from_bytes(pack(FORMAT, header, arrays))


def test_a_description_larger_than_its_weights_takes_no_memory(parts):
    """Layers of 40000 neurons would take 13 GB before they were compared with the weights."""
    header, arrays = parts
    text = json.dumps(header)
    assert '"hidden": [3]' in text
    header = json.loads(text.replace('"hidden": [3]', '"hidden": [40000, 40000]'))
    with pytest.raises(
        ValueError, match=r"has more than \d+ numbers, many times those in the file"
    ):
        Checkpoint.from_bytes(pack(FORMAT, header, arrays))


def test_weights_that_do_not_fit_are_named(parts):
    header, arrays = parts
    header = json.loads(json.dumps(header).replace('"hidden": [3]', '"hidden": [4]'))
    with pytest.raises(ValueError, match="the weights do not fit the description: size mismatch"):
        Checkpoint.from_bytes(pack(FORMAT, header, arrays))
