"""The structures that determine the parameters best, beside what is labelled already."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from aiida_mlal.ml.frames import INDEX
from aiida_mlal.ml.selection.base import ALL, Choice, Query, Strategy

if TYPE_CHECKING:
    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.uncertainty.active_set import ActiveSet


@dataclass(frozen=True)
class MaxVol(Strategy):
    """Choose all candidates that enter the active set, as ``select-add`` of MLIP does.

    The active set is made of the labelled structures, then candidates replace rows of it, always
    the one of largest grade, which makes its volume larger by that factor. A candidate is chosen
    if rows are its own at the end: the most extrapolative of many like it, and as few as can be.
    Without labelled structures this picks the most independent of a set, which makes a large
    training set small. No filter comes before it unless one is asked for: what is known already
    has no row that another one lacks.

    Attributes
    ----------
    n
        The largest number to choose; there is none by default.
    threshold
        Nothing is chosen unless the grade of a candidate is above this; 1.001 in MLIP-3.
    swap_threshold
        Grade down to which candidates then enter; 1.001 in MLIP-3.
    mode
        Whether rows are those of configurations or of neighbourhoods. By default as in the active
        set that the potential carries, else of configurations.
    requeue
        Whether labelled structures may replace candidates again at the end, as in MLIP-3.
    train_threshold
        The same as ``swap_threshold``, among labelled structures.
    start
        Size of the rows that stand for what no structure determines; 1e-6 in MLIP-3.
    swap_limit
        The largest number of swaps with candidates.
    exact
        Whether always the candidate of largest grade comes first, however many there are.
    """

    n: int = ALL
    threshold: float = 1.1
    swap_threshold: float = 1.0000001
    mode: Literal["configuration", "neighbourhood"] | None = None
    requeue: bool = False
    train_threshold: float = 1.0000001
    start: float = 1e-5
    swap_limit: int | None = None
    exact: bool | None = None

    wants_n: ClassVar[bool] = False
    wants_filters: ClassVar[bool] = False
    score: ClassVar[str] = "grade"

    def __post_init__(self) -> None:
        """Refuse thresholds that every swap meets, and a limit that none does."""
        super().__post_init__()
        for name in ("threshold", "swap_threshold", "train_threshold"):
            if not getattr(self, name) > 1:
                raise ValueError(f"expected {name} above 1, got {getattr(self, name)}")
        if not self.start > 0:
            raise ValueError(f"expected start above 0, got {self.start}")
        if self.swap_limit is not None and self.swap_limit < 1:
            raise ValueError(f"expected swap_limit above 0 or null, got {self.swap_limit}")

    def _choose(self, query: Query, n: int) -> list[Choice]:
        potential = query.potential
        if potential is None:
            raise ValueError("the strategy 'maxvol' needs a potential, and none was given")
        train = query.train.with_columns({INDEX: INDEX.unknown})
        candidates = query.pool[query.order].with_columns({INDEX: query.order})
        known = self._empty(potential).extended(potential, train, self.train_threshold)
        graded = known.grades(potential, candidates)
        grades = graded.values
        if not grades.max() > self.threshold:
            return []
        active = known.extended(
            potential, candidates, self.swap_threshold, self.swap_limit, self.exact
        )
        if self.requeue and len(train):
            active = active.extended(potential, train, self.train_threshold)
        places = INDEX.of(active.configurations)
        owned = Counter(places[active.volume.owners[active.volume.owners >= 0]].tolist())
        filled = f"{active.rank} filled rows (of {len(active.equations)}) of the active set"
        choices = [
            Choice(
                int(i),
                float(grade),
                f"{'outside of the active set' if outside else f'grade {grade:.4g}'}; owns "
                f"{owned[i]} of the {filled}",
            )
            for i, grade, outside in zip(query.order.tolist(), grades, graded.outside)
            if i in owned
        ]
        return sorted(choices, key=lambda choice: -choice.score)[:n]  # by content where equal

    def _empty(self, potential: "Potential") -> "ActiveSet":
        from aiida_mlal.ml.uncertainty.active_set import ActiveSet

        if self.mode is None and ActiveSet.is_in(potential):
            return ActiveSet.empty(potential, ActiveSet.stored(potential).weights, self.start)
        return ActiveSet.empty(potential, self.mode or "configuration", self.start)
