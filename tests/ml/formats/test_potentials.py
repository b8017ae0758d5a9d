import numpy as np
import pytest
from ase.build import bulk

from aiida_mlal.ml import load_potential
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats import potentials
from aiida_mlal.ml.formats.describe import describe, is_potential
from aiida_mlal.ml.formats.mlip import mtp
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.uncertainty.active_set import ActiveSet
from aiida_mlal.ml.uncertainty.rows import SelectionWeights


@pytest.fixture
def morse():
    return single({"architecture": "morse"}, ["Cu", "O"], 0)


def test_checkpoint(tmp_path, morse):
    path = tmp_path / "p.safetensors"
    potentials.save(morse, path)
    assert load_potential(path).config() == morse.config()
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


def with_active_set(seed, weights="neighbourhood"):
    rng, structures = np.random.default_rng(0), []
    for _ in range(4):
        atoms = bulk("Cu", "fcc", 3.6, cubic=True)
        atoms.symbols = rng.choice(["Cu", "O"], len(atoms))
        atoms.rattle(0.2, rng=rng)
        structures.append(atoms)
    potential = single({"architecture": "mtp", "level": 4}, ["Cu", "O"], seed)
    ActiveSet.of(potential, Configurations.from_ase(structures), weights).store(potential)
    return potential


ALL_WEIGHTS = SelectionWeights(1.0, 0.5, 0.1, 0.2)


@pytest.mark.parametrize("weights", ["neighbourhood", "configuration", ALL_WEIGHTS])
def test_an_active_set_comes_back_with_its_potential(tmp_path, weights):
    potential = with_active_set(1, weights)
    potentials.save(potential, tmp_path / "p.almtp")
    before = ActiveSet.stored(potential)
    after = ActiveSet.stored(load_potential(tmp_path / "p.almtp"))
    assert after.equations.tolist() == before.equations.tolist()
    assert (after.volume.matrix == before.volume.matrix).all()


@pytest.mark.parametrize("weights", ["neighbourhood", "configuration"])
@pytest.mark.parametrize("name", ["p.almtp", "p.safetensors"])
def test_a_potential_is_described_with_its_active_set(tmp_path, name, weights):
    potential = with_active_set(1, weights)
    potentials.save(potential, tmp_path / name)
    found = describe(tmp_path / name)["active_set"]
    rank = ActiveSet.stored(potential).rank
    assert found == {"mode": weights, "rank": rank, "n_parameters": potential.n_parameters}
    potentials.save(potential, tmp_path / "p.mtp")
    described = describe(tmp_path / "p.mtp")
    assert "active_set" not in described
    assert described["basis"] == {"basic": 1, "times": 1, "mapping": 2}


def test_equations_have_the_numbers_of_mlip(tmp_path):
    """Energy, then 3 N forces, 9 stresses, N atoms: so 22 + i for atom i of four."""
    potential = with_active_set(1)
    potentials.save(potential, tmp_path / "p.almtp")
    ours, links = ActiveSet.stored(potential), mtp.load(tmp_path / "p.almtp").selection.links
    filled = ours.equations >= 0
    assert filled.any()
    assert (links[filled, 1] == 22 + ours.equations[filled]).all()
    assert (links[~filled] == -1).all()


@pytest.mark.parametrize("weights", ["neighbourhood", "configuration"])
def test_the_active_set_of_another_potential_is_refused(tmp_path, weights):
    for seed in (1, 2):
        potentials.save(with_active_set(seed, weights), tmp_path / f"{seed}.almtp")
    mine, others = ((tmp_path / f"{seed}.almtp").read_bytes().partition(b"#") for seed in (1, 2))
    (tmp_path / "mixed.almtp").write_bytes(mine[0] + others[1] + others[2])
    with pytest.raises(ValueError, match=r"mixed.almtp: the active set is that of another"):
        load_potential(tmp_path / "mixed.almtp")


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ([7, 22], "of structure 7 of"),
        ([0, 1], "is equation 1 of structure 0, which with these weights has none"),
    ],
)
def test_rows_of_nothing_are_refused(tmp_path, link, message):
    potentials.save(with_active_set(1), tmp_path / "p.almtp")
    file = mtp.load(tmp_path / "p.almtp")
    links = file.selection.links.copy()
    links[np.flatnonzero(links[:, 0] >= 0)[0]] = link
    parts = ("matrix", "inverse", "weights")
    kept = {name: getattr(file.selection, name) for name in parts}
    state = mtp.SelectionState(**kept, links=links, configurations=file.selection.configurations)
    mtp.write(file.potential, tmp_path / "p.almtp", state)
    with pytest.raises(ValueError, match=message):
        load_potential(tmp_path / "p.almtp")


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
    Configurations.empty().save(tmp_path / "p.safetensors")
    with pytest.raises(ValueError, match="of no format of potentials \\(it is 'safetensors'"):
        load_potential(tmp_path / "p.safetensors")
