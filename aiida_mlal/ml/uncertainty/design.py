"""Information matrices of the last layer of a network, kept with its weights."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.uncertainty.active_set import fingerprint
from aiida_mlal.ml.uncertainty.criterion import Quantity
from aiida_mlal.ml.uncertainty.extras import to_tensor, to_text
from aiida_mlal.ml.uncertainty.information import RIDGE, Information, gain
from aiida_mlal.ml.uncertainty.reduction import largest
from aiida_mlal.ml.uncertainty.sensitivities import energy_sensitivities, force_sensitivities
from aiida_mlal.ml.watching import in_parts

PREFIXES = ("oed", "last_layer")
"""Before the names of its tensors, among the extras of a potential: the measure it is made for."""

MATRIX = "an information matrix of the quantity {!r}"
"""What potentials carry, in words."""

N_ATOMS = {"energy": 2000, "atoms": 2000, "forces": 64}
"""Atoms whose sensitivities are computed at a time."""

_READ = WeakIdKeyDictionary()  # matrices in extras, and the designs made of them


@dataclass(frozen=True, eq=False)
class Design:
    r"""The information matrix of a training set, and the gains of its own structures.

    Attributes
    ----------
    quantity
        What is learned.
    information
        Its information matrix.
    gains
        Of each training structure, mean and largest of the gains (equation 14) of all that is
        learned of it.
    loss
        Mean of :math:`r^2 / u` with the errors r of the trained potential: what variances are
        multiplied by for them to be those of its errors. NaN where there are no labels.
    fingerprint
        Of the potential whose last layer it is.
    """

    quantity: Quantity
    information: Information
    gains: Float[np.ndarray, "train 2"]
    loss: float
    fingerprint: str

    @classmethod
    def of(
        cls,
        potential: Potential,
        train: Configurations,
        quantity: Quantity = "energy",
        ridge: float = RIDGE,
    ) -> "Design":
        """Compute the design of a training set; ``ValueError`` for an empty one."""
        information = None
        for part in in_parts(train.slices(N_ATOMS[quantity]), "structures of the training set"):
            rows = sensitivities(potential, potential.graph(train[part]), quantity)
            flat = rows.reshape(-1, rows.shape[-1])
            information = (information or Information.of(flat[:0], ridge)).extended(flat)
        if information is None:
            raise ValueError("an information matrix is that of a training set, and this is empty")
        bare = cls(quantity, information, np.zeros((0, 2)), np.nan, fingerprint(potential))
        variances = bare.variances(potential, train)
        gains = over_structures(gain(variances), bare.owners(train), len(train))
        loss = np.nan
        if quantity != "atoms" and np.isfinite(train.energies).any():
            predicted = potential.predict(train)
            loss = _loss(bare, predicted, train, variances)
        return cls(quantity, information, gains, loss, bare.fingerprint)

    def owners(self, structures: Configurations) -> Int[np.ndarray, " values"]:
        """Return the structure of each row of ``variances``."""
        return np.arange(len(structures)) if self.quantity == "energy" else structures.owner

    def variances(
        self, potential: Potential, structures: Configurations
    ) -> Float[np.ndarray, "values ..."]:
        """Compute the variance of the energies of structures or atoms, or of force components."""
        shape = (0, 3) if self.quantity == "forces" else (0,)
        variances = [np.zeros(shape)]
        for part in in_parts(structures.slices(N_ATOMS[self.quantity]), "structures measured"):
            graph = potential.graph(structures[part])
            rows = sensitivities(potential, graph, self.quantity)
            variances.append(self.information.variances(rows))
        return np.concatenate(variances)

    def check(self, potential: Potential) -> None:
        """Refuse another potential, and other weights, than those of this design."""
        if fingerprint(potential) != self.fingerprint:
            raise ValueError(
                "the information matrix is of other weights than those of the potential: make it "
                "again from the training set"
            )

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """Write the design as extras of a potential."""
        one = self.information
        tensors = {
            "matrix": torch.tensor(one.matrix),
            "numbers": torch.tensor([one.n_rows, one.ridge, self.loss], dtype=torch.float64),
            "gains": torch.tensor(self.gains),
            "fingerprint": to_tensor(self.fingerprint),
        }
        return {f"{prefix}.{self.quantity}.{name}": tensor for name, tensor in tensors.items()}

    @staticmethod
    def is_in(potential: Potential, quantity: Quantity, prefix: str) -> bool:
        """Tell if a potential carries the design of a quantity, made for the measure ``prefix``."""
        return f"{prefix}.{quantity}.matrix" in potential.extras

    @classmethod
    def stored(cls, potential: Potential, quantity: Quantity) -> "Design":
        """Read the design that a potential carries, whichever measure it was made for.

        Raises
        ------
        ValueError
            If it carries none, or that of other weights.
        """
        prefix = next((p for p in PREFIXES if cls.is_in(potential, quantity, p)), None)
        if prefix is None:
            raise ValueError(
                f"the potential carries no information matrix of the quantity {quantity!r}: train "
                f"it with such an 'uncertainty', as {{'name': 'oed', 'quantity': {quantity!r}}}"
            )
        tensors = {
            name: potential.extras[f"{prefix}.{quantity}.{name}"]
            for name in ("matrix", "numbers", "gains", "fingerprint")
        }
        known: Design | None = _READ.get(tensors["matrix"])
        if known is None:
            n_rows, ridge, loss = tensors["numbers"].tolist()
            matrix = tensors["matrix"].cpu().numpy()
            name = to_text(tensors["fingerprint"])
            gains = tensors["gains"].cpu().numpy()
            known = cls(quantity, Information(matrix, int(n_rows), ridge), gains, loss, name)
            known.check(potential)  # once: it takes longer than a step of a simulation
            _READ[tensors["matrix"]] = known
        return known


def sensitivities(
    potential: Potential, graph: Graph, quantity: Quantity
) -> Float[np.ndarray, "values ... weights"]:
    """Differentiate each value (eV or eV/Å) by the weights of the last layer."""
    if quantity == "forces":
        return _array(force_sensitivities(potential, graph))
    rows = energy_sensitivities(potential, graph)
    return _array(rows if quantity == "atoms" else graph.sum_over_atoms(rows))


def over_structures(
    values: Float[np.ndarray, "values ..."], owners: Int[np.ndarray, " values"], n: int
) -> Float[np.ndarray, "n 2"]:
    """Compute mean and maximum of the values of each structure; 0 where it has none."""
    rows = values.reshape(len(values), -1)
    sums = np.zeros(n)
    np.add.at(sums, owners, rows.mean(axis=1))
    means = sums / np.maximum(np.bincount(owners, minlength=n), 1)
    return np.stack([means, largest(rows.max(axis=1), owners, n)], axis=1)


def _loss(
    design: Design, said: Configurations, train: Configurations, variances: np.ndarray
) -> float:
    if design.quantity == "energy":
        errors = said.energies - train.energies
    else:
        errors = said.forces - train.forces
    ratios = errors**2 / np.maximum(variances, np.finfo(float).tiny)
    known = np.isfinite(ratios)
    return float(ratios[known].mean()) if known.any() else np.nan


def _array(values: Tensor) -> np.ndarray:
    array: np.ndarray = values.detach().cpu().double().numpy()
    return array
