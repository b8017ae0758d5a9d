"""Structures that a user names."""

import numpy as np
import pytest
from aiida.orm import StructureData
from ase.constraints import FixBondLengths
from ase.io import write

from aiida_mlal.cli.structures import fixed_list, read_dataset, read_structure
from aiida_mlal.data.dataset import DatasetData


def test_reads_a_structure_and_what_is_fixed_from_a_file(aiida_profile, slab, tmp_path):
    path = tmp_path / "slab.traj"
    write(path, slab)
    node, fixed = read_structure(str(path))
    assert isinstance(node, StructureData)
    assert node.get_formula() == slab.get_chemical_formula()
    assert fixed == [0]


def test_moments_of_atoms_are_kept_with_what_is_fixed(aiida_profile, slab, tmp_path):
    """Which a node of a structure has no place for."""
    path = tmp_path / "slab.traj"
    slab.set_initial_magnetic_moments([1.0, -1.0, 0.0, 0.0])
    write(path, slab)
    node, fixed = read_structure(str(path))
    assert isinstance(node, DatasetData)
    assert node.configurations.arrays["initial_magmoms"].tolist() == [1.0, -1.0, 0.0, 0.0]
    assert node.configurations.fixed.all(axis=1).tolist() == [True, False, False, False]
    assert fixed == []


def test_several_frames_are_a_data_set(aiida_profile, frames, tmp_path):
    path = tmp_path / "frames.extxyz"
    write(path, frames)
    node, _ = read_structure(str(path))
    assert isinstance(node, DatasetData)
    assert len(node) == len(frames)


def test_reads_a_structure_from_the_graph(aiida_profile, slab):
    stored = StructureData(ase=slab).store()
    for word in (str(stored.pk), stored.uuid):
        assert read_structure(word)[0].uuid == stored.uuid


@pytest.mark.parametrize("word", ["nothing.xyz", "99999999"])
def test_a_structure_that_is_nowhere_is_named(aiida_profile, word):
    with pytest.raises(ValueError, match=f"neither a file nor a node '{word}'"):
        read_structure(word)


def test_partial_constraints_are_kept():
    mask = np.array([[False] * 3, [True] * 3, [True, False, False]])
    assert fixed_list(mask) == [1, [2, [True, False, False]]]


def test_a_data_set_keeps_the_labels_of_a_file(aiida_profile, frames, tmp_path):
    path = tmp_path / "frames.extxyz"
    write(path, frames)
    node = read_dataset(str(path))
    assert node.base.attributes.get("n_labelled") == len(frames)
    assert read_dataset(node.store().uuid).uuid == node.uuid


def test_a_structure_is_no_data_set(aiida_profile, slab):
    with pytest.raises(ValueError, match="expected a data set, got"):
        read_dataset(StructureData(ase=slab).store().uuid)


def test_constraints_that_cannot_be_kept_are_refused_with_file_and_structure(
    aiida_profile, frames, tmp_path
):
    path = tmp_path / "frames.traj"
    frames[1].set_constraint(FixBondLengths([(0, 1)]))
    write(path, frames)
    with pytest.raises(ValueError, match=r"frames\.traj: structure 1 .* FixBondLengths would not"):
        read_structure(str(path))
    assert len(read_dataset(str(path))) == len(frames)
