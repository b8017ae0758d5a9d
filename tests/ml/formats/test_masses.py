import pytest

from aiida_mlal.ml.formats.masses import element_of


@pytest.mark.parametrize(
    ("mass", "element"),
    [(1.0, "H"), ("63.55", "Cu"), (58.69, "Ni"), (58.93, "Co"), (208.98, "Bi"), (35.5, "Cl")],
)
def test_masses_are_those_of_elements_as_codes_round_them(mass, element):
    assert element_of(mass) == element


@pytest.mark.parametrize("mass", [0.0, 2.014, 72.0, -1.0, "nan", "inf", "copper"])
def test_other_masses_are_those_of_none(mass):
    assert element_of(mass) is None
