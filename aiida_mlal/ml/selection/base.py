"""What every query strategy is, and what it is asked."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import IMAGE, REASON, RUN, UNCERTAINTY
from aiida_mlal.ml.watching import in_parts

if TYPE_CHECKING:
    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.models.factory import ModelOptions


ALL = 10**9
"""More than any number of candidates."""


@dataclass(frozen=True)
class Choice:
    """A structure that a strategy wants.

    Attributes
    ----------
    index
        Its place in the pool.
    score
        The number that it was chosen by; NaN where there was none.
    reason
        Why it was chosen, in words.
    """

    index: int
    score: float
    reason: str


@dataclass(frozen=True, eq=False)
class Query:
    """What a strategy may know when it chooses.

    Strategies that look at features compute those of ``candidates`` and of ``train`` with
    ``potential``, as rows in the same order.

    Attributes
    ----------
    pool
        All structures, in the order in which simulations made them.
    train
        What is labelled already.
    left
        Indices into ``pool`` that a strategy may choose from, in ascending order.
    duplicates
        Indices into ``pool`` that were taken out because the same structure is labelled or is
        among those left.
    seed
        Of everything random in the choice.
    potential
        What ran the simulations; ``None`` if it was not given.
    """

    pool: Configurations
    train: Configurations
    left: Int[np.ndarray, " left"]
    duplicates: frozenset[int] = frozenset()
    seed: int = 0
    potential: "Potential | None" = None

    @property
    def candidates(self) -> Configurations:
        """The structures that a strategy may choose from."""
        return self.pool[self.left]

    @cached_property
    def order(self) -> Int[np.ndarray, " left"]:
        """The same as ``left``, in an order that only depends on what the structures are.

        A strategy that goes by it makes the same choice whatever the order of the pool.
        """
        return self.left[by_content([self.pool.keys[i] for i in self.left])]

    def parts(self, n_atoms: int) -> Iterator[tuple[slice, Configurations]]:
        """Return the candidates in this order in parts of about so many atoms, and their places."""
        ends = self.pool.counts[self.order].cumsum() // n_atoms
        starts = [*np.unique(ends, return_index=True)[1].tolist(), len(ends)]
        parts = (slice(start, end) for start, end in pairwise(starts))
        for part in in_parts(parts, "candidates"):
            yield part, self.pool[self.order[part]]

    def rng(self) -> np.random.Generator:
        """Return a new generator, in the same state at every call."""
        return np.random.default_rng(self.seed)

    @cached_property
    def uncertainties(self) -> Float[np.ndarray, " pool"]:
        """How uncertain each structure of the pool is: as the simulation found, or found now.

        By the measure that the potential was trained for, else by the spread of a committee.

        Raises
        ------
        ValueError
            If the pool does not say, and there is no potential to ask.
        """
        values = self.scores.copy()
        if np.isfinite(values[self.left]).any():
            return values
        if self.potential is None:
            raise ValueError(
                "the structures of the pool carry no 'uncertainty', and no potential was given "
                "that could tell it"
            )
        from aiida_mlal.ml.uncertainty.carried import measure_of, why_none  # they need torch

        measure = measure_of(self.potential, self.candidates)
        if measure is None:
            raise ValueError(f"the structures of the pool carry no 'uncertainty', and {why_none()}")
        values[self.left] = measure.measure(self.potential, self.candidates).values
        return values

    @property
    def scores(self) -> Float[np.ndarray, " pool"]:
        """The uncertainties where the pool carries them, for the record; else NaN."""
        return UNCERTAINTY.of(self.pool)


@dataclass(frozen=True)
class Strategy(ABC):
    """Chooses which structures of a pool are worth labelling.

    A subclass is a frozen dataclass, its fields the options in JSON.

    Attributes
    ----------
    n
        Number of structures to choose in an iteration, images of paths counted each.
    """

    n: int = 1

    wants_final: ClassVar[bool] = False
    """Whether the last frame of a run is kept unless exactly that structure is labelled."""

    wants_potential: ClassVar[bool] = True
    """Whether it may ask the potential for what the frames of a simulation do not carry."""

    score: ClassVar[str] = ""
    """What the number of a choice is called where it is kept with the structure; else nowhere."""

    wants_uncertainty: ClassVar[bool] = False
    """Whether it goes by how uncertain the potential is."""

    wants_trained: ClassVar[bool] = False
    """Whether it needs a potential that has learned something."""

    wants_filters: ClassVar[bool] = True
    """Whether the usual filters come before it, where none are asked for."""

    wants_n: ClassVar[bool] = True
    """Whether there are ``n`` choices if there are as many structures; else it is the most."""

    def __post_init__(self) -> None:
        """Refuse to choose less than one."""
        if self.n < 1:
            raise ValueError(f"expected a number n of structures above 0, got {self.n}")

    @property
    def n_final(self) -> int:
        """How many last frames of runs are chosen at most."""
        return self.n if self.wants_final else 0

    def check_model(self, model: "ModelOptions") -> None:  # noqa: B027
        """Raise ``ValueError`` for a model whose potentials lack what this strategy looks at."""

    def choose(self, query: Query) -> list[Choice]:
        """Return up to ``n`` different structures, most wanted first; fewer if fewer are left."""
        if not len(query.left):
            return []
        choices = self._choose(query, min(self.n, len(query.left)))
        indices = [choice.index for choice in choices]
        if len(set(indices)) != len(indices) or not set(indices) <= set(query.left.tolist()):
            raise RuntimeError(f"{type(self).__name__} chose {indices} from {query.left.tolist()}")
        return choices

    @abstractmethod
    def _choose(self, query: Query, n: int) -> list[Choice]:
        """Do the choosing; ``n`` is known to be possible and above 0."""


def by_content(keys: Sequence[str]) -> Int[np.ndarray, " structures"]:
    """Return the order of structures by their keys; of equal ones the first comes first."""
    return np.argsort(np.array(keys, dtype=str), kind="stable")


def measured(query: Query, n: int, uncertainty: str, strategy: str) -> list[Choice]:
    """Return up to ``n`` structures of the largest uncertainty, measured with the potential."""
    if query.potential is None:
        raise ValueError(f"the strategy {strategy!r} needs a potential, and none was given")
    measure = plugins.make("uncertainties", {"name": uncertainty})
    values = np.full(len(query.pool), np.nan)
    for part, some in query.parts(1000):
        values[query.order[part]] = measure.measure(query.potential, some).values
    return largest(query, values, n, uncertainty)


class Last(NamedTuple):
    """The last frame of an image of a run, by its place in a pool."""

    run: int
    image: int
    frame: int

    def __str__(self) -> str:
        """Name it in words."""
        return f"run {self.run}" + (f", image {self.image}" if self.image else "")


def last_frames(pool: Configurations) -> list[Last]:
    """Return the last frame of each image of each run; a pool that names no runs is one run."""
    ends = np.stack([RUN.of(pool), IMAGE.of(pool)], axis=1)
    runs, places = np.unique(ends[::-1], axis=0, return_index=True)
    return [
        Last(int(run), int(image), len(pool) - 1 - int(back))
        for (run, image), back in zip(runs, places)
    ]


def at_random(query: Query, n: int, taken: Sequence[int] = ()) -> list[Choice]:
    """Return up to ``n`` structures drawn without replacement, none of them ``taken``."""
    free = query.order[~np.isin(query.order, np.array(taken, int))]
    drawn = query.rng().permutation(free)[:n]
    return [Choice(int(i), float(query.scores[i]), "drawn at random") for i in drawn]


def most_uncertain(query: Query, n: int, taken: Sequence[int] = ()) -> list[Choice]:
    """Return up to ``n`` structures of largest uncertainty, none of them ``taken``."""
    return largest(query, query.uncertainties, n, "uncertainty", taken)


def largest(
    query: Query,
    values: Float[np.ndarray, " pool"],
    n: int,
    what: str,
    taken: Sequence[int] = (),
) -> list[Choice]:
    """Return up to ``n`` structures of the largest values, which are ``what``, none ``taken``.

    Where values are equal the content of the structures decides; those without one come last.
    """
    free = query.order[~np.isin(query.order, np.array(taken, int))]
    known: Bool[np.ndarray, " free"] = ~np.isnan(values[free])
    best = np.lexsort([-np.where(known, values[free], 0.0), ~known])[:n]  # which is stable
    return [
        Choice(int(i), float(values[i]), f"{what} {_number(values[i])}, rank {rank}")
        for rank, i in enumerate(free[best], start=1)
    ]


def _number(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:.4g}"


def final(query: Query, n: int) -> list[Choice]:
    """Return the last frame of each run, or the last that passed the filters, up to ``n``.

    Each image of a run that moves several structures has a last frame. One that is labelled
    already gives nothing. Where the pool says for what ``reason`` a run stopped there, so does the
    choice.
    """
    runs, images, reasons = RUN.of(query.pool), IMAGE.of(query.pool), REASON.of(query.pool)
    choices: list[Choice] = []
    for last in last_frames(query.pool):
        mine = (runs[query.left] == last.run) & (images[query.left] == last.image)
        left = query.left[mine]
        if len(left) and last.frame not in query.duplicates:
            index = int(left[-1])
            reason = f"last frame of {last}"
            if index != last.frame:
                reason = f"last frame of {last} that passed the filters"
            if reasons[index]:
                reason = f"{reason}: {reasons[index]}"
            choices.append(Choice(index, float(query.scores[index]), reason))
    return choices[:n]
