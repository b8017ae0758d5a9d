import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.data import atomic_numbers

from aiida_mlal.ml import load_potential
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats.mlip import cfg, mtp
from aiida_mlal.ml.formats.mlip.selection import SelectionState, SelectionWeights
from aiida_mlal.ml.models.factory import single

LEVEL_6 = """MTP
version = 1.1.0
potential_name = MTP1m
scaling = 5.0e-01
species_count = 2
potential_tag =
radial_basis_type = RBChebyshev
\tmin_dist = 2.0
\tmax_dist = 5
\tradial_basis_size = 3
\tradial_funcs_count = 2
\tradial_coeffs
\t\t0-0
\t\t\t{1.0, 2.0, 3.0}
\t\t\t{4.0, 5.0, 6.0}
\t\t0-1
\t\t\t{0.1, 0.2, 0.3}
\t\t\t{0.4, 0.5, 0.6}
\t\t1-0
\t\t\t{-1.0, 1.0, -1.0}
\t\t\t{1.0, -1.0, 1.0}
\t\t1-1
\t\t\t{0.0, 0.0, 1.0}
\t\t\t{0.0, 1.0, 0.0}
alpha_moments_count = 8
alpha_index_basic_count = 5
alpha_index_basic = {{0, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}, {1, 0, 0, 0}}
alpha_index_times_count = 5
alpha_index_times = {{0, 0, 1, 5}, {1, 1, 1, 6}, {2, 2, 1, 6}, {3, 3, 1, 6}, {0, 5, 1, 7}}
alpha_scalar_moments = 5
alpha_moment_mapping = {0, 4, 5, 6, 7}
species_coeffs = {-1.5, -2.5}
moment_coeffs = {0.01, 0.02, 0.03, 0.04, 0.05}
"""


def parse(text, elements=None):
    return mtp.parse(text.encode(), elements).potential


def alloy():
    atoms = bulk("Ag", "fcc", 4.0, cubic=True)
    atoms.symbols[[0, 3]] = "Pd"
    atoms.rattle(0.1, seed=0)
    return Configurations.from_ase(atoms)


def random_potential(elements, level=10):
    model = single({"architecture": "mtp", "level": level}, elements, seed=0)
    generator = torch.Generator().manual_seed(1)
    random = torch.randn(model.n_parameters, generator=generator, dtype=torch.float64)
    model.set_coefficients(random)
    return model


def test_reads_what_it_says():
    model = parse(LEVEL_6, ["Pd", "Ag"])
    assert model.elements == model.types == ("Pd", "Ag")
    assert model.radial_coeffs[0, 1].tolist() == [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]
    assert list(model.references.values()) == [-1.5, -2.5]
    assert model.species_coeffs.tolist() == [0.0, 0.0]
    assert model.moment_coeffs.tolist() == [0.01, 0.02, 0.03, 0.04, 0.05]
    radial = model.radial
    assert (radial.scaling, radial.min_dist, radial.cutoff, radial.size) == (0.5, 2, 5, 3)


def test_elements_in_another_order_are_other_species():
    one, other = parse(LEVEL_6, ["Pd", "Ag"]), parse(LEVEL_6, ["Ag", "Pd"])
    assert other.elements == ("Pd", "Ag")
    assert other.types == ("Ag", "Pd")
    assert other.references == {"Pd": -2.5, "Ag": -1.5}
    assert other.radial_coeffs[1, 0].tolist() == one.radial_coeffs[0, 1].tolist()
    swapped = alloy()
    numbers = np.where(swapped.numbers == 47, 46, 47)
    swapped = Configurations.from_geometry(
        numbers, swapped.positions, swapped.counts, swapped.cells, swapped.pbc
    )
    assert other.predict(swapped).energies == pytest.approx(one.predict(alloy()).energies)


def test_older_names_and_scalings_at_two_places():
    old = LEVEL_6.replace("min_dist", "min_val").replace("max_dist", "max_val")
    old = old.replace("radial_basis_size", "basis_size").replace("\tmin", "\tscaling = 4\n\tmin", 1)
    assert parse(old).radial.scaling == 2.0


def test_species_may_be_atomic_numbers():
    absolute = LEVEL_6
    for pair in ("0-0", "0-1", "1-0", "1-1"):
        absolute = absolute.replace(
            f"\t{pair}\n", f"\t{pair}\n".replace("0", "46").replace("1", "47")
        )
    assert parse(absolute).elements == ("Pd", "Ag")


def test_species_without_elements_are_to_be_named_where_that_matters():
    structures = Configurations.from_ase(bulk("Ag"))
    with pytest.raises(ValueError, match=r"knows \['H', 'He'\].*say which elements they are"):
        parse(LEVEL_6).predict(structures)


def test_a_file_that_names_its_elements_is_believed():
    for named in (
        LEVEL_6.replace("potential_tag =", "potential_tag = Ag Pd"),
        LEVEL_6.replace("0-0", "47-47")
        .replace("0-1", "47-46")
        .replace("1-0", "46-47")
        .replace("\t\t1-1", "\t\t46-46"),
    ):
        assert parse(named).types == ("Ag", "Pd")
        assert parse(named, ["Pd", "Ag"]).types == ("Ag", "Pd")
        assert parse(named, ["Pd"]).types == ("Ag", "Pd")
        with pytest.raises(ValueError, match=r"knows \['Ag', 'Pd'\], not \['Au', 'Cu'\]"):
            parse(named, ["Cu", "Au"])


def test_without_elements_species_count_from_hydrogen():
    assert parse(LEVEL_6).elements == ("H", "He")


def test_comments_of_the_level_files_are_no_obstacle():
    text = LEVEL_6.replace("species_count = 2", "species_count = 2 <<< number of components")
    assert parse(text).elements == ("H", "He")


def test_a_level_file_has_no_coefficients(tmp_path):
    lines = [
        line
        for line in LEVEL_6.splitlines()
        if not line.startswith(("\t\t", "\tradial_coeffs", "species_coeffs", "moment_coeffs"))
    ]
    path = tmp_path / "06.mtp"
    path.write_text("\n".join(lines))
    assert not mtp.load(path).trained
    with pytest.raises(ValueError, match="must be trained"):
        mtp.read(path)


@pytest.mark.parametrize("elements", [["Mo"], ["Ag", "Pd"]])
def test_what_is_written_is_read_again(tmp_path, elements):
    model = random_potential(elements)
    mtp.write(model, tmp_path / "pot.mtp")
    again = load_potential(tmp_path / "pot.mtp")
    assert again.types == model.types
    assert torch.equal(again.coefficients, model.coefficients)
    assert again.radial == model.radial
    assert (again.basis.times == model.basis.times).all()


def test_what_is_read_is_written_again_in_its_order():
    model = parse(LEVEL_6, ["Ag", "Pd"])
    again = mtp.parse(mtp.to_bytes(model))
    assert again.potential.types == ("Ag", "Pd")
    assert torch.equal(again.potential.coefficients, model.coefficients)
    numbers = [line.strip() for line in mtp.to_bytes(model).decode().splitlines()]
    assert "species_coeffs = {-1.5, -2.5}" in numbers


def test_an_active_set_is_written_as_its_transposed_inverse(tmp_path):
    model = parse(LEVEL_6, ["Ag", "Pd"])
    n = model.n_parameters
    matrix = np.random.default_rng(0).normal(size=(n, n))
    links = np.stack([np.zeros(n, int), np.arange(n)], axis=1)
    weights = SelectionWeights(energy_weight=0.0, site_en_weight=1.0)
    state = SelectionState(matrix, np.linalg.inv(matrix), weights, links, alloy())
    mtp.write(model, tmp_path / "pot.almtp", state)

    content = (tmp_path / "pot.almtp").read_bytes()
    raw = content.split(b"#", 2)[2]
    blocks = np.frombuffer(raw[: 16 * n * n], "<f8").reshape(2, n, n)
    assert blocks[0] @ blocks[1].T == pytest.approx(np.eye(n), abs=1e-9)

    again = mtp.load(tmp_path / "pot.almtp")
    found = again.selection
    assert torch.equal(again.potential.coefficients, model.coefficients)
    assert (found.matrix == matrix).all()
    assert (found.inverse == state.inverse).all()
    assert (found.links == links).all()
    assert found.weights == weights
    assert found.configurations.numbers.tolist() == alloy().numbers.tolist()


def test_columns_of_an_active_set_follow_the_elements():
    """The rows of a file and of the potential read from it are the same derivatives."""
    first, second = parse(LEVEL_6, ["Pd", "Ag"]), parse(LEVEL_6, ["Ag", "Pd"])
    n = first.n_parameters
    matrix = np.arange(n * n, dtype=float).reshape(n, n) + 5 * np.eye(n)
    state = SelectionState(matrix, np.linalg.pinv(matrix))
    content = mtp.to_bytes(first, state)
    renamed = content.replace(b"potential_tag = Pd Ag", b"potential_tag = Ag Pd")
    found = mtp.parse(renamed).selection
    file_order = np.arange(n * n, dtype=float).reshape(n, n)[0]
    species = slice(second.radial_coeffs.numel(), second.radial_coeffs.numel() + 2)
    assert found.matrix[1, species].tolist() == (file_order[species][::-1] + n).tolist()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("MTP\n", "NTP\n", "expected MTP as first line"),
        ("1.1.0", "1.0.2", r"expected version 1\.1\.0, got 1\.0\.2"),
        ("species_count = 2", "species_count = 3", "species_count is 3"),
        ("RBChebyshev", "RBLegendre", "unknown radial_basis_type 'RBLegendre', choose from"),
        ("min_dist = 2.0", "min_dist = 6.0", "expected 0 < min_dist < cutoff"),
        ("radial_funcs_count = 2", "radial_funcs_count = 3", "radial_funcs_count is 3"),
        ("{0, 5, 1, 7}", "{0, 5, 1}", "alpha_index_times: expected rows of 4"),
        ("{0, 5, 1, 7}", "{0, 7, 1, 7}", "not complete yet"),
        ("0.04, 0.05", "0.04", "expected 5 moment_coeffs, got 4"),
        ("0.04, 0.05", "0.04, nan", "moment_coeffs: expected a finite number, got 'nan'"),
        ("{0.4, 0.5, 0.6}", "{0.4, 0.5}", "differ in length"),
        (
            "0.04, 0.05}",
            "0.04, 0.0",
            "moment_coeffs: expected numbers in braces, but the list breaks",
        ),
        ("{0.4, 0.5, 0.6}", "{0.4, 0.5, 0.6", "radial_coeffs: expected numbers in braces"),
        ("{0, 5, 1, 7}}", "{0, 5, 1, 7}", "alpha_index_times: expected numbers in braces"),
        ("moment_coeffs", "moments", "expected radial_coeffs, species_coeffs and moment_coeffs"),
        ("alpha_moment_mapping", "mapping", "alpha_moment_mapping is missing"),
        ("\t\t1-1", "\t\t0-1", "which are not all of"),
        ("\tradial_funcs", "magnetic_basis_type = BChebyshev\n\tradial_funcs", "magnetic"),
        ("max_dist = 5", "max_dist = far", "max_dist: expected a finite number, got 'far'"),
    ],
)
def test_refuses(old, new, message):
    with pytest.raises(ValueError, match=message):
        parse(LEVEL_6.replace(old, new), ["Ag", "Pd"])


def test_refuses_elements_that_are_not_as_many_as_the_species():
    with pytest.raises(ValueError, match=r"2 species, got the elements \['Mo'\]"):
        parse(LEVEL_6, ["Mo"])


def test_refuses_the_active_set_of_another_potential():
    small, large = random_potential(["Mo"], 6), random_potential(["Mo"], 10)
    n = large.n_parameters
    content = mtp.to_bytes(large, SelectionState(np.eye(n), np.eye(n)))
    head = mtp.to_bytes(small).rstrip()
    with pytest.raises(ValueError, match="is that of another potential than this of 22"):
        mtp.parse(head + content[content.index(b"\n#MVS") :])
    with pytest.raises(ValueError, match="breaks off"):
        mtp.parse(content[:-2000])
    with pytest.raises(ValueError, match="the active set rows of"):
        mtp.to_bytes(small, SelectionState(np.eye(n), np.eye(n)))


def test_structures_and_potential_of_a_file_have_the_same_types(tmp_path):
    model = parse(LEVEL_6, ["Ag", "Pd"])
    cfg.write(alloy(), tmp_path / "in.cfg", model.types)
    assert " 1   1 " in (tmp_path / "in.cfg").read_text()
    assert cfg.read(tmp_path / "in.cfg", model.types).numbers.tolist() == alloy().numbers.tolist()


@pytest.mark.parametrize(("elements", "level"), [(["Mo"], 2), (["Mo"], 16), (["Ag", "Pd"], 12)])
def test_an_independent_code_says_the_same_of_an_exported_potential(tmp_path, elements, level):
    calculator = pytest.importorskip("motep.calculator", reason="needs motep from PyPI")
    from motep.io.mlip.mtp import read_mtp

    model = random_potential(elements, level)
    mtp.write(model, tmp_path / "pot.mtp")
    data = read_mtp(str(tmp_path / "pot.mtp"))
    data.species = np.array([atomic_numbers[element] for element in model.types])
    atoms = bulk("Mo", "bcc", 3.16, cubic=True) * (2, 2, 2)
    atoms.rattle(0.1, seed=0)
    atoms.symbols = np.random.default_rng(0).choice(elements, len(atoms))
    expected = model.predict(Configurations.from_ase(atoms))
    atoms.calc = calculator.MTP(data)
    assert atoms.get_potential_energy() == pytest.approx(expected.energies[0], rel=1e-13)
    largest = abs(expected.forces).max()
    assert atoms.get_forces() == pytest.approx(expected.forces, abs=1e-13 * largest)
    stress = expected.stresses[0]
    assert atoms.get_stress(voigt=False) == pytest.approx(stress, abs=1e-13 * abs(stress).max())


def test_a_file_says_of_which_model_it_is(tmp_path):
    """With coefficients or without, as the level files of MLIP are."""
    start, end = LEVEL_6.index("\tradial_coeffs"), LEVEL_6.index("alpha_moments_count")
    template = LEVEL_6[:start] + LEVEL_6[end : LEVEL_6.index("species_coeffs")]
    (tmp_path / "trained.mtp").write_text(LEVEL_6)
    (tmp_path / "template.mtp").write_text(template)
    options = mtp.model_options(tmp_path / "template.mtp")
    assert options == mtp.model_options(tmp_path / "trained.mtp")
    made = single(options, ["H", "He"], 0)
    trained = parse(LEVEL_6)
    made.warm_start(trained)
    assert (made.radial, made.level) == (trained.radial, None)
    structures = Configurations.from_ase([bulk("He", "fcc", 4.0)])
    np.testing.assert_allclose(
        made.predict(structures).energies, trained.predict(structures).energies, rtol=1e-12
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{0, 5, 1, 7}", "{0, 5, 1, 30000000}", "more moments before it than there are"),
        ("radial_basis_size = ", "radial_basis_size = 30000000", "expected a radial basis of 1 to"),
        ("species_count = 2", "species_count = 30000", "species_count: expected 1 to 118, got"),
    ],
)
def test_sizes_are_checked_before_room_is_made(old, new, message):
    """An index of 3e7 in a file of half a kilobyte took 2 GB."""
    assert old in LEVEL_6
    with pytest.raises(ValueError, match=message):
        parse(LEVEL_6.replace(old, new))
