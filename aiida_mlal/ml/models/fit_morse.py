"""Morse parameters of an element from the energies of its dimer."""

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.data import atomic_numbers, covalent_radii
from ase.optimize import BFGS
from jaxtyping import Float
from scipy.optimize import least_squares

SCAN = (0.7, 0.8, 0.9, 1.1, 1.2)
"""Distances, in units of that of the minimum, at which the shape of the well is fitted."""

UNBOUND_DEPTH = 0.1
"""Depth in eV for a dimer that has a minimum, but above the energy of two atoms."""


def fit_morse(
    element: str,
    calculator: BaseCalculator,
    *,
    box: float | None = None,
    fmax: float = 0.01,
    max_steps: int = 100,
) -> dict[str, float]:
    """Return ``De`` (eV), ``re`` (Å) and ``a`` (1/Å), as option ``parameters`` of Morse wants them.

    The depth is the energy of two atoms less that of the relaxed dimer; the stiffness is fitted
    to the energies at five distances around the minimum. The supplement of Shuaibi et al.,
    Mach. Learn.: Sci. Technol. 2, 025007 (2021), describes it.

    Parameters
    ----------
    calculator
        Gives the energies and forces.
    box
        Side in Å of a periodic cube around the dimer; without it, there are no images.
    fmax, max_steps
        When the relaxation of the dimer, which begins at the sum of the covalent radii, is
        converged (eV/Å), and when it is given up.

    Raises
    ------
    ValueError
        If the dimer has no minimum.
    """
    if element not in atomic_numbers or element == "X":
        raise ValueError(f"{element!r} is no chemical element")
    start = 2 * float(covalent_radii[atomic_numbers[element]])
    atom = _atoms(element, [0.0], box, calculator).get_potential_energy()

    dimer = _atoms(element, [0.0, start], box, calculator)
    with BFGS(dimer, logfile=None) as optimizer:
        converged = optimizer.run(fmax=fmax, steps=max_steps)
    length = float(np.linalg.norm(dimer.positions[1] - dimer.positions[0]))
    if box is not None and not box > 2 * max(SCAN) * length:
        raise ValueError(
            f"expected a box of {2 * max(SCAN) * length:.2f} Å or more around a dimer of "
            f"{length:.2f} Å, which is else nearer to its images, got {box:g}"
        )
    energies = np.array([_energy(element, x * length, box, calculator) for x in (1.0, *SCAN)])
    if not converged or not energies[0] < energies[1:].min():
        raise ValueError(
            f"the dimer of {element} has no minimum with this calculator: at {length:.2f} Å it "
            f"has {energies[0] - 2 * atom:.3f} eV more than two atoms"
        )

    depth = float(2 * atom - energies[0])
    if depth < 0:
        depth = UNBOUND_DEPTH
    return {
        "De": depth,
        "re": length,
        "a": _stiffness(length * np.array(SCAN), energies[1:] - energies[0], depth, length),
    }


def _stiffness(
    distances: Float[np.ndarray, " scan"],
    energies: Float[np.ndarray, " scan"],
    depth: float,
    length: float,
) -> float:
    """Return the stiffness for energies above that of the minimum."""

    def residual(a: Float[np.ndarray, " 1"]) -> Float[np.ndarray, " scan"]:
        return depth * (1 - np.exp(-a[0] * (distances - length))) ** 2 - energies

    return float(least_squares(residual, [2.0], bounds=([1e-3], [20.0])).x[0])


def _atoms(element: str, x: list[float], box: float | None, calculator: BaseCalculator) -> Atoms:
    positions = np.zeros((len(x), 3))
    positions[:, 0] = x
    cell = None if box is None else [box] * 3
    return Atoms(
        [element] * len(x), positions, cell=cell, pbc=box is not None, calculator=calculator
    )


def _energy(element: str, distance: float, box: float | None, calculator: BaseCalculator) -> float:
    return float(_atoms(element, [0.0, distance], box, calculator).get_potential_energy())
