"""What a campaign did so far, read from the provenance graph."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiida.common.links import LinkType
from aiida.orm import CalcJobNode, Dict, List, Node, ProcessNode, QueryBuilder

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.potential import PotentialData
from aiida_mlal.data.selection import SelectionData
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.simulation.cell import FIXED, MovingCell
from aiida_mlal.ml.stops import OracleForce
from aiida_mlal.ml.tasks.base import RESULT

CHILDREN = (LinkType.CALL_CALC, LinkType.CALL_WORK)
UNNAMED = "CALL"
"""Label of a call that was given none."""
CAMPAIGN = "campaign_"
"""How the label of a call begins by which ``mlal.stages`` runs a campaign."""


@dataclass(frozen=True)
class Batch:
    """Structures that were labelled together, in an iteration counted from 1; 0 is before it."""

    iteration: int
    dataset: DatasetData
    process: ProcessNode


def children(node: ProcessNode) -> list[ProcessNode]:
    """Return the processes that a process called itself, in the order of their creation."""
    return [child for _, child in _calls(node)]


def descendants(node: ProcessNode) -> list[ProcessNode]:
    """Return the processes that a process called, at any depth, in the order of their creation."""
    processes = [node]
    for process in processes:
        processes += children(process)
    return sorted(processes[1:], key=age)


def age(node: Node) -> tuple[datetime, int]:
    """Return what nodes are sorted by for the oldest to come first.

    Their PKs are in no order after an import.
    """
    return node.ctime, node.pk or 0


def running(node: ProcessNode) -> list[ProcessNode]:
    """Return the processes that a process called and that have not ended, oldest first.

    One that was called again under its label is left out: a daemon that was killed while it
    called the first one begins nothing but the second.
    """
    calls = _calls(node)
    newest = {label: child.pk for label, child in calls if label != UNNAMED}
    return [
        child
        for label, child in calls
        if not child.is_terminated and newest.get(label, child.pk) == child.pk
    ]


def unsealed(node: ProcessNode) -> list[ProcessNode]:
    """Return a process, and those that it called at any depth, that are open to changes still."""
    return [process for process in (*descendants(node), node) if not process.is_sealed]


def campaigns(node: ProcessNode) -> list[tuple[str, ProcessNode]]:
    """Return the campaigns that ``mlal.stages`` called, each with the name of its stage."""
    return [
        (label.removeprefix(CAMPAIGN), child)
        for label, child in _calls(node)
        if label.startswith(CAMPAIGN)
    ]


def kind(node: ProcessNode) -> str:
    """Return the entry point of a process, or the name of its function."""
    process_type = node.process_type or ""
    if process_type.startswith(("aiida.calculations:mlal", "aiida.workflows:")):
        return process_type.partition(":")[2]
    if process_type.startswith("aiida.calculations:") and isinstance(node, CalcJobNode):
        return process_type.partition(":")[2]
    return str(node.process_label)


def iterations(node: ProcessNode) -> list[tuple[int, ProcessNode]]:
    """Return the processes that a campaign called itself, each with its iteration.

    A campaign numbers its calls: ``label_00``, ``train_01``, ``simulate_01`` and so on.
    """
    iteration, calls = 0, []
    for label, child in _calls(node):
        number = re.search(r"_(\d+)$", label)
        iteration = int(number.group(1)) if number else iteration
        calls.append((iteration, child))
    return calls


def curve(node: ProcessNode) -> list[dict[str, Any]]:
    """Return the learning curve: a row of ``ml.stops.row`` for each iteration that ended."""
    rows: dict[int, dict[str, Any]] = {}
    for child in children(node):
        for output in _outputs(child, Dict):
            point = output.get_dict()
            if {"iteration", "labels", "oracle_fmax"} <= set(point):
                rows[point["iteration"]] = point
    return [rows[iteration] for iteration in sorted(rows)]


def labelled(node: ProcessNode) -> list[Batch]:
    """Return labelled data sets in order: outputs of labelling processes of whatever kind."""
    batches = []
    for iteration, child in iterations(node):
        outputs = {
            link.link_label: link.node
            for link in child.base.links.get_outgoing(
                link_type=(LinkType.CREATE, LinkType.RETURN)
            ).all()
        }
        dataset = outputs.get("dataset")
        if isinstance(dataset, DatasetData) and "description" in outputs:
            batches.append(Batch(iteration, dataset, child))
    return batches


def dataset(node: ProcessNode) -> DatasetData | None:
    """Return all that a campaign labelled or began with, as far as it has come; None if nothing."""
    found = find_inputs(node).get("dataset")
    for child in children(node):
        if child.process_label == "extend":
            for output in _outputs(child, DatasetData):
                found = output
    return found if isinstance(found, DatasetData) else None


def selections(node: ProcessNode) -> list[tuple[int, SelectionData]]:
    """Return the decisions of the query strategy, each with its iteration."""
    return [
        (iteration, selection)
        for iteration, child in iterations(node)
        for selection in _outputs(child, SelectionData)
    ]


def computing_seconds(node: CalcJobNode) -> float | None:
    """Return the time in s that the program of a job ran; None where nothing tells."""
    if node.base.caching.is_created_from_cache:
        return 0.0
    if "output_parameters" in node.outputs:
        seconds = node.outputs.output_parameters.get_dict().get("wall_time_seconds")
        return None if seconds is None else float(seconds)
    if "retrieved" not in node.outputs:
        return None
    try:
        result = json.loads(node.outputs.retrieved.base.repository.get_object_content(RESULT))
    except (OSError, ValueError):
        return None
    return float(result["seconds"]) if "seconds" in result else None


def interval(node: ProcessNode) -> tuple[datetime, datetime]:
    """Return when a process was created, and when it ended or last gave a sign of life."""
    return node.ctime, max(node.ctime, node.mtime)


def find_inputs(node: ProcessNode) -> dict[str, Any]:
    """Return the inputs of a process by their flat link labels."""
    return {link.link_label: link.node for link in node.base.links.get_incoming().all()}


def _calls(node: ProcessNode) -> list[tuple[str, Any]]:
    """Return link label and node of the processes that a process called, oldest first."""
    links = node.base.links.get_outgoing(link_type=CHILDREN).all()
    return sorted(((link.link_label, link.node) for link in links), key=lambda call: age(call[1]))


def tolerance(node: ProcessNode) -> float | None:
    """Return the labelled force in eV/Å below which the campaign is converged, if it has one."""
    stop = _force_stop(node)
    return None if stop is None else float(stop.get("fmax", OracleForce.fmax))


def stress_tolerance(node: ProcessNode) -> float | None:
    """Return the labelled stress in GPa that goes with ``tolerance``, where a cell moves."""
    stop = _force_stop(node) if moving_cell(node) else None
    return None if stop is None else float(stop.get("smax_GPa", OracleForce.smax_GPa))


def _force_stop(node: ProcessNode) -> Mapping[str, Any] | None:
    """Return the options of the stop that judges labelled forces, by itself or with others."""
    stops = find_inputs(node).get("stop")
    given = stops.get_list() if isinstance(stops, List) else []
    several = [one for stop in given if stop["name"] == "all" for one in stop["of"]]
    matching = [stop for stop in (*given, *several) if stop["name"] == "oracle_force"]
    return matching[0] if matching else None


def moving_cell(node: ProcessNode) -> MovingCell:
    """Return the degrees of freedom of the cell in a campaign, by results of its simulations."""
    return next((MovingCell.of(results["runs"][0]) for _, results in simulated(node)), FIXED)


def simulated(node: ProcessNode) -> list[tuple[int, dict[str, Any]]]:
    """Return the results of simulations with runs, each with its iteration."""
    return [
        (iteration, results)
        for iteration, child in iterations(node)
        for results in _dicts(child)
        if isinstance(results.get("runs"), list) and results["runs"]
    ]


def results(node: ProcessNode) -> list[dict[str, Any]]:
    """Return the dictionaries that a process and its children put out, oldest first."""
    return [told for process in (*children(node), node) for told in _dicts(process)]


def last_trajectory(node: ProcessNode) -> Configurations | None:
    """Return the frames of the last simulations; None where there were none."""
    for _, child in reversed(iterations(node)):
        for link in child.base.links.get_outgoing(node_class=DatasetData).all():
            if link.link_label == "trajectory" and isinstance(link.node, DatasetData):
                return link.node.configurations
    return None


def potentials(node: ProcessNode) -> list[tuple[int, PotentialData]]:
    """Return the potentials that a campaign trained, each with its iteration."""
    return [
        (iteration, link.node)
        for iteration, child in iterations(node)
        for link in child.base.links.get_outgoing(node_class=PotentialData).all()
        if isinstance(link.node, PotentialData) and link.link_label == "potential"
    ]


def _dicts(node: ProcessNode) -> list[dict[str, Any]]:
    return [output.get_dict() for output in _outputs(node, Dict)]


def _outputs(node: ProcessNode, cls: Any) -> Iterator[Any]:
    query = QueryBuilder().append(type(node), filters={"id": node.pk}, tag="process")
    query.append(cls, with_incoming="process")
    outputs = {output.pk: output for output in query.all(flat=True)}
    return iter(sorted(outputs.values(), key=age))


def paths(node: ProcessNode) -> list[dict[str, Any]]:
    """Return the paths that a campaign found until it ended (see ``ml.paths``)."""
    profiles: list[dict[str, Any]] = []
    for link in node.base.links.get_outgoing(node_class=Dict).all():
        if link.link_label == "paths" and isinstance(link.node, Dict):
            profiles += link.node["paths"]
    return profiles
