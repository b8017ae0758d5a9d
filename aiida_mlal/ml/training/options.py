"""Options of training. Nothing here needs torch, so that they can be checked anywhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal

from aiida_mlal.ml import plugins


@dataclass(frozen=True)
class LossOptions:
    """Weights of the loss.

    Attributes
    ----------
    energy
        Of squared errors of the energy, in 1/eV².
    force
        Of squared errors of forces, in Å²/eV².
    stress
        Of squared errors of the virial, in 1/eV²; structures without a stress count nothing.
    scaling
        What a structure of N atoms counts. ``per_atom``: errors of the energy per atom, of the
        virial per atom, and of force components in the mean. ``molecules``, ``structures`` and
        ``vibrations`` are those of MLIP, whose usual weights are 1, 0.01 and 0.001: errors of
        energy, virial and all forces of the structure; its energy and virial divided by N², its
        forces by N; energy and virial divided by N, so that each force counts the same.
    """

    energy: float = 1.0
    force: float = 0.04
    stress: float = 0.04
    scaling: Literal["per_atom", "molecules", "structures", "vibrations"] = "per_atom"

    def __post_init__(self) -> None:
        """Refuse weights that leave nothing to learn."""
        weights = (self.energy, self.force, self.stress)
        if not all(0 <= weight < inf for weight in weights) or not any(weights):
            raise ValueError(f"expected weights of 0 or more, one of them above 0, got {weights}")


@dataclass(frozen=True)
class TrainingOptions:
    """How a potential is trained.

    Attributes
    ----------
    epochs
        At most this many.
    optimizer
        A part of the group ``aiida_mlal.optimizers``, ``{"name": ..., **options}``.
    loss
        Weights of energies, forces and stresses.
    bootstrap
        Whether each member of an ensemble learns from its own draw with replacement, or all learn
        from all structures and differ only in their first weights.
    validation
        Share of the structures, drawn by seed, that is not trained on but decides which weights
        are kept; with 0 the training loss decides.
    criterion
        What of the validation set decides: its loss, or ``mae``, the mean absolute error of
        energies (eV) plus that of components of forces (eV/Å), plus, where the loss has a weight
        of stresses, that of components of the virial (eV).
    patience
        Stop after so many epochs without an improvement by ``tolerance``; ``None`` never stops.
    tolerance
        Relative decrease of the loss that counts as an improvement; by default that of the
        optimizer.
    starts
        How many first weights are tried at most. Others than the first are tried only if the
        training has failed: if more than ``unexplained`` is left at its end.
    unexplained
        The share of the variance of the labels, in the weights of the loss, that a potential may
        leave unexplained. All of it, 1, is left by the best energies of the elements without any
        interaction. Labels missed by less than 1 meV/atom, 10 meV/Å and 1 meV/Å³ count as
        explained.
    threads
        Cores for each potential. With one, members of an ensemble are fitted side by side on the
        cores that there are, otherwise one after the other.
    precision
        Of the weights that are trained and stay; by default as they are, which for a new potential
        is double.
    device
        Where it is trained.
    """

    epochs: int = 50
    optimizer: Mapping[str, Any] = field(default_factory=lambda: {"name": "lbfgs"})
    loss: LossOptions = field(default_factory=LossOptions)
    bootstrap: bool = True
    validation: float = 0.0
    criterion: Literal["loss", "mae"] = "loss"
    patience: int | None = 3
    tolerance: float | None = None
    starts: int = 4
    unexplained: float = 0.05
    threads: int = 1
    precision: Literal["single", "double"] | None = None
    device: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if self.epochs < 1:
            raise ValueError(f"expected one epoch or more, got {self.epochs}")
        if not 0 <= self.validation < 1:
            raise ValueError(f"expected a validation share in [0, 1), got {self.validation}")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"expected a patience of one epoch or more, got {self.patience}")
        if self.tolerance is not None and not self.tolerance >= 0:
            raise ValueError(f"expected a tolerance of 0 or more, got {self.tolerance}")
        if self.starts < 1:
            raise ValueError(f"expected one start or more, got {self.starts}")
        if not self.unexplained > 0:
            raise ValueError(f"expected an unexplained share above 0, got {self.unexplained}")
        if self.threads < 1:
            raise ValueError(f"expected one thread or more, got {self.threads}")
        plugins.make("optimizers", self.optimizer, "optimizer")
