"""How far predictions are from labels."""

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.configurations import Configurations


def errors(
    labelled: Configurations,
    energies: Float[np.ndarray, " structures"],
    forces: Float[np.ndarray, "atoms 3"],
    stresses: Float[np.ndarray, "structures 3 3"] | None = None,
) -> dict[str, float]:
    """Return errors of predictions, as far as there are labels and predictions to compare.

    Energies are compared per atom (eV/atom), forces and stresses by component (eV/Å, eV/Å³), the
    nine of a stress. These are equations 8 and 10 of I. S. Novikov et al., Mach. Learn.: Sci.
    Technol. 2, 025002 (2021). Errors of forces are those of all components of all structures; where
    ``force_rmse_by_structure`` each structure counts the same, however large (equation 9).
    Components that are fixed count as well: the label is the force without constraints.

    Returns
    -------
    dict
        ``energy_mae``, ``energy_rmse``, ``energy_max``, the same of ``force`` and ``stress``, and
        ``force_rmse_by_structure``.
        Where nothing can be compared, the keys are absent.
    """
    differences = {
        "energy": (np.asarray(energies) - labelled.energies) / labelled.counts,
        "force": np.asarray(forces) - labelled.forces,
    }
    if stresses is not None:
        differences["stress"] = np.asarray(stresses) - labelled.stresses
    wrong = {}
    for name, difference in differences.items():
        sizes = np.abs(difference[np.isfinite(difference)])
        if len(sizes):
            wrong[f"{name}_mae"] = float(sizes.mean())
            wrong[f"{name}_rmse"] = float(np.sqrt((sizes**2).mean()))
            wrong[f"{name}_max"] = float(sizes.max())
    squares = (differences["force"] ** 2).mean(axis=1)
    known = np.isfinite(squares)
    if known.any():
        owners, n = labelled.owner[known], len(labelled)
        counts = np.bincount(owners, minlength=n)
        means = np.bincount(owners, squares[known], n)[counts > 0] / counts[counts > 0]
        wrong["force_rmse_by_structure"] = float(np.sqrt(means.mean()))
    return wrong


def structure_errors(
    labelled: Configurations,
    energies: Float[np.ndarray, " structures"],
    forces: Float[np.ndarray, "atoms 3"],
) -> Float[np.ndarray, " structures"]:
    """Return one error for each structure: the mean absolute one of its force components in eV/Å.

    Where no structure has forces it is that of the energy, in eV/atom. NaN without a label.
    """
    counts = np.maximum(labelled.counts, 1)
    apart = np.abs(np.asarray(forces) - labelled.forces).mean(axis=1)
    if not np.isfinite(apart).any():
        return np.abs(np.asarray(energies) - labelled.energies) / counts
    return np.bincount(labelled.owner, apart, minlength=len(labelled)) / counts


def correlations(
    values: Float[np.ndarray, " structures"], errors: Float[np.ndarray, " structures"]
) -> dict[str, float | None]:
    """Return linear and rank correlations of uncertainties and errors, where both are known.

    Both coefficients, ``pearson`` and ``spearman``, are ``None`` where one of the two is the same
    for all.
    """
    known = np.isfinite(values) & np.isfinite(errors)
    pair = values[known], errors[known]
    if not known.any() or not all(np.ptp(one) > 0 for one in pair):
        return {"pearson": None, "spearman": None}
    from scipy.stats import spearmanr

    return {
        "pearson": float(np.corrcoef(*pair)[0, 1]),
        "spearman": float(spearmanr(*pair).statistic),
    }
