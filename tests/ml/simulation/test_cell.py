import numpy as np
import pytest
from ase.build import bulk, fcc100
from ase.constraints import FixAtoms
from ase.units import GPa

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.simulation.cell import FIXED, MovingCell, travelled

STRESS = np.array([[[1.0, 0.5, 0.0], [0.5, 2.0, 0.0], [0.0, 0.0, 6.0]]]) * GPa


@pytest.mark.parametrize(
    ("cell", "largest"),
    [
        (MovingCell("full"), 6.0),
        (MovingCell("full", pressure_GPa=-5.0), 4.0),
        (MovingCell("volume"), 3.0),
        (MovingCell("volume", pressure_GPa=-3.0), 0.0),
        (MovingCell("shape"), 3.0),
        (FIXED, 0.0),
    ],
)
def test_only_what_moves_the_cell_counts(cell, largest):
    """The stress of 1, 2 and 6 GPa along the axes is 3 GPa in the mean."""
    assert cell.largest(STRESS)[0] == pytest.approx(largest)


def test_a_stress_that_is_not_known_is_not_small():
    unknown = np.full((1, 3, 3), np.nan)
    assert np.isnan(MovingCell("volume").largest(unknown)[0])
    assert FIXED.largest(unknown)[0] == 0.0


def test_is_read_from_the_result_of_a_run():
    assert MovingCell.of({"cell": {"moves": "volume", "pressure_GPa": 2.0}}) == MovingCell(
        "volume", 2.0
    )
    assert MovingCell.of({}) == FIXED


def test_refuses_cells_that_cannot_move():
    slab = fcc100("Cu", (2, 2, 2), vacuum=5.0)
    held = bulk("Cu", cubic=True)
    held.set_constraint(FixAtoms([0]))
    with pytest.raises(ValueError, match=r"cell .full. needs .* directions, structure 0 is not"):
        MovingCell("full").check(Configurations.from_ase(slab))
    with pytest.raises(ValueError, match="structure 0 has fixed ones"):
        MovingCell("shape").check(Configurations.from_ase(held))
    FIXED.check(Configurations.from_ase([slab, held]))


def test_refuses_labels_of_crystals_that_lack_the_stress():
    frames = Configurations.from_ase([bulk("Cu"), bulk("Cu"), fcc100("Cu", (1, 1, 2), vacuum=5.0)])
    stresses = np.full((3, 3, 3), np.nan)
    stresses[0] = 0.0
    labelled = frames.with_labels([1.0, 2.0, 3.0], np.zeros((4, 3)), stresses)
    with pytest.raises(ValueError, match="1 of 3 labels have none"):
        MovingCell("full").check_labels(labelled)
    MovingCell("full").check_labels(labelled[[0, 2]])
    FIXED.check_labels(labelled)


def test_what_atoms_move_with_the_cell_is_no_displacement():
    atoms = bulk("Cu", cubic=True)
    other = atoms.copy()
    other.set_cell(atoms.cell @ (np.eye(3) + 0.05 * np.eye(3, k=1)), scale_atoms=True)

    def far():
        return travelled(atoms.positions, atoms.cell.array, other.positions, other.cell.array)

    strain = np.linalg.norm(0.05 * np.eye(3, k=1), 2) * (atoms.cell.volume / 4) ** (1 / 3)
    assert far() == pytest.approx(strain)
    other.positions[2, 1] += 0.3
    assert far() == pytest.approx(0.3)


def test_molecules_have_no_cell_to_be_strained():
    one, other = np.zeros((2, 3)), np.array([[0, 0, 0], [0.3, 0.4, 0]])
    assert travelled(one, np.zeros((3, 3)), other, np.zeros((3, 3))) == pytest.approx(0.5)
