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

    Energies are compared per atom (eV/atom), forces and stresses by component (eV/Å, eV/Å³).
    Components that are fixed count as well: the label is the force without constraints.

    Returns
    -------
    dict
        ``energy_mae``, ``energy_rmse``, ``energy_max``, the same of ``force`` and ``stress``.
        Where nothing can be compared, the keys are absent.
    """
    differences = {
        "energy": (np.asarray(energies) - labelled.energies) / labelled.counts,
        "force": np.asarray(forces) - labelled.forces,
    }
    if stresses is not None:
        upper = np.triu_indices(3)
        differences["stress"] = (np.asarray(stresses) - labelled.stresses)[:, upper[0], upper[1]]
    found = {}
    for name, difference in differences.items():
        sizes = np.abs(difference[np.isfinite(difference)])
        if len(sizes):
            found[f"{name}_mae"] = float(sizes.mean())
            found[f"{name}_rmse"] = float(np.sqrt((sizes**2).mean()))
            found[f"{name}_max"] = float(sizes.max())
    return found
