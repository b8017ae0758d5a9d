"""Why a structure was labelled, what was thought of it then, and what it taught."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from aiida.orm import ProcessNode

from aiida_mlal.data.potential import PotentialData
from aiida_mlal.data.selection import SelectionData
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
        The node of the decision that chose it, how many were wanted more, and from how many; None
        for what was given.
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
        candidates=0 if decision is None else decision.base.attributes.get("n_pool"),
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
    if query.force_error is not None or query.uncertainty is not None:
        lines.append(
            f"The potential{_called(lesson.before)} was off by {digits(query.energy_error)} "
            f"eV/atom, and {digits(query.force_error)} eV/Å in its worst force; its uncertainty "
            f"was {digits(query.uncertainty)}."
        )
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
    if len(lesson.rows) == 2:
        first, second = (row["errors"].get("force_mae") for row in lesson.rows)
        lines.append(
            f"On labels that were new, forces were off by {digits(first)} eV/Å on average in its "
            f"iteration, and by {digits(second)} eV/Å in the next."
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


def _errors(potential: PotentialData, structure: Configurations) -> tuple[float, float]:
    predicted = potential.load().predict(structure.bare)
    forces = np.linalg.norm(predicted.forces - structure.forces, axis=1)
    energy = (predicted.energies - structure.energies) / structure.counts
    return float(forces.max()), float(energy[0])


def _called(potential: PotentialData | None) -> str:
    return "" if potential is None else f" {potential.pk}"
