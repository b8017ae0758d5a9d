"""What structures have beside geometry and label: names, types and units in one place."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from aiida_mlal.ml.configurations import Configurations


@dataclass(frozen=True)
class Column:
    """A quantity with one value for each structure, or for each atom.

    ``Configurations.with_columns`` writes it.

    Attributes
    ----------
    name
        Key in ``Configurations.info``, or in ``arrays`` where it is ``per_atom``.
    dtype
        Of a number, or ``str``.
    unknown
        What stands for a value that is not known.
    meaning
        In words.
    unit
        Of the numbers; empty where they have none, or that of what measured them.
    shape
        Of one value.
    per_atom
        Whether atoms have it, rather than structures.
    """

    name: str
    dtype: type
    unknown: Any
    meaning: str
    unit: str = ""
    shape: tuple[int, ...] = ()
    per_atom: bool = False

    def is_in(self, structures: "Configurations") -> bool:
        """Whether the structures have this column."""
        return self.name in (structures.arrays if self.per_atom else structures.info)

    def of(self, structures: "Configurations") -> np.ndarray:
        """Return the values, ``unknown`` where the structures do not have this column.

        Raises
        ------
        ValueError
            If the structures, read from a file of others, have something else of this name.
        """
        length = self.length(structures)
        if not self.is_in(structures):
            return self.array(self.unknown, length)
        return self.array((structures.arrays if self.per_atom else structures.info)[self.name])

    def length(self, structures: "Configurations") -> int:
        """Return the number of values: one for each structure, or for each atom."""
        return len(structures.numbers) if self.per_atom else len(structures)

    def array(self, values: Any, length: int | None = None) -> np.ndarray:
        """Return values of the right type; a single one is repeated to the ``length``."""
        array = np.asarray(values)
        try:
            if self.dtype is not float and array.dtype.kind == "f":  # where nobody knew: NaN
                array = np.where(np.isnan(array), self.unknown, array)
            array = array.astype(self.dtype)
        except (ValueError, OverflowError) as error:
            raise ValueError(
                f"{self.name!r} must be of type {self.dtype.__name__}, got "
                f"{str(np.asarray(values).ravel()[:3].tolist())[:80]}"
            ) from error
        if length is not None and array.ndim == 0:
            array = np.broadcast_to(array, (length, *self.shape))
        if array.shape[1:] != self.shape:
            raise ValueError(
                f"{self.name!r} must have a value of shape {self.shape} for each "
                f"{'atom' if self.per_atom else 'structure'}, got {array.shape}"
            )
        return array


RUN = Column("run", int, 0, "The run that a frame belongs to, counted from 0.")
IMAGE = Column(
    "image", int, 0, "Which of the structures that a run moves together, counted from 0."
)
STEP = Column("step", int, -1, "The step of the run, counted from 0.")
CANDIDATE = Column("candidate", bool, True, "Whether a frame may be chosen for a label.")
LEARNED = Column(
    "learned", bool, False, "Whether a structure that a run begins at is one with a label."
)
KEPT = Column("kept", bool, False, "Whether simulations leave a structure as it is.")
FAILURES = Column(
    "failures", int, 0, "How many labels in a row were not lower than the one of a beginning."
)
ORIGIN = Column("origin", str, "", "Key of the labelled structure that a step leads from.")
TIME = Column("time", float, np.nan, "Time since the beginning of the run.", "fs")
TEMPERATURE = Column("temperature", float, np.nan, "Temperature by the kinetic energy.", "K")
VELOCITIES = Column("velocities", float, np.nan, "Velocities.", "Å/fs", (3,), per_atom=True)
UNCERTAINTY = Column("uncertainty", float, np.nan, "Of the prediction, as the measure has it.")
UNCERTAINTIES = Column(
    "uncertainties",
    float,
    np.nan,
    "The same of each atom, where the measure has it.",
    per_atom=True,
)
PREDICTED_ENERGY = Column("predicted_energy", float, np.nan, "Predicted energy.", "eV")
PREDICTED_FORCES = Column(
    "predicted_forces", float, np.nan, "Predicted forces.", "eV/Å", (3,), per_atom=True
)
PREDICTED_STRESS = Column(
    "predicted_stress", float, np.nan, "Predicted stress, positive in tension.", "eV/Å³", (3, 3)
)
PREDICTIONS = (PREDICTED_ENERGY, PREDICTED_FORCES, PREDICTED_STRESS)
"""What a potential says of a structure, beside labels."""

MOMENTS = Column(
    "moments",
    float,
    np.nan,
    "Magnetic moment of each atom along z, as the code found it that made the label.",
    "µB",
    per_atom=True,
)
STATUS = Column("status", str, "unlabelled", "What became of the label.")
REASON = Column("reason", str, "", "Why a structure was chosen, or has no label.")
FINGERPRINT = Column("fingerprint", str, "", "Of the method that made the label.")
ATTEMPTS = Column("attempts", int, 0, "How many processes ended while they computed its label.")
INDEX = Column("index", int, -1, "Which structure of the pool, or of the file, this one was.")
ITERATION = Column("iteration", int, 0, "Of the campaign, in which it was labelled.")
GRADE = Column("grade", float, np.nan, "Extrapolation grade.")
GRADES = Column("grade", float, np.nan, "Extrapolation grade of each atom.", per_atom=True)
OUTSIDE = Column("outside", bool, False, "Whether no active set could give a finite grade.")

COLUMNS = (
    RUN, IMAGE, STEP, TIME, TEMPERATURE, VELOCITIES, CANDIDATE, LEARNED, KEPT, FAILURES, ORIGIN,
    UNCERTAINTY,
    UNCERTAINTIES, PREDICTED_ENERGY, PREDICTED_FORCES, PREDICTED_STRESS, MOMENTS, STATUS, REASON,
    FINGERPRINT, ATTEMPTS, INDEX, ITERATION, GRADE, GRADES, OUTSIDE,
)  # fmt: skip
"""All that this package knows; files may have more."""


def find(name: str, per_atom: bool) -> Column | None:
    """Return the column of this name; None where it is not one of ours."""
    return next((c for c in COLUMNS if (c.name, c.per_atom) == (name, per_atom)), None)
