"""Calcfunctions of campaigns over a pool: steps that need no job, from nodes to nodes.

Structures know by the column ``index`` which of the candidates they are, so that the candidates
themselves, which may be very many, are stored once and read by whoever looks something up.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from aiida.engine import calcfunction
from aiida.orm import ArrayData, Data, Dict, Float, Int, List
from jaxtyping import Int as Integers

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.selection import SelectionData
from aiida_mlal.ml import plugins, stops
from aiida_mlal.ml.ase_properties import SITES
from aiida_mlal.ml.configurations import OK, UNLABELLED, Configurations
from aiida_mlal.ml.frames import FINGERPRINT, INDEX, REASON, STATUS
from aiida_mlal.ml.labelling.checks import FAILED
from aiida_mlal.ml.options import build


@dataclass(frozen=True)
class ValidationOptions:
    """Structures that are labelled but not learned from: they decide which weights are kept.

    Attributes
    ----------
    n
        How many, drawn at random from the candidates that are left.
    redraw
        Whether others are drawn for each training. They stay candidates then, and their labels
        cost nothing since they are given. Otherwise they are drawn once and are candidates no
        more.
    """

    n: int = 0
    redraw: bool = False

    def __post_init__(self) -> None:
        """Refuse a negative number."""
        if self.n < 0:
            raise ValueError(f"expected a number n of structures of 0 or more, got {self.n}")


@calcfunction
def strip(candidates: DatasetData) -> DatasetData:
    """Return the candidates without labels, or anything else that is more than geometry."""
    return DatasetData(candidates.configurations.bare)


@calcfunction
def find(candidates: DatasetData, dataset: DatasetData) -> ArrayData:
    """Return the indices of candidates that are in a data set already."""
    known = set(dataset.configurations.keys)
    return _array(i for i, key in enumerate(candidates.configurations.keys) if key in known)


@calcfunction
def take(selection: SelectionData, taken: ArrayData | None = None) -> ArrayData:
    """Return the indices of all candidates that have been chosen so far."""
    return _array({*_gone(taken), *selection.indices})


@calcfunction
def give_back(taken: ArrayData, labelled: DatasetData) -> ArrayData:
    """Return the indices of candidates that are taken, without those that were not tried."""
    asked = labelled.configurations
    return _array(np.setdiff1d(_gone(taken), INDEX.of(asked)[asked.status == UNLABELLED]))


@calcfunction
def draw(
    candidates: DatasetData, validation: Dict, seed: Int, taken: ArrayData | None = None
) -> dict[str, Data]:
    """Draw structures to be labelled for validation; return them, and all indices taken so far."""
    indices = _draw_indices(len(candidates), validation, seed, taken)
    drawn = candidates.configurations[indices].bare.with_columns(
        {INDEX: indices, STATUS: UNLABELLED, REASON: "drawn for validation"}
    )
    return {"drawn": DatasetData(drawn), "taken": _array({*_gone(taken), *indices})}


@calcfunction
def redraw(
    candidates: DatasetData, validation: Dict, seed: Int, taken: ArrayData | None = None
) -> DatasetData:
    """Draw structures for validation with the labels that are given."""
    indices = _draw_indices(len(candidates), validation, seed, taken)
    labelled = candidates.configurations[indices].with_columns({INDEX: indices})
    return DatasetData(labelled, _sources(candidates, indices))


@calcfunction
def reveal(candidates: DatasetData, chosen: DatasetData) -> dict[str, Data]:
    """Label what was chosen with the labels that the candidates have, as a labelling would."""
    asked = chosen.configurations
    indices = INDEX.of(asked)
    known = candidates.configurations[indices]
    if known.keys != asked.keys:
        raise ValueError("what was chosen are not the candidates of these indices")
    good = known.status == OK
    reasons = np.where(good, REASON.of(asked), "the candidate has no good label")
    labelled = asked.with_labels(known.energies, known.forces, known.stresses).with_columns(
        {
            STATUS: np.where(good, OK, FAILED),
            REASON: reasons,
            FINGERPRINT: FINGERPRINT.of(known),
        }
    )
    about = {"description": "labels given with the candidates", "fingerprint": ""}
    return {
        "dataset": DatasetData(labelled, _sources(candidates, indices)),
        "description": Dict(about),
    }


@calcfunction
def plan(
    query: Dict,
    stop: List,
    validation: Dict,
    growth: Float | None = None,
    dataset: DatasetData | None = None,
    initial: DatasetData | None = None,
) -> Dict:
    """Make the query of the first iteration, for no more structures than the stops allow.

    ``initial`` is what the campaign labelled to begin with, ``dataset`` all that is known.
    """
    options = build(ValidationOptions, validation.get_dict(), "validation")
    first = 0 if initial is None else len(initial.configurations.tried)
    paid = first + (0 if options.redraw else options.n)
    known = 0 if dataset is None else len(dataset.configurations.learnable)
    return _next_query(query, stop, growth, stops.State.ahead(n_labels=paid, foreseen=known))


@calcfunction
def judge(
    stop: List,
    query: Dict,
    dataset: DatasetData,
    growth: Float | None = None,
    selection: SelectionData | None = None,
    evaluation: Dict | None = None,
    labelled: DatasetData | None = None,
    initial: DatasetData | None = None,
    validation: DatasetData | None = None,
    previous: Dict | None = None,
) -> dict[str, Dict]:
    """Judge an iteration: return its row of the learning curve, and the next query.

    Parameters
    ----------
    dataset
        All labels to learn from, those of this iteration included.
    selection
        What was chosen in this iteration. A query that chooses what it needs, and needs nothing of
        what is left, ends the campaign as converged.
    evaluation
        Errors of the potential of this iteration on the test set.
    labelled
        Of what was chosen, what was labelled.
    initial, validation
        What was labelled before the first iteration, where this is the first one.
    previous
        The row before.
    """
    new = Configurations.empty() if labelled is None else labelled.configurations.tried
    paid = [node.configurations.tried for node in (initial, validation) if node is not None]
    before = sum(map(len, paid))
    iteration = 1
    if previous is not None:
        before, iteration = previous["labels"], previous["iteration"] + 1
    known = dataset.configurations
    state = stops.State(
        iteration=iteration,
        n_labels=before + len(new),
        trajectory=Configurations.empty(),
        new=new,
        dataset=known,
        scores=scores_of(selection),
    )
    verdict = stops.decide(stops.parse(stop.get_list()), state)
    if selection is not None and selection.selection.is_content:
        wanted = f"the query {query['name']!r} wants none of the {selection.selection.n_left} left"
        verdict = stops.Verdict("converged", wanted)
    measured = {} if evaluation is None else evaluation.get_dict()
    uncertainty = measured.get("uncertainty")
    if uncertainty is not None:  # those of all structures stay with the evaluation
        uncertainty = {key: value for key, value in uncertainty.items() if key != "values"}
    row = {
        **stops.row(state),
        "trained_on": len(known.learnable) - len(new.learnable),
        "test": measured.get("errors"),
        "uncertainty": uncertainty,
        "score_mean": _mean(state.scores),
        "outcome": verdict.outcome,
        "reason": verdict.reason,
    }
    asked = _next_query(query, stop, growth, state)
    return {"row": Dict(row), "query": asked}


def is_bare(configurations: Configurations) -> bool:
    """Whether structures have neither labels nor predictions (see ``Configurations.bare``)."""
    labels = (configurations.energies, configurations.forces, configurations.stresses)
    known = any(np.isfinite(values).any() for values in labels)
    return not (known or configurations.info or set(configurations.arrays) - set(SITES))


def scores_of(selection: SelectionData | None) -> tuple[float, ...]:
    """Return the scores that structures were chosen by, where there were any."""
    chosen = [] if selection is None else selection.selected
    return tuple(item["score"] for item in chosen if item["score"] is not None)


def next_n(
    query: Mapping[str, Any], limits: Iterable[stops.Stop], growth: float | None, state: stops.State
) -> int:
    """Return the number of structures that the query after a state asks for.

    ``growth`` is a share of what is known, rounded down. The stops may not allow as many.
    """
    wanted: int = plugins.make("strategies", query).n
    if growth is not None:  # with a tenth, 31 times: from 100 to 1863
        wanted = max(1, int(growth * state.n_learnable + 1e-9))
    left = stops.allowance(limits, state)
    return min([wanted, *(room for room in (left.labels, left.structures) if room)])


def _next_query(query: Dict, stop: List, growth: Float | None, state: stops.State) -> Dict:
    asked = query.get_dict()
    share = None if growth is None else growth.value
    return Dict({**asked, "n": next_n(asked, stops.parse(stop.get_list()), share, state)})


def _draw_indices(
    n: int, validation: Dict, seed: Int, taken: ArrayData | None
) -> Integers[np.ndarray, " drawn"]:
    """Draw indices of candidates not yet taken, other ones after each time that some were."""
    gone = _gone(taken)
    free = np.setdiff1d(np.arange(n), gone)
    wanted = build(ValidationOptions, validation.get_dict(), "validation").n
    drawn = np.random.default_rng([seed.value, len(gone)]).permutation(free)[:wanted]
    return np.sort(drawn)


def _array(indices: Iterable[int]) -> ArrayData:
    """Return indices as a node. AiiDA would copy a ``List`` in a context again and again."""
    return ArrayData(np.array(sorted(indices), dtype=np.int64))


def _gone(taken: ArrayData | None) -> Integers[np.ndarray, " taken"]:
    indices: np.ndarray = np.zeros(0, np.int64) if taken is None else taken.get_array()
    return indices


def _sources(candidates: DatasetData, indices: Integers[np.ndarray, " structures"]) -> list[str]:
    """Return for each index the node that labelled the structure, or that of the candidates."""
    sources = candidates.sources
    return [sources[index] or candidates.uuid for index in indices]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
