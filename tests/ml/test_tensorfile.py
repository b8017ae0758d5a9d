import io
import json
import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from aiida_mlal.ml.tensorfile import Outline, pack, read, read_header, unpack, write

KIND = "aiida-mlal/example"
HEADER = {"version": 1, "words": ["a", "ä"], "number": 0.1}
ARRAYS = {
    "x": np.arange(6.0).reshape(2, 3),
    "flags": np.array([True, False, True]),
    "scalar": np.array(3, np.int32),
    "nothing": np.zeros((0, 3)),
    "small": np.array([1.5], np.float32),
    "unknown": np.array([np.nan, np.inf]),
}


@pytest.fixture(scope="module")
def content():
    return pack(KIND, HEADER, ARRAYS)


def file_of(metadata):
    return save({"a": np.zeros(2)}, metadata)


def test_what_is_packed_is_unpacked(content):
    header, arrays = unpack(content, KIND, 1)
    assert header == HEADER
    assert read_header(content, KIND, 1) == HEADER
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        np.testing.assert_array_equal(arrays[name], array)


def test_the_file_is_safetensors_for_everyone(content):
    np.testing.assert_array_equal(load(content)["x"], ARRAYS["x"])
    assert len(content) % 8 == sum(a.nbytes for a in ARRAYS.values()) % 8


def test_arrays_are_where_the_library_of_safetensors_puts_them(content):
    every = {str(t): np.zeros(2, t) for t in "?bhilBHILefd"}
    for arrays in (ARRAYS, every):
        ours, theirs = pack(KIND, HEADER, arrays), save(arrays, {})
        index, expected = (
            json.loads(c[8 : 8 + int.from_bytes(c[:8], "little")]) for c in (ours, theirs)
        )
        assert {n: index[n] for n in arrays} == {n: expected[n] for n in arrays}


def test_a_file_is_the_same_written_in_parts_and_read_alone(content, tmp_path):
    rows = {"x": np.arange(30.0).reshape(10, 3), "small": np.arange(10, dtype=np.float32)}
    outlines = {name: Outline(array.dtype, array.shape) for name, array in rows.items()}
    ends = (0, 3, 3, 9, 10)
    parts = [{n: a[i:j].astype(float) for n, a in rows.items()} for i, j in pairwise(ends)]
    write(tmp_path / "file", KIND, HEADER, outlines, parts)
    assert (tmp_path / "file").read_bytes() == pack(KIND, HEADER, rows)
    header, arrays = read(tmp_path / "file", KIND, 1)
    assert header == HEADER
    assert all(np.array_equal(arrays[name], rows[name]) for name in rows)
    altered = bytearray(content)
    for place in (3, 40, -1):
        altered[place] ^= 1
        (tmp_path / "file").write_bytes(altered)
        with pytest.raises(ValueError, match=r"damaged|not an intact|expected a file|no JSON|ver"):
            read(tmp_path / "file", KIND, 1)
        altered[place] ^= 1


def test_order_and_layout_do_not_matter(content):
    other = dict(reversed(ARRAYS.items())) | {"x": np.asfortranarray(ARRAYS["x"])}
    other["unknown"] = np.repeat(ARRAYS["unknown"], 2)[::2]
    assert pack(KIND, dict(reversed(HEADER.items())), other) == content


def test_every_altered_byte_is_noticed(content):
    for place in range(len(content)):
        altered = bytearray(content)
        altered[place] ^= 1
        with pytest.raises(ValueError, match=r"damaged|not an intact|expected a file|no JSON|ver"):
            unpack(bytes(altered), KIND, 1)


@pytest.mark.parametrize("end", [0, 1, 7, 8, 9, 100, -1])
def test_a_part_of_the_file_is_noticed(content, end):
    with pytest.raises(ValueError, match="not an intact safetensors file"):
        unpack(content[:end], KIND, 1)
    with pytest.raises(ValueError, match="not an intact safetensors file"):
        unpack(content + b"\0", KIND, 1)


def test_exchanged_arrays_are_noticed(content):
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    changed = save({**ARRAYS, "x": ARRAYS["x"] + 1}, metadata)
    with pytest.raises(ValueError, match="does not fit its checksum"):
        unpack(changed, KIND, 1)


def test_files_from_before_checksums_are_read():
    header, _ = unpack(file_of({KIND: json.dumps(HEADER)}), KIND, 1)
    assert header == HEADER


def test_a_newer_version_says_what_to_do():
    with pytest.raises(ValueError, match=r"version 3.*up to 2: install a newer aiida-mlal"):
        unpack(pack(KIND, {"version": 3}, {}), KIND, 2)


def test_another_kind_is_named(content):
    with pytest.raises(ValueError, match=r"expected a file of other, got .*aiida-mlal/example"):
        unpack(content, "other", 1)
    with pytest.raises(ValueError, match="expected a file of aiida-mlal/example"):
        unpack(save({"a": np.zeros(2)}), KIND, 1)


@pytest.mark.parametrize("text", ["", "{", "3", "[]", "{}", '{"version": "one"}'])
def test_a_description_that_cannot_be_read_is_refused(text):
    with pytest.raises(ValueError, match="the description in the file"):
        unpack(file_of({KIND: text}), KIND, 1)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_pickle_is_not_opened(protocol):
    with pytest.raises(ValueError, match="pickle, which could run code"):
        unpack(pickle.dumps({"a": 1}, protocol), KIND, 1)


def test_a_file_of_torch_is_not_opened():
    file = io.BytesIO()
    torch.save({"a": torch.zeros(2)}, file)
    with pytest.raises(ValueError, match="pickle, which could run code"):
        unpack(file.getvalue(), KIND, 1)


@pytest.mark.parametrize("junk", [b"", b"hello", b"\0" * 100, b"\xff" * 100, b"[]" * 50])
def test_junk_is_refused(junk):
    with pytest.raises(ValueError, match="not an intact safetensors file"):
        unpack(junk, KIND, 1)


def test_every_length_of_the_head_is_read():
    """A head of 640 or 1152 bytes begins like a pickle."""
    begins = set()
    for n in range(0, 2000, 8):
        content = pack(KIND, {"version": 1, "filler": "x" * n}, {})
        assert unpack(content, KIND, 1)[0]["filler"] == "x" * n
        begins.add(content[:2])
        with pytest.raises(ValueError, match="not an intact safetensors file"):
            unpack(content[:-1], KIND, 1)
    assert {b"\x80\x02", b"\x80\x04", b"\x80\x05"} <= begins
