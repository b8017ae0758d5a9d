"""Compute extrapolation grades of structures."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from aiida_mlal.ml import load_potential
from aiida_mlal.ml.folders import check_writable
from aiida_mlal.ml.formats.files import check_target, load_together, write
from aiida_mlal.ml.formats.labels import LabelKeys
from aiida_mlal.ml.frames import GRADE, GRADES, OUTSIDE
from aiida_mlal.ml.options import within
from aiida_mlal.ml.tasks.base import Task

WITH_ACTIVE_SET = (".almtp", ".safetensors")


@dataclass(frozen=True)
class Grade(Task):
    """Compute extrapolation grades.

    Attributes
    ----------
    potential
        File of the potential.
    dataset
        File of the structures.
    train
        File of its training set, from which the active set is made. By default it is the one that
        the potential carries.
    mode
        Whether configurations or neighbourhoods (each atom of each) have grades. By default as in
        the active set that the potential carries, else configurations.
    threshold
        Grade from which a training structure enters the active set.
    start
        Size of the rows that stand for what no structure determines; 1e-6 in MLIP-3.
    save_potential
        File to which the potential is written with its active set; none by default.
    elements
        Of the types 0, 1, ... in files that only number them.
    keys
        What files of structures call their labels, where that is not what ASE calls them.
    output
        File of the structures with their grades.
    """

    OUTPUT: ClassVar[str] = "graded.safetensors"

    potential: str = "potential.safetensors"
    dataset: str = "dataset.safetensors"
    train: str | None = None
    mode: Literal["configuration", "neighbourhood"] | None = None
    threshold: float = 1.0000001
    start: float = 1e-5
    save_potential: str | None = None
    elements: tuple[str, ...] | None = None
    output: str = OUTPUT
    keys: LabelKeys = field(default_factory=LabelKeys)

    def __post_init__(self) -> None:
        """Refuse a threshold that every swap meets, and a format without an active set."""
        if not self.threshold > 1:
            raise ValueError(f"expected a threshold above 1, got {self.threshold}")
        if not self.start > 0:
            raise ValueError(f"expected start above 0, got {self.start}")
        if self.save_potential is not None and not self.save_potential.endswith(WITH_ACTIVE_SET):
            raise ValueError(
                f"{self.save_potential}: expected a format that holds an active set, choose from "
                f"{list(WITH_ACTIVE_SET)}"
            )

    def run(self) -> dict[str, Any]:
        """Grade, and write the structures with ``grade`` and the labels that they had."""
        from aiida_mlal.ml.formats import potentials
        from aiida_mlal.ml.uncertainty.active_set import ActiveSet

        check_target(self.output)
        if self.save_potential is not None:
            check_writable(self.save_potential)
        potential = load_potential(self.potential, self.elements)
        types = potentials.types(potential)
        names = [self.dataset] if self.train is None else [self.dataset, self.train]
        contents = load_together(names, self.elements, types, self.keys)
        said = [warning for one in contents for warning in one.warnings]
        dataset, *others = (one.configurations for one in contents)
        for name, structures in zip(names, (dataset, *others)):
            with within(name):
                potential.check_structures(structures)
        if self.train is None:
            active = ActiveSet.stored(potential)
            if self.mode not in (None, active.mode):
                raise ValueError(
                    f"the active set of {self.potential} is of the mode {active.mode!r}: for "
                    f"{self.mode!r} the training set is needed"
                )
        else:
            (train,) = others
            contents[1].check_any(names[1], "to make an active set of")
            weights: Any = self.mode or "configuration"
            if self.mode is None and ActiveSet.is_in(potential):
                weights = ActiveSet.stored(potential).weights
            active = ActiveSet.of(potential, train, weights, self.threshold, self.start)
        if self.save_potential is not None:
            active.store(potential)
            potentials.save(potential, self.save_potential)
        grades = active.grades(potential, dataset)
        graded = dataset.with_columns({GRADE: grades.values, OUTSIDE: grades.outside})
        if grades.per_atom is not None:
            graded = graded.with_columns({GRADES: grades.per_atom})
        said += write(graded, self.output, types)
        values = grades.values
        return {
            "message": "; ".join(filter(None, [*said, grades.message])),
            "n_structures": len(dataset),
            "mode": active.mode,
            "rank": grades.rank,
            "n_parameters": grades.n_parameters,
            "n_active": len(active.configurations),
            "n_outside": int(grades.outside.sum()),
            "n_extrapolative": int((values > 1.0 + 1e-9).sum()),
            "max_grade": float(values.max()) if len(values) else None,
            "potential": self.save_potential,
        }
