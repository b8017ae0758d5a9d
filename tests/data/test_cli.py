import json
import subprocess
import sys
from dataclasses import replace

import ase.io
import numpy as np
import pytest
from click.testing import CliRunner

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.potential import PotentialData
from aiida_mlal.data.selection import SelectionData


@pytest.fixture
def verdi(aiida_profile):
    """Return a function that runs ``verdi data mlal`` and returns its output."""
    from aiida.cmdline.commands.cmd_verdi import verdi

    def run(*words, status=0):
        command = ["--profile", aiida_profile.name, "data", "mlal", *map(str, words)]
        result = CliRunner().invoke(verdi, command)
        assert result.exit_code == status, result.output
        return result.output

    return run


def test_shows_a_dataset(verdi, dataset):
    dataset.store()
    output = verdi("dataset", "show", dataset.pk)
    assert "6 structures of C-Cu, 6 labelled" in output
    assert "CCu3: 6" in output
    frames = verdi("dataset", "show", "--frames", dataset.pk)
    assert f"{dataset.configurations.energies[5]:g}"[:6] in frames
    assert frames.count("CCu3 ") >= 6


def test_exports_a_dataset_that_ase_reads(verdi, dataset, tmp_path):
    dataset.store()
    verdi("dataset", "export", dataset.pk, tmp_path / "all.extxyz")
    again = ase.io.read(tmp_path / "all.extxyz", index=":")
    energies = [atoms.get_potential_energy() for atoms in again]
    assert np.allclose(energies, dataset.configurations.energies, atol=1e-6)
    verdi("dataset", "export", dataset.pk, tmp_path / "all.safetensors")
    assert (tmp_path / "all.safetensors").read_bytes() == dataset.content


def test_exports_what_a_simulation_keeps_of_its_frames(verdi, configurations, tmp_path):
    n, n_atoms = len(configurations), len(configurations.numbers)
    frames = replace(
        configurations.with_info(predicted_stress=np.ones((n, 3, 3)), run=np.zeros(n, int)),
        arrays={"predicted_forces": np.ones((n_atoms, 3))},
    )
    node = DatasetData(frames).store()
    verdi("dataset", "export", node.pk, tmp_path / "all.extxyz")
    again = ase.io.read(tmp_path / "all.extxyz", index=0)
    assert np.allclose(again.arrays["predicted_forces"], 1.0)
    assert np.shape(again.info["predicted_stress"]) == (3, 3)


def test_does_not_replace_a_file_unless_told(verdi, dataset, tmp_path):
    dataset.store()
    path = tmp_path / "all.extxyz"
    path.write_text("precious")
    assert "--force replaces it" in verdi("dataset", "export", dataset.pk, path, status=1)
    assert path.read_text() == "precious"
    verdi("dataset", "export", "--force", dataset.pk, path)
    assert path.read_text() != "precious"
    said = verdi("dataset", "export", dataset.pk, tmp_path / "all.traj", status=1)
    assert "ends with" in said
    assert not (tmp_path / "all.traj").exists()


def test_lists_datasets(verdi, dataset):
    dataset.label = "six slabs"
    dataset.store()
    assert "six slabs" in verdi("dataset", "list")
    assert "six slabs" in verdi("dataset", "list", "-p", 1)


def test_imports_a_file_of_ase(verdi, frames, tmp_path):
    ase.io.write(tmp_path / "frames.extxyz", frames)
    assert "6 structures of C-Cu, 6 labelled" in verdi(
        "dataset", "import", tmp_path / "frames.extxyz"
    )


def test_shows_and_moves_a_potential(verdi, potential, tmp_path):
    node = PotentialData.from_potential(potential).store()
    assert "bpnn + morse of C-Cu" in verdi("potential", "show", node.pk)
    verdi("potential", "export", node.pk, tmp_path / "p.safetensors")
    output = verdi("potential", "import", tmp_path / "p.safetensors", "--label", "again")
    assert "PotentialData<" in output
    assert "again" in verdi("potential", "list")


def test_moves_a_potential_from_and_to_mlip(verdi, tmp_path):
    from aiida_mlal.ml.models.factory import ModelOptions

    model = ModelOptions.parse({"architecture": "mtp", "level": 2}).build(["Cu"], seed=1)
    node = PotentialData.from_potential(model).store()
    path = tmp_path / "p.almtp"
    verdi("potential", "export", node.pk, path)
    assert path.read_text().startswith("MTP")
    assert "mtp of Cu" in verdi("potential", "import", path, "-e", "Cu")


def test_a_format_that_cannot_hold_the_potential_is_refused(verdi, potential, tmp_path):
    node = PotentialData.from_potential(potential).store()
    output = verdi("potential", "export", node.pk, tmp_path / "p.almtp", status=1)
    assert "the format holds moment tensor potentials" in output


def test_a_file_that_is_no_potential_is_refused(verdi, tmp_path):
    (tmp_path / "p.safetensors").write_bytes(b"\x80\x04nonsense")
    output = verdi("potential", "import", tmp_path / "p.safetensors", status=1)
    assert "this is a pickle" in output


def test_shows_a_selection(verdi, tmp_path):
    node = SelectionData(
        {
            "selected": [{"index": 5, "key": "k5", "score": 0.75, "reason": "the last frame"}],
            "rejected": [{"index": 0, "key": "k0", "reason": "too close"}],
            "n_pool": 6,
            "n_train": 3,
            "strategy": {"name": "final", "n": 1},
            "seed": 11,
        }
    ).store()
    output = verdi("selection", "show", node.pk)
    assert "the last frame" in output
    assert "too close" in output
    verdi("selection", "export", node.pk, tmp_path / "s.json")
    assert json.loads((tmp_path / "s.json").read_text())["seed"] == 11
    assert "final" in verdi("selection", "list")


def test_a_node_of_another_kind_is_refused(verdi, dataset):
    dataset.store()
    assert "Invalid value" in verdi("potential", "show", dataset.pk, status=2)


def test_verdi_finds_the_commands_without_heavy_imports():
    script = (
        "import sys\n"
        "from aiida.cmdline.commands.cmd_verdi import verdi\n"
        "from aiida.cmdline.commands import cmd_data\n"
        "group = cmd_data.verdi_data.get_command(verdi.make_context('verdi', ['data']), 'mlal')\n"
        "assert set(group.commands) == {'dataset', 'potential', 'selection'}\n"
        "heavy = {'torch', 'ase', 'scipy', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True)


def test_dataset_class_is_found_by_its_entry_point():
    from aiida.plugins import DataFactory

    assert DataFactory("mlal.dataset") is DatasetData


def test_import_says_what_looks_like_labels_and_takes_their_names(verdi, tmp_path):
    path = tmp_path / "ref.extxyz"
    ase.io.write(path, ase.Atoms("Cu", info={"REF_energy": -1.5}))
    assert "--energy-key REF_energy" in " ".join(verdi("dataset", "import", path).split())
    output = verdi("dataset", "import", path, "--energy-key", "REF_energy")
    assert "1 structures of Cu, 1 labelled" in output
