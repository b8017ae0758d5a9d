"""Filters and a strategy, and the record of what they decided."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import UNLABELLED, Configurations
from aiida_mlal.ml.frames import CANDIDATE, FINGERPRINT, INDEX, REASON, RUN, STATUS
from aiida_mlal.ml.options import as_dict, within
from aiida_mlal.ml.selection.base import Choice, Query, Strategy, last_frames
from aiida_mlal.ml.selection.filters import Filters, Rejection

if TYPE_CHECKING:
    from aiida_mlal.ml.models.base import Potential


@dataclass(frozen=True)
class Selection:
    """Which structures of a pool are labelled next, which are not, and why.

    Attributes
    ----------
    selected
        For each chosen structure, most wanted first: its ``index`` in the pool, its ``key``
        (``Configurations.keys``), the ``score`` that it was chosen by (``None`` where there was
        none) and the ``reason``.
    rejected
        The same, without score, of structures that the filters took out.
    n_pool, n_train
        How many structures there were to choose from, and how many were labelled.
    strategy, filters
        Name and options of the strategy, and the limits.
    seed
        Of everything random in the choice.
    message
        What the strategy was asked for and could not give, and how many structures the filters
        took out; empty if nothing.
    n_left
        How many structures the strategy could choose from; None if nobody noted it.
    """

    selected: list[dict[str, Any]]
    rejected: list[dict[str, Any]]
    n_pool: int
    n_train: int
    strategy: dict[str, Any]
    filters: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    message: str = ""
    n_left: int | None = None

    @property
    def is_content(self) -> bool:
        """Whether a strategy that chooses what it needs had something left, and needs nothing."""
        known = self._strategy
        return known is not None and not known.wants_n and bool(self.n_left) and not self.selected

    @property
    def indices(self) -> list[int]:
        """Where the chosen structures are in the pool, most wanted first."""
        return [chosen["index"] for chosen in self.selected]

    def of(self, pool: Configurations) -> Configurations:
        """Return the chosen structures, most wanted first, without labels.

        They are those of ``chosen_from``, to be labelled.
        """
        chosen = self.chosen_from(pool)
        n, n_atoms = len(chosen), len(chosen.numbers)
        return chosen.with_labels(np.full(n, np.nan), np.full((n_atoms, 3), np.nan)).with_columns(
            {STATUS: UNLABELLED, FINGERPRINT: ""}
        )

    def chosen_from(self, pool: Configurations) -> Configurations:
        """Return the chosen structures, most wanted first, with the labels that they have.

        Of their ``info``, ``index`` is the place in the pool, ``reason`` says why one was chosen,
        and if the strategy has a name for its scores (``grade``, ``informativeness``), they are
        there.
        """
        scores, known = {}, self._strategy
        if known is not None and known.score:
            scores[known.score] = np.array([s["score"] for s in self.selected], float)
        chosen = pool[np.array(self.indices, int)].with_columns(
            {REASON: [s["reason"] for s in self.selected], INDEX: self.indices}
        )
        return chosen.with_info(**scores)

    @property
    def _strategy(self) -> Any:
        """The class of the strategy; None where it is not installed."""
        return plugins.usable("strategies").get(str(self.strategy.get("name")))

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return as_dict(self)

    def to_json(self) -> str:
        """Return JSON text: equal selections give equal text."""
        return json.dumps(self.as_dict(), indent=2, sort_keys=True, allow_nan=False) + "\n"


def select(
    pool: Configurations,
    train: Configurations,
    strategy: Strategy | Mapping[str, Any],
    filters: Filters | None = None,
    seed: int = 0,
    potential: "Potential | None" = None,
    taken: Iterable[int] = (),
) -> Selection:
    """Choose structures of ``pool`` to be labelled next.

    If fewer than wanted are left after the filters, there are fewer in the selection, and its
    message says so.

    Parameters
    ----------
    pool
        Candidates, such as all frames of some simulations: ``info`` may name the ``run`` of each.
    train
        What was labelled, or tried, before.
    strategy
        A strategy, or its name and options.
    filters
        Without them the usual limits hold, or none where the strategy wants none.
    seed
        Of everything random.
    potential
        Asked for what the pool does not carry: uncertainties, forces, features.
    taken
        Indices into ``pool`` of what was chosen before. Nobody looks at these structures again,
        and nothing is noted of them.

    Raises
    ------
    ValueError
        If the strategy cannot choose, such as for elements that the potential does not know.
    """
    if isinstance(strategy, Mapping):
        chooser: Strategy = plugins.make("strategies", strategy, "strategy")
    else:
        chooser = strategy
    if filters is None:
        filters = Filters() if chooser.wants_filters else Filters.off()
    if potential is not None:
        _check_elements(potential, {"the pool": pool, "the training set": train})
    ends = [last.frame for last in last_frames(pool)]
    finals = ends if chooser.wants_final else []
    free = _free(len(pool), taken)
    rejections = _rejections(filters, pool, free, train, finals or _doubtful(pool, ends), potential)
    out = {rejection.index for rejection in rejections}
    query = Query(
        pool=pool,
        train=train,
        left=np.setdiff1d(free, np.array(sorted(out), int)),
        duplicates=frozenset(r.index for r in rejections if r.duplicate),
        seed=seed,
        potential=potential,
    )
    with plugins.named("strategies", chooser):
        choices = chooser.choose(query)
    keys = pool.keys
    return Selection(
        selected=[
            {
                "index": choice.index,
                "key": keys[choice.index],
                "score": choice.score if np.isfinite(choice.score) else None,
                "reason": choice.reason,
            }
            for choice in choices
        ],
        rejected=[{"index": r.index, "key": keys[r.index], "reason": r.reason} for r in rejections],
        n_pool=len(pool),
        n_train=len(train),
        strategy={"name": plugins.name_of("strategies", type(chooser)), **as_dict(chooser)},
        filters=as_dict(filters),
        seed=seed,
        message="; ".join(
            [*_shortfall(query, chooser, choices, finals), *_taken_out(rejections, len(free))]
        ),
        n_left=len(query.left),
    )


def _check_elements(potential: "Potential", given: Mapping[str, Configurations]) -> None:
    for name, structures in given.items():
        with within(name):
            potential.check_elements(structures.elements)


def _free(n: int, taken: Iterable[int]) -> Int[np.ndarray, " free"]:
    gone = np.array(sorted(set(taken)), int)
    if len(gone) and not 0 <= gone[0] <= gone[-1] < n:
        raise ValueError(f"expected places taken in a pool of {n}, got {gone[[0, -1]].tolist()}")
    return np.setdiff1d(np.arange(n), gone)


def _rejections(
    filters: Filters,
    pool: Configurations,
    free: Int[np.ndarray, " free"],
    train: Configurations,
    finals: list[int],
    potential: "Potential | None",
) -> list[Rejection]:
    """Filter the structures that are free."""
    if len(free) == len(pool):
        return filters.reject(pool, train, finals, potential)
    last = np.flatnonzero(np.isin(free, finals))
    rejections = filters.reject(pool[free], train, last.tolist(), potential)
    return [replace(rejection, index=int(free[rejection.index])) for rejection in rejections]


def _doubtful(pool: Configurations, ends: list[int]) -> list[int]:
    """Return the ends of simulations that want a label.

    Where one interrupted its run, it does so again until it is learned, however near it is to
    another structure that was.
    """
    wanted = CANDIDATE.of(pool) if RUN.is_in(pool) and CANDIDATE.is_in(pool) else None
    return [] if wanted is None else [end for end in ends if wanted[end]]


def _taken_out(rejections: list[Rejection], n: int) -> list[str]:
    if not rejections:
        return []
    first, copies = rejections[0], sum(rejection.duplicate for rejection in rejections)
    return [
        f"the filters took out {len(rejections)} of {n} candidates, {copies} of them known or "
        f"duplicates, the first, {first.index}: {first.reason}"
    ]


def _shortfall(
    query: Query, strategy: Strategy, choices: list[Choice], finals: list[int]
) -> list[str]:
    problems = []
    if strategy.wants_n and len(choices) < strategy.n:
        problems.append(
            f"asked for {strategy.n} structures, chose {len(choices)}: the filters left "
            f"{len(query.left)} of {len(query.pool)}"
        )
    forgotten = set(finals) & set(query.left.tolist()) - {choice.index for choice in choices}
    if forgotten and strategy.wants_n:
        problems.append(
            f"{len(forgotten)} last frames were left out, since n={strategy.n} is less than the "
            f"number of runs, {len(finals)}"
        )
    return problems
