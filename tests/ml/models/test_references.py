import numpy as np
import pytest
import torch
from ase import Atoms

from aiida_mlal.ml.calculator import MLCalculator
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats import describe, potentials
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.models.references import regress
from tests.ml.models.test_contract import POTENTIALS, alloy, build, cluster, of

ABSOLUTE = {"C": -152.123456789, "Cu": -5413.987654321}
WITHOUT_KERNELS = {name for name in POTENTIALS if "ase" in name.split()}
LEARNED = [name for name in POTENTIALS if name not in ("ase", "morse", "zbl")]


def leaves(potential):
    """Return the parts of a potential that learn."""
    members: list = potential.terms[-1].members
    return members


def absolute(name):
    potential = build(name)
    for part in leaves(potential):
        part.references = dict(ABSOLUTE)
    return potential


def offsets(structures):
    per_atom = np.where(structures.numbers == 6, ABSOLUTE["C"], ABSOLUTE["Cu"])
    return np.bincount(structures.owner, per_atom)


def test_energies_of_atoms_are_found_from_compositions():
    counts = np.array([[8, 0, 0], [8, 1, 0], [8, 0, 1], [4, 2, 2], [7, 1, 0]], float)
    per_element = np.array([-53000.5, -152.25, -432.125])
    found = regress(counts, counts @ per_element)
    np.testing.assert_allclose(found.energies, per_element, rtol=1e-11)
    assert found.spread == 0


def test_the_order_of_the_elements_is_no_matter():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 5, (6, 3)) + 1.0
    counts[:, 2] = 2 * counts[:, 0]  # one ratio is fixed
    energies = counts @ [-1e4, -20.0, -3e3] + rng.normal(0, 0.1, 6)
    order = [2, 0, 1]
    one, other = regress(counts, energies), regress(counts[:, order], energies)
    np.testing.assert_allclose(other.energies, one.energies[order], rtol=1e-9)


def test_elements_in_a_fixed_ratio_explain_the_energies_near_their_mean():
    counts = np.array([[6.0, 2.0, 0.0], [3.0, 1.0, 4.0]])
    per_element = np.array([-1000.0, -1000.0, -5000.0])
    found = regress(counts, counts @ per_element)
    np.testing.assert_allclose(counts @ found.energies, counts @ per_element, rtol=1e-12)
    assert abs(found.energies[:2] + 1000).max() < 1500


@pytest.mark.parametrize("n", [1, 3])
def test_of_one_composition_all_elements_have_the_mean(n):
    counts = np.array([[6.0, 2.0, 0.0]] * n)
    energies = -8000.0 + np.arange(n)
    found = regress(counts, energies)
    np.testing.assert_allclose(found.energies, energies.mean() / 8, rtol=1e-12)


def test_an_element_without_a_reference_energy_has_the_mean_of_the_others():
    potential = build("mtp", ("C", "O", "Cu"))
    potential.references = {"C": -100.0, "Cu": -200.0}
    assert potential.reference_energies() == {"C": -100.0, "O": -150.0, "Cu": -200.0}


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_reference_energies_are_added_in_double_precision(name, dtype):
    structures = of(cluster(), alloy(), Atoms("C"))
    bare, potential = build(name).to(dtype), absolute(name).to(dtype)
    with torch.no_grad():
        graph = potential.graph(structures)
        found, expected = potential(graph), bare(graph)
        members = potential.committee(graph).energies.mean(0)
    assert found.energies.dtype == torch.float64
    rest = found.energies.numpy() - offsets(structures)
    np.testing.assert_allclose(rest, expected.energies, atol=1e-9, rtol=0)
    np.testing.assert_allclose(members, found.energies, rtol=1e-14)
    np.testing.assert_array_equal(found.forces, expected.forces)
    if found.stresses.isfinite().any():
        np.testing.assert_array_equal(found.stresses, expected.stresses)


@pytest.mark.parametrize("name", ["bpnn", "gmnn", "mtp", "sum", "ensemble", "sum and ensemble"])
@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_single_precision_resolves_a_path_of_absolute_energies(name, engine):
    """Without reference energies outside of the weights, it goes in steps of 1 meV and more."""
    structure, steps = alloy(), np.arange(12) * 1e-4
    energies = {}
    for dtype in (torch.float64, torch.float32):
        calculator = MLCalculator(absolute(name).to(dtype), engine=engine)
        found = []
        for step in steps:
            atoms = structure.copy()
            atoms.positions[0, 0] += step
            atoms.calc = calculator
            found.append(atoms.get_potential_energy())
        energies[dtype] = np.array(found)
        assert (calculator.engine.name == "numba") == (engine == "numba")
        assert found[0] < -1000
    single, double = (np.diff(energies[dtype]) for dtype in (torch.float32, torch.float64))
    np.testing.assert_allclose(single, double, atol=1e-5)


@pytest.mark.parametrize("name", LEARNED)
def test_kernels_and_files_know_reference_energies(name, tmp_path):
    structures, potential = of(alloy()), absolute(name)
    expected = potential.predict(structures).energies
    Checkpoint(potential).save(tmp_path / "a.safetensors")
    again = Checkpoint.load(tmp_path / "a.safetensors").potential
    np.testing.assert_array_equal(again.predict(structures).energies, expected)
    assert again.reference_energies() == pytest.approx(ABSOLUTE, rel=1e-15)
    shown = describe.describe(tmp_path / "a.safetensors")["reference_energies"]
    assert shown == pytest.approx(ABSOLUTE, rel=1e-15)
    atoms = alloy()
    atoms.calc = MLCalculator(potential, engine="auto" if name in WITHOUT_KERNELS else "numba")
    assert atoms.get_potential_energy() == pytest.approx(expected[0], abs=1e-8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("end", ["mtp", "almtp"])
def test_files_of_mlip_have_them_in_their_species_coefficients(tmp_path, end, dtype):
    structures, potential = of(cluster(), alloy()), absolute("mtp").to(dtype)
    potentials.save(potential, tmp_path / f"a.{end}")
    again = potentials.load(tmp_path / f"a.{end}")
    again_of_all = again.coefficients
    torch.testing.assert_close(again_of_all, potential.coefficients.double(), rtol=0, atol=0)
    expected = potential.to(torch.float64).predict(structures).energies
    np.testing.assert_allclose(again.predict(structures).energies, expected, rtol=1e-13)
    assert again.species_coeffs.tolist() == [0.0, 0.0]
    again.set_coefficients(again_of_all)
    torch.testing.assert_close(again.coefficients, again_of_all, rtol=0, atol=0)


def test_are_given_with_the_model():
    model = {**POTENTIALS["ensemble"], "reference_energies": {"Cu": -1305, "Pd": -3.0}}
    potential = ModelOptions.parse(model).build(["C", "Cu"], 0)
    assert [member.references for member in potential.members] == [{"Cu": -1305.0}] * 2 + [
        {"Cu": -1305.0}
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([-3.0], r"model.reference_energies: expected an energy in eV for each element, got \[-3"),
        ({"Xx": 1.0}, r"model.reference_energies: \['Xx'\] are no chemical elements"),
        ({"Cu": "x"}, r"model.reference_energies.Cu: expected an energy in eV, got 'x'"),
        ({"Cu": np.nan}, "model.reference_energies.Cu: expected an energy in eV, got nan"),
    ],
)
def test_what_is_no_energy_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        ModelOptions.parse({**POTENTIALS["bpnn"], "reference_energies": given})


def test_single_atoms_of_a_potential_without_weights_have_none():
    assert build("morse").reference_energies() == {"C": 0.0, "Cu": 0.0}
    structures = Configurations.from_ase([Atoms("Cu")])
    assert build("morse").predict(structures).energies.tolist() == [0.0]
