"""Why a structure was labelled, what was thought of it then, and what it taught."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from aiida.orm import ProcessNode

from aiida_mlal.data.potential import PotentialData
from aiida_mlal.data.selection import SelectionData
from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import OK, Configurations
from aiida_mlal.report import graph
from aiida_mlal.report.numbers import CampaignReport, Query, collect
from aiida_mlal.report.words import digits


@dataclass(frozen=True)
class Lesson:
    """The way of a structure to its label, and on.

    Attributes
    ----------
    number
        Of the structure among all that the campaign labelled.
    decision, place, candidates
        The node of the decision that chose it, how many were wanted more, and from how many that
        were neither known nor taken out by filters; None for what was given.
    score
        Name and value of what the strategy went by, where it has a name.
    before
        The potential that chose it.
    after
        The next one, which learned from it; None if there is none.
    error_after
        The largest error of a force by ``after``, in eV/Å, and of the energy in eV/atom.
    rows
        Of the learning curve, for its iteration and the next one.
    """

    number: int
    query: Query
    decision: SelectionData | None
    place: int
    candidates: int
    score: tuple[str, float] | None
    before: PotentialData | None
    after: PotentialData | None
    error_after: tuple[float, float] | None
    rows: Sequence[Mapping[str, Any]]


def lesson(node: ProcessNode, frame: str) -> Lesson:
    """Describe a structure of a campaign.

    Parameters
    ----------
    frame
        Its number among the labels, or the beginning of its key.

    Raises
    ------
    ValueError
        If none is called so, or several are.
    """
    report = collect(node)
    number = _number(report, frame)
    query, structure = report.queries[number], report.structures[number]
    decision, place = _decision(node, query)
    by_iteration = dict(graph.potentials(node))
    after = by_iteration.get(query.iteration + 1)
    learned = after is not None and query.status == OK
    return Lesson(
        number=number,
        query=query,
        decision=decision,
        place=place,
        candidates=0 if decision is None else _candidates(decision),
        score=None if decision is None else _score(decision, place),
        before=by_iteration.get(query.iteration),
        after=after if learned else None,
        error_after=_errors(after, structure) if after is not None and learned else None,
        rows=[
            row
            for row in report.curve
            if row["iteration"] in (query.iteration, query.iteration + 1)
        ],
    )


def in_words(lesson: Lesson) -> str:
    """Return the paragraphs for a terminal."""
    query = lesson.query
    lines = [f"structure {lesson.number}, {query.formula} {query.key}", ""]
    if lesson.decision is None:
        lines.append("It was labelled before the first training: no potential chose it.")
    else:
        strategy = lesson.decision.base.attributes.get("strategy")["name"]
        lines.append(
            f"Chosen in iteration {query.iteration} by {strategy}, as number {lesson.place + 1} of "
            f"{lesson.candidates} candidates: {query.reason} "
            f"(decision {lesson.decision.pk}, {lesson.decision.uuid})."
        )
    if query.step is not None:
        lines.append(f"It is step {query.step} of a simulation.")
    doubt = ("uncertainty", query.uncertainty) if query.uncertainty is not None else lesson.score
    off = (
        ""
        if query.force_error is None
        else f"was off by {digits(query.energy_error)} eV/atom, and {digits(query.force_error)} "
        "eV/Å in its worst force"
    )
    unsure = "" if doubt is None else f"had the {doubt[0]} {digits(doubt[1])} for it"
    if off or unsure:
        thought = " and ".join(filter(None, [unsure, off]))
        lines.append(f"The potential{_called(lesson.before)} {thought}.")
    lines.append(
        f"Label: {query.status}{': ' + query.problem if query.problem else ''}, "
        f"{digits(query.energy, 8)} eV, largest force {digits(query.fmax)} eV/Å "
        f"(by {query.source})."
    )
    if lesson.error_after is not None:
        force, energy = lesson.error_after
        lines.append(
            f"The next potential{_called(lesson.after)} learned from it, and is off by "
            f"{digits(energy)} eV/atom and {digits(force)} eV/Å there."
        )
    elif query.status == OK:
        lines.append("No potential was trained after it.")
    else:
        lines.append("Nothing was learned from it.")
    errors = {row["iteration"]: row["errors"].get("force_mae") for row in lesson.rows}
    here, then = (errors.get(query.iteration + i) for i in (0, 1))
    if here is not None:
        later = "" if then is None else f", and by {digits(then)} eV/Å in the next"
        lines.append(
            f"On labels that were new, forces were off by {digits(here)} eV/Å on average in its "
            f"iteration{later}."
        )
    return "\n".join(lines)


def _number(report: CampaignReport, frame: str) -> int:
    if frame.isdecimal() and int(frame) < len(report.queries):
        return int(frame)
    found = [i for i, query in enumerate(report.queries) if query.key.startswith(frame)]
    if len(found) == 1 and frame:
        return found[0]
    what = "none is called so" if not found else f"{len(found)} keys begin so"
    raise ValueError(
        f"expected the number of a label, below {len(report.queries)}, or the beginning of its "
        f"key, got {frame!r}: {what}"
    )


def _decision(node: ProcessNode, query: Query) -> tuple[SelectionData | None, int]:
    for iteration, selection in graph.selections(node):
        keys = [chosen["key"] for chosen in selection.selected]
        if iteration == query.iteration and query.key in keys:
            return selection, keys.index(query.key)
    return None, 0


def _candidates(decision: SelectionData) -> int:
    """Return from how many candidates was chosen; all of the pool where that was not noted."""
    left = decision.selection.n_left
    n: int = decision.base.attributes.get("n_pool") if left is None else left
    return n


def _score(decision: SelectionData, place: int) -> tuple[str, float] | None:
    """Return name and value of what a strategy went by; None where it is nothing with a name."""
    strategy = plugins.usable("strategies").get(decision.base.attributes.get("strategy")["name"])
    name, value = getattr(strategy, "score", ""), decision.selected[place]["score"]
    return (name, value) if name and value is not None else None


def _errors(potential: PotentialData, structure: Configurations) -> tuple[float, float]:
    predicted = potential.load().predict(structure.bare)
    forces = np.linalg.norm(predicted.forces - structure.forces, axis=1)
    energy = (predicted.energies - structure.energies) / structure.counts
    return float(forces.max()), float(energy[0])


def _called(potential: PotentialData | None) -> str:
    return "" if potential is None else f" {potential.pk}"
