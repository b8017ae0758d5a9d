import re
import tarfile

import numpy as np
import pytest

from aiida_mlal.ml.descriptors.moment_tensors import MomentBasis

LEVEL_8_TIMES = (
    "{0,0,1,11},{1,1,1,12},{2,2,1,12},{3,3,1,12},{4,4,1,13},{5,5,2,13},{6,6,2,13},{7,7,1,13},"
    "{8,8,2,13},{9,9,1,13},{0,10,1,14},{0,11,1,15},{0,12,1,16},{0,15,1,17}"
)
LEVEL_8_BASIC = (
    "{0,0,0,0},{0,1,0,0},{0,0,1,0},{0,0,0,1},{0,2,0,0},{0,1,1,0},{0,1,0,1},{0,0,2,0},{0,0,1,1},"
    "{0,0,0,2},{1,0,0,0}"
)
# level: radial functions, basic moments, invariants (published level files), products (own)
COUNTS = {
    2: (1, 1, 1, 0),
    4: (1, 1, 2, 1),
    6: (2, 5, 5, 5),
    8: (2, 11, 9, 14),
    10: (3, 25, 16, 42),
    12: (3, 46, 29, 128),
    14: (4, 81, 52, 345),
    16: (4, 130, 92, 864),
    18: (5, 201, 163, 2204),
    20: (5, 295, 288, 5235),
    22: (6, 421, 500, 11666),
}


def rows(text):
    return np.array([[int(x) for x in row.split(",")] for row in re.findall(r"{([^{}]+)}", text)])


def published_level_8():
    return MomentBasis(rows(LEVEL_8_BASIC), rows(LEVEL_8_TIMES), [0, *range(10, 18)])


def neighbourhood(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(7, 3)), 0.3 * rng.normal(size=(6, 7))


def scalars(basis, unit, functions):
    """Follow the lists row by row, for one atom."""
    moments = np.zeros(basis.n_moments)
    for i, (mu, x, y, z) in enumerate(basis.basic):
        moments[i] = (functions[mu] * unit[:, 0] ** x * unit[:, 1] ** y * unit[:, 2] ** z).sum()
    for a, b, factor, c in basis.times:
        moments[c] += factor * moments[a] * moments[b]
    return moments[basis.mapping]


def values(basis, rotation=None, seed=0):
    vectors, functions = neighbourhood(seed)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scalars(basis, unit if rotation is None else unit @ rotation, functions)


def assert_same_values(basis, other):
    ours, theirs = np.sort(values(basis)), np.sort(values(other))
    assert ours == pytest.approx(theirs, rel=1e-10, abs=1e-14 * abs(theirs).max())


@pytest.mark.parametrize("level", COUNTS)
def test_as_many_as_published(level):
    basis = MomentBasis.of_level(level)
    assert (basis.n_radial, len(basis.basic), basis.n_scalars, len(basis.times)) == COUNTS[level]


def test_level_8_has_the_published_invariants():
    assert_same_values(MomentBasis.of_level(8), published_level_8())


@pytest.mark.parametrize("level", [8, 16])
def test_invariants_do_not_change_in_a_rotation(level):
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    basis = MomentBasis.of_level(level)
    turned = values(basis, rotation)
    assert turned == pytest.approx(values(basis), rel=1e-9, abs=1e-13 * abs(turned).max())


def test_a_level_contains_the_lower_ones():
    lower, higher = values(MomentBasis.of_level(10)), values(MomentBasis.of_level(12))
    assert all(np.isclose(higher, value, rtol=1e-10).any() for value in lower)


@pytest.mark.parametrize("level", [0, 7, 16.5, 30, -2])
def test_no_such_level(level):
    with pytest.raises(ValueError, match=r"even level from 2 to 28, got"):
        MomentBasis.of_level(level)


@pytest.mark.parametrize(
    ("times", "mapping", "message"),
    [
        ([[0, 2, 1, 2]], [0], "not complete yet"),
        ([[0, 0, 1, 3], [0, 0, 1, 2]], [0], "sorted by their result"),
        ([[0, 0, 1, 3]], [0], "more moments before it than there are"),
        ([[0, 0, 1, 3], [0, 1, 1, 3]], [0], "neither basic nor a product"),
        ([[0, 0, 1, 2]], [3], "none of the 3 moments"),
    ],
)
def test_refuses_lists_that_make_no_sense(times, mapping, message):
    with pytest.raises(ValueError, match=message):
        MomentBasis([[0, 0, 0, 0], [1, 0, 0, 0]], times, mapping)


@pytest.mark.parametrize("level", range(2, 30, 2))
def test_published_levels_have_the_same_invariants(shared, level):
    name = f"{level:02d}.almtp" if level > 4 else f"depreciated-{level:02d}.almtp"
    with tarfile.open(shared / "reference" / "mlip3_templates_examples.tar.xz") as archive:
        text = archive.extractfile(f"MTP_templates/{name}").read().decode()
    lists = dict(re.findall(r"^(\w+) = {(.*)}", text, re.MULTILINE))
    basic, times = rows(lists["alpha_index_basic"]), rows(lists["alpha_index_times"])
    mapping = [int(i) for i in lists["alpha_moment_mapping"].split(",")]
    assert_same_values(MomentBasis.of_level(level), MomentBasis(basic, times, mapping))
