import pytest
from ase.build import bulk
from ase.io import write

from aiida_mlal.ml.formats.files import load


@pytest.fixture
def cif(tmp_path):
    """A crystal of two elements, as ASE writes it: all sites are full."""
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    write(tmp_path / "a.cif", atoms)
    return tmp_path / "a.cif"


def test_ordered_crystals_are_read(cif):
    assert load(cif).configurations.formulas == ["ClNa"]


SITE = "  {0}  {0}1  1.0  0.0  0.0  0.0  {1}"


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        ([("Na", 0.6), ("K", 0.4)], "0.6 Na, 0.4 K"),
        ([("Na", 0.5)], "0.5 Na"),
        ([("Na", "full")], "full Na"),
        ([("Na", "nan")], "nan Na"),
    ],
)
def test_averages_of_structures_are_refused(cif, sites, said):
    """ASE filled such a site with its first element."""
    lines = cif.read_text().split("\n")
    (first,) = (i for i, line in enumerate(lines) if line.split()[:1] == ["Na"])
    cif.write_text(
        "\n".join([*lines[:first], *(SITE.format(*site) for site in sites), *lines[first + 1 :]])
    )
    with pytest.raises(ValueError, match=f"a.cif: structure 0 has a site that is {said}: expected"):
        load(cif)
