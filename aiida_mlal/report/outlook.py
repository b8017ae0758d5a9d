"""What a campaign would do, from the inputs of its builder, before anything is stored."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiida_mlal.ml import plugins, stops
from aiida_mlal.report.words import plain
from aiida_mlal.workflows.labelling.base import LABELLING

if TYPE_CHECKING:
    from aiida.engine import ProcessBuilder
    from aiida.orm import Dict

    from aiida_mlal.ml.configurations import Configurations

SHOWN = 5
"""Structures that are described one by one."""


def outlook(builder: "ProcessBuilder") -> dict[str, Any]:
    """Describe the campaign of a builder: its structures, labels and inputs.

    All in words and numbers, as JSON or YAML can have them. Of labels it says how many there are
    at most, by the stops and the query, and what those of the first structures are computed with,
    k-points included, where the labelling WorkChain foresees it.
    """
    inputs = builder._inputs(prune=True)
    structures = _configurations(inputs)
    told = {
        "campaign": builder.process_class.__name__,
        "structures": _described(structures),
        "labels": _labels(inputs, structures),
        "inputs": plain({k: v for k, v in inputs.items() if k not in SOURCES}),
    }
    return {name: value for name, value in told.items() if value}


SOURCES = ("structures", "candidates")
"""Inputs whose structures are, or may be, labelled."""


def _configurations(inputs: Mapping[str, Any]) -> "Configurations":
    from aiida_mlal.workflows.calcfunctions import beginnings

    if "candidates" in inputs:
        found: Configurations = inputs["candidates"].configurations
        return found
    return beginnings(inputs["structures"], inputs.get("fixed"))


def _described(structures: "Configurations") -> list[str]:
    """Describe the first structures by formula, periodicity and atoms that are fixed."""
    told = []
    for one in structures[:SHOWN]:
        along = "".join(axis for axis, is_periodic in zip("xyz", one.pbc[0]) if is_periodic)
        where = f"periodic along {along}" if along else "not periodic"
        still, held = one.fixed.all(axis=1), one.fixed.any(axis=1)
        kept = f", {still.sum()} fixed" if still.any() else ""
        partly = f", {(held & ~still).sum()} fixed along some axes" if (held & ~still).any() else ""
        told.append(f"{one.formulas[0]}: {len(one.numbers)} atoms, {where}{kept}{partly}")
    if len(structures) > SHOWN:
        told.append(f"and {len(structures) - SHOWN} more")
    return told


def _labels(inputs: Mapping[str, Any], structures: "Configurations") -> dict[str, Any]:
    """Describe how many labels there are at most, and what they are computed with."""
    from aiida_mlal.workflows.calcfunctions import unknown

    allowed = stops.allowance(stops.parse(inputs["stop"].get_list()), stops.State.ahead())
    first, each = (_chosen_by(inputs.get(name)) for name in ("first_query", "query"))
    known = inputs["dataset"].configurations if "dataset" in inputs else None
    new = len(structures) if known is None else len(unknown(structures, known))
    most: int | None = new
    if "candidates" in inputs:  # of which each is labelled once
        first = first if known is None else None
    else:
        first = new if first is None else min(first, new)
        most = None if allowed.iterations is None else first + allowed.iterations * (each or 0)
    told: dict[str, Any] = {
        "at most": most if allowed.labels is None else allowed.labels,
        "to learn from, at most": allowed.structures,
        "to begin with, at most": first,
        "iterations, at most": allowed.iterations,
        "in an iteration, at most": each,
    }
    if "labelling" in inputs:
        told["made by"] = inputs["labelling"].value
        workflow, given = LABELLING.find(told["made by"]), inputs.get("label", {})
        if hasattr(workflow, "foresee"):
            made = {
                f"structure {i}": workflow.foresee(given, one)
                for i, one in enumerate(structures[:SHOWN])
            }
            told["computed with"] = {name: foreseen for name, foreseen in made.items() if foreseen}
    return {name: value for name, value in told.items() if value not in (None, {})}


def _chosen_by(query: "Dict | None") -> int | None:
    """Return the number of structures that a query chooses at most."""
    return None if query is None else plugins.make("strategies", query.get_dict()).n
