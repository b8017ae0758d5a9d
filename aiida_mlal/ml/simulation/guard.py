"""Guards: limits that end a simulation where its potential extrapolates or is unphysical."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from jaxtyping import Bool, Float, Int

from aiida_mlal.ml import plugins
from aiida_mlal.ml.options import within
from aiida_mlal.ml.simulation.cell import FIXED, MovingCell

if TYPE_CHECKING:
    from aiida_mlal.ml.configurations import Configurations
    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.models.factory import ModelOptions
    from aiida_mlal.ml.uncertainty.base import Uncertainty

UNCERTAIN, STRAYED, UNPHYSICAL = "uncertain", "strayed", "unphysical"
DUE, STAGNANT = "due", "stagnant"
REASONS = (UNCERTAIN, STRAYED, UNPHYSICAL, DUE, STAGNANT)
"""Why a guard ends a run."""

STILL = 0.04
"""How far an atom goes in Å before a run is not thought to stand still, as in FINETUNA."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Structure and prediction of one step, as a guard judges them.

    Attributes
    ----------
    numbers
        Atomic number of each atom.
    pairs, distances
        Atoms at the ends of each edge that the potential sees, and its length in Å.
    energy, forces
        What the potential predicts, in eV and eV/Å.
    uncertainty
        NaN where nothing measures it.
    volume
        Of the cell in Å³; NaN where it isn't periodic in all directions.
    moved
        How far the structure is from where the run began, in Å: see ``cell.travelled``.
    uncertainties
        Of each atom; None where nothing measures them.
    steps
        How many steps the run was taken by this potential.
    still
        For how many steps no atom has moved far, see ``Standstill``.
    """

    numbers: Int[np.ndarray, " atoms"]
    pairs: Int[np.ndarray, "2 edges"]
    distances: Float[np.ndarray, " edges"]
    energy: float
    forces: Float[np.ndarray, "atoms 3"]
    uncertainty: float = np.nan
    volume: float = np.nan
    moved: float = 0.0
    uncertainties: Float[np.ndarray, " atoms"] | None = None
    steps: int = 0
    still: int = 0

    @property
    def has_neighbours(self) -> Bool[np.ndarray, " atoms"]:
        """Mask of the atoms that have a neighbour within the cutoff."""
        mask = np.zeros(len(self.numbers), bool)
        mask[self.pairs[0]] = True
        return mask


@dataclass(frozen=True, eq=False)
class Reference:
    """Values of the first step that later ones are compared with; a ``Snapshot`` has them too."""

    has_neighbours: Bool[np.ndarray, " atoms"]
    volume: float


@dataclass(eq=False)
class Standstill:
    """Counts the steps in which no atom goes farther than ``STILL`` from where it was.

    Attributes
    ----------
    positions
        Of the atoms of all images, in Å, where the last atom went so far.
    step
        In which step it did.
    """

    positions: Float[np.ndarray, "images atoms 3"]
    step: int

    def after(self, positions: Float[np.ndarray, "images atoms 3"], step: int) -> int:
        """Return for how many steps all have stood still."""
        if np.linalg.norm(positions - self.positions, axis=-1).max(initial=0.0) >= STILL:
            self.positions, self.step = positions.copy(), step
        return step - self.step


@dataclass(frozen=True)
class Guard:
    """Limits that are watched while a simulation runs.

    Attributes
    ----------
    every
        Stride of the steps that are watched, and whose uncertainty is computed; those whose frames
        are kept anyway are watched too.
    uncertainty
        The measure and its options, such as ``{"name": "force_std"}``. By default the one that
        the potential was trained for, such as ``grade`` if it carries an active set; else
        ``force_std`` for a committee, else none. For limits in eV/Å of the error of a force it is
        ``{"name": "calibrated"}``.
    select
        Uncertainty from which a frame is a candidate for a label; all are without it.
    break_
        Uncertainty that ends a run; never without it. Among options it is called ``break``.
    break_share
        Where it is given, the uncertainty (eV/Å) that ends a run is not below this share of the
        largest predicted force: J. Musielewicz et al., Mach. Learn.: Sci. Technol. 3, 03LT01
        (2022).
    pause
        Number of steps after which a run ends as ``due``, that is for a label, counted from where
        its potential took over; never without it.
    stagnation
        Number of steps in which no atom goes farther than 0.04 Å, after which a run ends as
        ``stagnant``; never without it.
    min_distance
        Smallest distance of two atoms, in units of the sum of their covalent radii.
    max_force
        Largest predicted force on an atom in eV/Å.
    escape
        Whether a run ends when an atom that had neighbours has none left within the cutoff.
    max_volume_ratio
        Where the cell moves: a run ends as ``strayed`` where its volume is larger than that at
        its start by this factor, or smaller. Its last frame is a candidate for a label.
    trust
        How far in Å an atom may go from where the run began: there it ends as ``strayed``, and its
        last frame is a candidate for a label. Relaxations take steps of a third of it at most.
        Where the cell moves, its strain times the cube root of the volume of an atom has the same
        limit, and what atoms move with it does not count.
    """

    uncertainty: Mapping[str, Any] | None = None
    select: float | None = None
    break_: float | None = None
    break_share: float | None = None
    pause: int | None = None
    stagnation: int | None = None
    min_distance: float | None = 0.5
    max_force: float | None = 200.0
    escape: bool = True
    max_volume_ratio: float | None = 1.5
    trust: float | None = None
    every: int = 1

    def __post_init__(self) -> None:
        """Refuse limits that nothing or everything fulfils, and an unknown measure."""
        if self.every < 1:
            raise ValueError(f"expected every as 1 step or more, got {self.every}")
        largest = np.inf
        if self.uncertainty is not None:
            largest = plugins.make("uncertainties", self.uncertainty, "uncertainty").largest
        for name in (
            "select", "break_", "break_share", "pause", "stagnation", "min_distance", "max_force",
            "trust",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"expected {name.rstrip('_')} above 0 or null, got {value}")
            if name in ("select", "break_") and value is not None and not value < largest:
                raise ValueError(
                    f"expected {name.rstrip('_')} below {largest:g}, which this uncertainty never "
                    f"exceeds, got {value}"
                )
        if self.break_share is not None and self.break_ is None:
            raise ValueError(
                "break_share raises the limit that is given as break: give the lowest one there"
            )
        if self.max_volume_ratio is not None and not self.max_volume_ratio > 1:
            raise ValueError(
                f"expected max_volume_ratio above 1 or null, got {self.max_volume_ratio}"
            )
        if self.select is not None and self.break_ is not None and self.select > self.break_:
            raise ValueError(
                f"expected select not above break, got {self.select} and {self.break_}"
            )

    @property
    def named(self) -> "Uncertainty | None":
        """The measure that is named, if one is."""
        if self.uncertainty is None:
            return None
        measure: Uncertainty = plugins.make("uncertainties", self.uncertainty, "guard.uncertainty")
        return measure

    def check_model(self, model: "ModelOptions", trained: "Uncertainty | None") -> None:
        """Raise ``ValueError`` unless the measure suits a model.

        Parameters
        ----------
        trained
            What the potentials are trained for.
        """
        measure = self.named
        if measure is None:
            return
        with within("guard.uncertainty"):
            measure.check_model(model)
            measure.check_provided(trained)

    def choose(self, usual: "Uncertainty | None", cell: MovingCell) -> "Uncertainty | None":
        """Return the measure that is named, or else the usual one, of stresses too if they count.

        Parameters
        ----------
        usual
            That of a potential, unless one is named.
        """
        if self.named is not None or usual is None:
            return self.named
        return usual.with_stress if cell else usual

    def measure(
        self, potential: "Potential", structures: "Configurations", cell: MovingCell = FIXED
    ) -> "Uncertainty | None":
        """Return the measure of uncertainty for a potential, or None if it has none.

        Raises
        ------
        ValueError
            If the measure does not suit the potential, or a threshold would have nothing to
            compare with.
        """
        from aiida_mlal.ml.uncertainty.carried import measure_of, why_none  # they need torch

        usual = None if self.named else measure_of(potential, structures)
        measure = self.choose(usual, cell)
        if measure is not None:
            measure.of(potential, potential.graph(structures[:1]))
        elif self.select is not None or self.break_ is not None:
            raise ValueError(f"guard: 'select' and 'break' need an uncertainty, and {why_none()}")
        return measure

    def check_cell(self, measure: "Uncertainty | None", cell: MovingCell) -> None:
        """Raise ``ValueError`` if thresholds are of forces alone and the cell moves."""
        names = [n.rstrip("_") for n in ("select", "break_") if getattr(self, n) is not None]
        if names and measure is not None:
            with within("guard"):
                measure.check_cell(cell, names)

    def wants_label(self, uncertainty: float) -> bool:
        """Whether a frame is a candidate for a label."""
        return self.select is None or not uncertainty < self.select

    def verdict(
        self, now: Snapshot, first: Snapshot | Reference, labelled: bool = False
    ) -> tuple[str, str] | None:
        """Judge a frame: the reason to end the run, one of ``REASONS``, with details, or None.

        Parameters
        ----------
        labelled
            Whether the structure has been labelled, so that its uncertainty is no reason.
        """
        problem = self._unphysical(now, first)
        if problem is not None:
            return UNPHYSICAL, problem
        limit = self._limit(now)
        if limit is not None and not labelled and not now.uncertainty < limit:
            return UNCERTAIN, (
                f"the uncertainty {now.uncertainty:.4g}{_of_atom(now)} reached {limit:.4g}"
            )
        ratio = now.volume / first.volume
        if self.max_volume_ratio is not None and max(ratio, 1 / ratio) > self.max_volume_ratio:
            return STRAYED, (
                f"the volume is {ratio:.3g} times that at the start, beyond a factor of "
                f"{self.max_volume_ratio:g}"
            )
        if self.trust is not None and not now.moved < self.trust:
            return STRAYED, f"it is {now.moved:.3g} Å from where it began"
        if self.pause is not None and now.steps >= self.pause:
            return DUE, f"{now.steps} steps without a label"
        if self.stagnation is not None and now.still >= self.stagnation:
            return STAGNANT, f"no atom went {STILL:g} Å in {now.still} steps"
        return None

    def _limit(self, now: Snapshot) -> float | None:
        """Return the uncertainty that ends a run."""
        if self.break_ is None or self.break_share is None:
            return self.break_
        return max(self.break_, self.break_share * float(np.linalg.norm(now.forces, axis=1).max()))

    def _unphysical(self, now: Snapshot, first: Snapshot | Reference) -> str | None:
        if not (np.isfinite(now.energy) and np.isfinite(now.forces).all()):
            return "energy or forces are not finite"
        if self.min_distance is not None and len(now.distances):
            radii = covalent_radii[now.numbers]
            ratios = now.distances / (radii[now.pairs[0]] + radii[now.pairs[1]])
            edge = int(ratios.argmin())
            if ratios[edge] < self.min_distance:
                return (
                    f"{_names(now.numbers, now.pairs[:, edge])} are {now.distances[edge]:.2f} Å "
                    f"apart, {ratios[edge]:.2f} times the sum of their covalent radii"
                )
        norms = np.linalg.norm(now.forces, axis=1)
        if self.max_force is not None and len(norms) and norms.max() > self.max_force:
            atom = int(norms.argmax())
            return f"the force on {_names(now.numbers, [atom])} is {norms[atom]:.1f} eV/Å"
        if self.escape:
            gone = np.flatnonzero(first.has_neighbours & ~now.has_neighbours)
            if len(gone):
                return f"{_names(now.numbers, gone)} flew away"
        return None


def _of_atom(now: Snapshot) -> str:
    """Name the most uncertain atom, in words for a message; empty if that is unknown."""
    known = now.uncertainties
    if known is None or not np.isfinite(known).any():
        return ""
    return f", largest at {_names(now.numbers, [int(np.nanargmax(known))])},"


def _names(numbers: np.ndarray, atoms: Sequence[Any] | np.ndarray) -> str:
    names = [f"{chemical_symbols[numbers[i]]} {i}" for i in atoms]
    return " and ".join(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} others"
