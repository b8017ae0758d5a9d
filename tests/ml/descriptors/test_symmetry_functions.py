from dataclasses import replace
from itertools import product
from math import acos, cos, exp, pi

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from scipy.spatial.transform import Rotation

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.descriptors.symmetry_functions import (
    SymmetryFunctionOptions,
    SymmetryFunctions,
    triplets,
)
from aiida_mlal.ml.graph import Graph

WIDE = SymmetryFunctionOptions(
    g2_etas=(0.5, 4.0),
    g2_centres=(0.0, 1.5),
    g4_etas=(0.005, 0.3),
    g4_zetas=(1.0, 1.5, 4.0),
    g4_lambdas=(1.0, -1.0),
)


def describe(atoms, elements, cutoff, options, dtype=torch.float64):
    functions = SymmetryFunctions(len(elements), cutoff, options).to(dtype)
    structures = Configurations.from_ase(atoms)
    graph = Graph.of(structures, cutoff, dtype)
    numbers = [Atoms(e).numbers[0] for e in elements]
    species = torch.tensor([numbers.index(z) for z in structures.numbers], dtype=torch.int64)
    return functions(graph, species).numpy()


def by_definition(atoms, elements, cutoff, options, images=3):
    """Loops over all atoms in all images; angles by the arccosine."""

    def f(r):
        return (cos(pi * r / cutoff) + 1) / 2 if r < cutoff else 0.0

    unit = 1 / cutoff**2 if options.eta_units == "cutoff" else 1.0
    cells = product(*[range(-images, images + 1) if p else [0] for p in atoms.pbc])
    everyone = [
        (symbol, position + np.array(n) @ atoms.cell.array, (j, n))
        for n in cells
        for j, (symbol, position) in enumerate(zip(atoms.symbols, atoms.positions))
    ]
    couples = [(a, b) for i, a in enumerate(elements) for b in elements[i:]]
    rows = []
    for i, centre in enumerate(atoms.positions):
        near = [
            (symbol, position)
            for symbol, position, who in everyone
            if who != (i, (0, 0, 0)) and np.linalg.norm(position - centre) < cutoff
        ]
        row = []
        for element in elements:
            distances = [np.linalg.norm(p - centre) for s, p in near if s == element]
            for eta, rs in product(options.g2_etas, options.g2_centres):
                row.append(sum(exp(-eta * unit * (r - rs) ** 2) * f(r) for r in distances))
        for couple in couples:
            for eta, zeta, sign in product(options.g4_etas, options.g4_zetas, options.g4_lambdas):
                total = 0.0
                for j in range(len(near)):
                    for k in range(j + 1, len(near)):
                        if sorted((near[j][0], near[k][0])) != sorted(couple):
                            continue
                        u, v = near[j][1] - centre, near[k][1] - centre
                        a, b = np.linalg.norm(u), np.linalg.norm(v)
                        c = np.linalg.norm(u - v)
                        angle = acos(np.clip(u @ v / (a * b), -1, 1))
                        total += (
                            (1 + sign * cos(angle)) ** zeta
                            * exp(-eta * unit * (a**2 + b**2 + c**2))
                            * (f(a) * f(b) * f(c))
                        )
                row.append(2 ** (1 - zeta) * total)
        rows.append(row)
    return np.array(rows).reshape(len(atoms), -1)


def alloy():
    atoms = bulk("Cu", cubic=True)
    atoms.numbers[:2] = 6
    atoms.set_cell(atoms.cell @ [[0.8, 0.2, 0], [0, 0.9, 0.1], [0.02, 0, 1]], scale_atoms=True)
    atoms.rattle(0.2, seed=1)
    return atoms


STRUCTURES = {
    "molecule": (lambda: molecule("CH3CH2OH"), ["H", "C", "O"], 3.0),
    "cell smaller than the cutoff": (
        lambda: Atoms("Cu", cell=[[2.2, 0, 0], [0.3, 2.4, 0], [0, -0.3, 2.6]], pbc=True),
        ["Cu"],
        3.4,
    ),
    "skewed alloy": (alloy, ["C", "Cu"], 3.3),
    "wire": (
        lambda: Atoms("CuC", [[0, 0, 0], [1.1, 0.2, 0.7]], cell=[0, 0, 1.9], pbc=[0, 0, 1]),
        ["C", "Cu"],
        3.0,
    ),
    "an element that is absent": (lambda: molecule("H2O"), ["H", "C", "O"], 2.0),
    "lone atom": (lambda: Atoms("Cu"), ["C", "Cu"], 3.0),
}


@pytest.mark.parametrize("options", [SymmetryFunctionOptions(), WIDE], ids=["default", "wide"])
@pytest.mark.parametrize(("make", "elements", "cutoff"), STRUCTURES.values(), ids=STRUCTURES)
def test_agrees_with_the_definition(make, elements, cutoff, options):
    atoms = make()
    expected = by_definition(atoms, elements, cutoff, options)
    found = describe(atoms, elements, cutoff, options)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_agrees_with_the_definition_in_inverse_square_angstrom():
    options = SymmetryFunctionOptions((0.3, 1.0), (0.0,), (0.2,), eta_units="1/A^2")
    expected = by_definition(alloy(), ["C", "Cu"], 3.3, options)
    np.testing.assert_allclose(describe(alloy(), ["C", "Cu"], 3.3, options), expected, rtol=1e-9)


def test_a_dimer_by_hand():
    options = SymmetryFunctionOptions(g2_etas=(4.0,), g4_etas=())
    dimer = Atoms("Cu2", [[0, 0, 0], [0, 0, 3.0]])
    # eta is 4 / 6², the cutoff function is one half in the middle
    assert describe(dimer, ["Cu"], 6.0, options) == pytest.approx(exp(-4 / 4) / 2)


def test_a_right_angle_by_hand():
    options = SymmetryFunctionOptions(g2_etas=(), g4_etas=(0.0,), g4_zetas=(2.0,))
    corner = Atoms("HCH", [[3.0, 0, 0], [0, 0, 0], [0, 3.0, 0]])
    features = describe(corner, ["H", "C"], 6.0, options)
    together = 0.5 * 0.5 * (1 + cos(pi * 2**0.5 / 2)) / 2
    # couples are HH, HC, CC, each with both signs
    assert features[1] == pytest.approx([together / 2] * 2 + [0] * 4)
    at_end = [(1 + sign * 0.5**0.5) ** 2 / 2 * together for sign in (1, -1)]
    for end in (0, 2):
        assert features[end] == pytest.approx([0, 0, *at_end, 0, 0])


@pytest.mark.parametrize(("n", "expected"), [(1, 8), (2, 20), (3, 36)])
def test_as_many_functions_as_in_the_paper(n, expected):
    functions = SymmetryFunctions(n, 6.0, SymmetryFunctionOptions())
    assert functions.n_features == expected


def test_the_default_widths_are_those_of_the_paper():
    options = SymmetryFunctionOptions()
    np.testing.assert_allclose(options.g2_etas, np.logspace(np.log10(0.05), np.log10(5.0), 4))
    functions = SymmetryFunctions(1, 6.0, options)
    np.testing.assert_allclose(functions.radial[:, 0] * 36, options.g2_etas)


def test_does_not_change_in_a_rotation_or_reflection():
    turn = -Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix().T
    atoms = alloy()
    turned = Atoms(atoms.symbols, atoms.positions @ turn, cell=atoms.cell @ turn, pbc=True)
    first, second = (describe(a, ["C", "Cu"], 4.0, WIDE) for a in (atoms, turned))
    np.testing.assert_allclose(first, second, rtol=1e-10, atol=1e-12)


def test_follows_the_order_of_the_atoms():
    atoms = molecule("CH3CH2OH")
    order = np.random.default_rng(0).permutation(len(atoms))
    found = describe(atoms[order], ["H", "C", "O"], 4.0, WIDE)
    expected = describe(atoms, ["H", "C", "O"], 4.0, WIDE)[order]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)


def graph_and_functions(atoms, options=WIDE):
    graph = Graph.of(Configurations.from_ase(atoms), 3.5)
    return graph, SymmetryFunctions(1, 3.5, options), torch.zeros(len(atoms), dtype=torch.int64)


def moved(graph, vectors):
    return replace(graph, vectors=vectors)


def test_derivatives():
    atoms = Atoms("Cu4", [[0, 0, 0], [1.8, 0.1, 0], [0.2, 2.1, 0.3], [1.0, 1.1, 1.7]])
    graph, functions, species = graph_and_functions(atoms)
    assert torch.autograd.gradcheck(
        lambda v: functions(moved(graph, v), species), graph.vectors.clone().requires_grad_()
    )


@pytest.mark.parametrize("zeta", [1.0, 1.5, 2.0, 4.0])
def test_derivatives_are_finite_where_neighbours_are_in_line(zeta):
    options = SymmetryFunctionOptions(g4_zetas=(zeta,))
    atoms = bulk("Cu", "sc", a=1.5)
    graph, functions, species = graph_and_functions(atoms, options)
    vectors = graph.vectors.clone().requires_grad_()
    features = functions(moved(graph, vectors), species)
    slopes = torch.autograd.grad(features.sum(), vectors, create_graph=True)[0]
    assert bool(torch.isfinite(slopes).all())
    # in a crystal with inversion the force is zero, but not each derivative
    assert slopes.sum(0).abs().max() < 1e-10


def test_ends_smoothly_at_the_cutoff():
    options = SymmetryFunctionOptions(g4_zetas=(1.0, 4.0))
    third = [1.2, 0.4, 0]
    for axis in (0, 1):  # beyond the cutoff of the first atom, or of the second and third
        for h in (1e-3, 1e-5):
            x = 3.0 * np.eye(3)[axis] * (1 - h)
            near = describe(Atoms("Cu3", [[0, 0, 0], third, x]), ["Cu"], 3.0, options)
            far = describe(Atoms("Cu3", [[0, 0, 0], third, 3 * x]), ["Cu"], 3.0, options)
            assert abs(near - far)[0].max() < 10 * h**2


def test_single_precision():
    single = describe(alloy(), ["C", "Cu"], 4.0, WIDE, torch.float32)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, describe(alloy(), ["C", "Cu"], 4.0, WIDE), rtol=1e-3)


def test_triplets_are_all_pairs_of_edges_of_an_atom():
    centre = torch.tensor([0, 0, 0, 2, 3, 3])
    one, two = triplets(centre, 5)
    assert list(zip(one.tolist(), two.tolist())) == [(0, 1), (0, 2), (1, 2), (4, 5)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"g2_etas": (), "g4_etas": ()}, "at least one symmetry function"),
        ({"g2_etas": (-1.0,)}, "etas of 0 or more"),
        ({"g4_zetas": (0.5,)}, r"g4_zetas of 1 or more, got \[0.5\]"),
        ({"g4_lambdas": (1.0, 0.5)}, r"g4_lambdas of 1 or -1, got \[1.0, 0.5\]"),
        ({"g2_centres": (), "g4_lambdas": ()}, "at least one symmetry function"),
        ({"g2_etas": (), "g4_zetas": ()}, "at least one symmetry function"),
    ],
)
def test_options_without_a_function_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SymmetryFunctionOptions(**options)
