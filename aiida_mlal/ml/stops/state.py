"""What is known after an iteration of a campaign, for stops to judge by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ase.units import GPa

from aiida_mlal.ml.configurations import OK, Configurations
from aiida_mlal.ml.frames import PREDICTED_STRESS, PREDICTIONS, RUN
from aiida_mlal.ml.metrics import errors
from aiida_mlal.ml.selection.base import last_frames
from aiida_mlal.ml.selection.filters import SAME, Twins
from aiida_mlal.ml.simulation.cell import FIXED, MovingCell
from aiida_mlal.ml.simulation.guard import REASONS


@dataclass(frozen=True, eq=False)
class State:
    """What is known after an iteration: train, simulate, select, label.

    Attributes
    ----------
    iteration
        1 after the first one.
    n_labels
        Structures labelled since the beginning, failed ones included: what has been paid.
    trajectory
        All frames of the simulations of this iteration, as the potential sees them.
    new
        What was labelled in this iteration, predictions still attached.
    dataset
        All that was ever labelled, ``new`` included.
    runs
        For each simulation its result: ``converged``, ``reason``, ``steps``, ``cell`` and so on.
    scores
        What the structures that were chosen were chosen by, where there was such a number.
    foreseen
        The number of structures to learn from, where a stop is asked about a larger ``dataset``
        than there is yet.
    met
        Simulations whose ends are what the stops want, where these were asked.
    """

    iteration: int
    n_labels: int
    trajectory: Configurations
    new: Configurations
    dataset: Configurations
    runs: Sequence[Mapping[str, Any]] = ()
    scores: Sequence[float] = ()
    foreseen: int | None = None
    met: Sequence[int] = ()

    @classmethod
    def ahead(cls, **known: Any) -> "State":
        """Return a state before the first iteration, of which only some things are known."""
        nothing = Configurations.empty()
        usual = {"iteration": 0, "n_labels": 0}
        return cls(**{**usual, **dict.fromkeys(("trajectory", "new", "dataset"), nothing), **known})

    @cached_property
    def n_learnable(self) -> int:
        """Number of structures with a label to learn from."""
        return len(self.dataset.learnable) if self.foreseen is None else self.foreseen

    @cached_property
    def finals(self) -> list["Final"]:
        """Those of the ``ends`` that are to be stationary points: minima, or saddle points.

        All are of a run that doesn't say which.
        """
        return [final for final in self.ends if final.image in self._stationary(final)]

    @property
    def shortfall(self) -> str:
        """What is missing for ends to be compared, in words; "" if all runs reached their aim."""
        if not self.finals:
            return "no simulation has been run"
        short = sum(not run.get("converged") for run in self.runs)
        return f"{short} of {len(self.runs)} runs did not reach their aim" if short else ""

    def _stationary(self, final: "Final") -> Sequence[int]:
        run = self.runs[final.run] if final.run < len(self.runs) else {}
        images: Sequence[int] | None = run.get("stationary")
        return [final.image] if images is None else images

    @cached_property
    def ends(self) -> list["Final"]:
        """The last frame of each image of each run, and its label if it has a good one."""
        if not len(self.trajectory):
            return []
        known = Twins()
        for i in np.flatnonzero(self.dataset.status == OK):
            known.add(int(i), self.dataset[i])
        finals = []
        for last in last_frames(self.trajectory):
            frame = self.trajectory[last.frame]
            label = known.find(frame, SAME)
            labelled = None if label is None else self.dataset[label]
            cell = self._moving_cell(last.run)
            finals.append(Final(last.run, frame, labelled, cell, last.image))
        return finals

    def _moving_cell(self, run: int) -> MovingCell:
        """Return the cell parameters that a run moved; ``ValueError`` if results lack them."""
        if run < len(self.runs):
            return MovingCell.of(self.runs[run])
        frames = self.trajectory
        cells = frames.cells[RUN.of(frames) == run]
        if np.ptp(cells, axis=0).any():
            raise ValueError(
                f"run {run} moves the cell, and 'runs' have no result of it that says how"
            )
        return FIXED


@dataclass(frozen=True, eq=False)
class Final:
    """The last frame of a run: as the potential sees it, and with its label if there is one.

    Attributes
    ----------
    cell
        What of the cell the run moved, and against which pressure.
    image
        Which one of several that the run moves together.
    """

    run: int
    predicted: Configurations
    labelled: Configurations | None
    cell: MovingCell = FIXED
    image: int = 0

    @property
    def where(self) -> str:
        """Which frame it is, in words."""
        image = f", image {self.image}" if self.image else ""
        return f"the end of run {self.run}{image}"

    @property
    def fmax(self) -> float:
        """Largest force on a free atom, as labelled, in eV/Å; NaN without a label."""
        return np.nan if self.labelled is None else float(self.labelled.max_forces[0])

    @property
    def smax_GPa(self) -> float:
        """Largest component of the labelled stress that moves the cell, in GPa; NaN if unknown.

        0 where the cell is fixed.
        """
        if self.labelled is None:
            return np.nan
        return float(self.cell.largest(self.labelled.stresses)[0])

    @property
    def drive(self) -> float:
        """How far from equilibrium the label is in all that moves, in eV/Å; NaN if unknown.

        The larger one of ``fmax``, and of ``smax_GPa`` times the area of a face of a cube of the
        volume of an atom.
        """
        if self.labelled is None:
            return np.nan
        if not self.cell:
            return self.fmax
        volume = abs(np.linalg.det(self.labelled.cells[0])) / self.labelled.counts[0]
        return float(np.maximum(self.fmax, self.smax_GPa * GPa * volume ** (2 / 3)))

    @property
    def stress_error_GPa(self) -> float:
        """Mean absolute error of the predicted stress in what moves the cell, in GPa."""
        if not self.cell:
            return 0.0
        if self.labelled is None:
            return np.nan
        predicted = PREDICTED_STRESS.of(self.predicted)
        apart = self.cell.imbalance(predicted) - self.cell.imbalance(self.labelled.stresses)
        return float(np.abs(apart[0][np.triu_indices(3)]).mean())


def prediction_errors(predicted: Configurations, labelled: Configurations) -> dict[str, float]:
    """Return the errors of attached predictions; empty where none are attached."""
    return errors(labelled, *(column.of(predicted) for column in PREDICTIONS))


def interrupted(run: Mapping[str, Any]) -> bool:
    """Whether a simulation was ended by its guard."""
    return run.get("reason") in REASONS
