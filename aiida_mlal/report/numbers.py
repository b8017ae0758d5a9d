"""The numbers of a campaign."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any

import numpy as np
from aiida.orm import CalcJobNode, Data, Dict, ProcessNode, WorkflowNode

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.configurations import OK, Configurations
from aiida_mlal.ml.distances import closest_contacts
from aiida_mlal.ml.frames import (
    IMAGE,
    ITERATION,
    PREDICTED_ENERGY,
    PREDICTED_FORCES,
    REASON,
    RUN,
    STEP,
    UNCERTAINTY,
)
from aiida_mlal.ml.models.references import regress
from aiida_mlal.ml.simulation.cell import MovingCell
from aiida_mlal.report import graph
from aiida_mlal.report.direct import DirectRelaxation
from aiida_mlal.report.words import plain

MOST_CONTACTS = 500
"""Frames of a simulation whose smallest distances are looked at."""

OPTIONS = (
    "pilot", "model", "training", "simulation", "query", "filters", "stop", "seed", "labelling",
)  # fmt: skip


@dataclass(frozen=True)
class Query:
    """A structure that was labelled, why it was, and what came of it.

    Attributes
    ----------
    iteration
        Counted from 1; 0 for what was labelled before the first training.
    key
        Short hash of the geometry.
    step
        Of the simulation that it comes from, where it comes from one.
    reason
        Why it was chosen.
    status, problem
        What became of the label, and why where it is not ``ok``.
    energy, fmax
        As labelled: eV, and the largest force on a free atom in eV/Å.
    smax_GPa
        As labelled: the largest component of the stress that moves the cell; None where none
        moves, or it is not known.
    energy_error, force_error
        Of the potential that chose it: eV/atom, and the largest force difference in eV/Å.
    uncertainty
        Of that potential.
    source
        UUID of the process that labelled it.
    """

    iteration: int
    key: str
    formula: str
    step: int | None
    reason: str
    status: str
    problem: str
    energy: float | None
    fmax: float | None
    energy_error: float | None
    force_error: float | None
    uncertainty: float | None
    source: str
    smax_GPa: float | None = None


@dataclass(frozen=True)
class Rejections:
    """How many candidates the filters refused, by reason without its numbers."""

    iteration: int
    candidates: int
    reasons: Mapping[str, int]


@dataclass(frozen=True)
class Parity:
    """Predictions of the potential before it had seen the label, and the label.

    Attributes
    ----------
    energies
        Predicted and labelled, in eV/atom, less the energies of the elements that fit the labels
        best, and relative to the lowest label: what differs by composition alone is no merit.
    forces
        Predicted and labelled components on all atoms, in eV/Å.
    uncertainty
        Of each structure, and the largest norm of a force difference, in eV/Å.
    iterations
        Of each structure.
    queries, of_forces
        Which of the queries each structure, and each component of a force, belongs to.
    """

    energies: np.ndarray
    forces: np.ndarray
    uncertainty: np.ndarray
    iterations: np.ndarray
    queries: np.ndarray
    of_forces: np.ndarray


@dataclass(frozen=True)
class Run:
    """How a simulation ended.

    Attributes
    ----------
    iteration, number
        Of the campaign, and of the run in it.
    converged, reason, message
        Whether it came to its aim, in a word why it ended, and more where there is more to say.
    uncertainty
        The largest on the way, None where the measure gave none.
    results
        What only some simulations tell, such as averages.
    """

    iteration: int
    number: int
    converged: bool
    reason: str
    message: str
    steps: int
    uncertainty: float | None
    results: Mapping[str, Any]


@dataclass(frozen=True)
class Choice:
    """What a query strategy decided.

    Attributes
    ----------
    candidates, known
        How many structures there were to choose from, and how many had been labelled before.
    indices, scores
        Which of the candidates were chosen, most wanted first, and how much.
    """

    iteration: int
    strategy: str
    candidates: int
    known: int
    indices: Sequence[int]
    scores: Sequence[float | None]


@dataclass(frozen=True)
class Timing:
    """Where the time went, for one type of process.

    Attributes
    ----------
    process
        Entry point or name of the function.
    count, cached, failed
        How many there were, taken over from a cache, and not successful.
    wall
        Seconds from creation to end, summed.
    computing
        Seconds in which their programs ran, summed; None for what runs inside AiiDA.
    """

    process: str
    count: int
    cached: int
    failed: int
    wall: float
    computing: float | None


@dataclass(frozen=True)
class Failure:
    """A process that did not end well."""

    pk: int
    process: str
    exit_status: int | None
    message: str


@dataclass(frozen=True)
class CampaignReport:
    """What is known about a campaign, whether it has ended or not."""

    pk: int
    uuid: str
    process: str
    label: str
    system: str
    state: str
    exit_status: int | None
    message: str
    started: datetime
    wall: float
    busy: float
    options: Mapping[str, Any]
    curve: Sequence[Mapping[str, Any]]
    queries: Sequence[Query]
    rejections: Sequence[Rejections]
    parity: Parity
    timings: Sequence[Timing]
    failures: Sequence[Failure]
    outputs: Mapping[str, str]
    potential: Mapping[str, Any]
    fmax: float | None
    smax_GPa: float | None = None
    direct: Sequence[DirectRelaxation] = ()
    paths: Sequence[Mapping[str, Any]] = ()
    stages: Mapping[str, "CampaignReport"] = field(default_factory=dict)
    structures: Configurations = field(default_factory=Configurations.empty)
    """Those of the queries, in the same order."""
    ends: Configurations = field(default_factory=Configurations.empty)
    """Where the last simulations ended, with labels where there are any."""
    contacts: Sequence[float] = ()
    """Along the first of the last simulations, see ``closest_contacts``."""
    runs: Sequence[Run] = ()
    methods: Sequence[Mapping[str, Any]] = ()
    """What made the labels, as the labelling processes describe it, each method once."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the programs that the jobs ran."""
    choices: Sequence[Choice] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)
    """Results of a calculation of properties."""
    label_seconds: float | None = None
    """In which programs ran that made labels, summed; None where nothing tells."""

    @property
    def labels(self) -> int:
        """How many structures were labelled, or tried in vain, those of all stages included."""
        return len(self.queries) + sum(stage.labels for stage in self.stages.values())

    @property
    def iterations(self) -> int:
        """How many iterations ended, those of all stages included."""
        return len(self.curve) + sum(stage.iterations for stage in self.stages.values())

    @property
    def cell_moves(self) -> bool:
        """Whether simulations move the cell, so that a label's stress is shown beside its force."""
        return any(query.smax_GPa is not None for query in self.queries)

    @property
    def seconds_per_label(self) -> float | None:
        """How long the programs ran for a label, on average; None where nothing tells."""
        return self.label_seconds / len(self.queries) if self.label_seconds else None

    @property
    def overhead(self) -> float:
        """Seconds in which no program of a job ran: AiiDA's own cost."""
        return max(0.0, self.wall - self.busy)

    @property
    def converged(self) -> bool:
        """Whether the campaign says that it reached its aim."""
        return self.state == "finished" and self.exit_status == 0

    @property
    def outcome(self) -> str:
        """How it ended, or that it has not, in one sentence."""
        if self.state in ("created", "waiting", "running"):
            return "still running"
        if self.converged:
            return "converged"
        return self.message or self.state


def collect(node: ProcessNode, direct: Iterable[DirectRelaxation] = ()) -> CampaignReport:
    """Return the numbers of a campaign from the graph, as far as it has come."""
    batches = graph.labelled(node)
    labelled = _joined(batches)
    processes = graph.descendants(node)
    inputs = graph.find_inputs(node)
    start, end = node.ctime, _end(node, processes)
    cell, trajectory = graph.moving_cell(node), graph.last_trajectory(node)
    return CampaignReport(
        pk=node.pk or 0,
        uuid=node.uuid,
        process=graph.kind(node),
        label=node.label or node.description,
        system=_system(batches, inputs),
        state="created" if node.process_state is None else node.process_state.value,
        exit_status=node.exit_status,
        message=node.exit_message or node.exception or "",
        started=start,
        wall=(end - start).total_seconds(),
        busy=_busy(processes),
        options={key: plain(inputs[key]) for key in OPTIONS if key in inputs},
        curve=graph.curve(node),
        queries=[query for batch in batches for query in _queries(batch, cell)],
        rejections=[
            Rejections(
                iteration,
                selection.base.attributes.get("n_pool"),
                dict(Counter(_kind_of_reason(r["reason"]) for r in selection.rejected)),
            )
            for iteration, selection in graph.selections(node)
        ],
        parity=_parity(labelled),
        timings=_timings(processes),
        failures=[
            Failure(p.pk or 0, graph.kind(p), p.exit_status, _problem(p))
            for p in processes
            if p.is_terminated and not p.is_finished_ok
        ],
        outputs={
            link.link_label.replace("__", "."): link.node.uuid
            for link in node.base.links.get_outgoing(node_class=Data).all()
        },
        potential=_potential(node),
        fmax=graph.tolerance(node),
        smax_GPa=graph.stress_tolerance(node),
        direct=tuple(direct),
        paths=graph.paths(node),
        stages={name: collect(campaign) for name, campaign in graph.campaigns(node)},
        structures=labelled,
        ends=_ends(node, trajectory),
        contacts=_contacts(trajectory),
        runs=_runs(node),
        methods=_methods(batches),
        versions=_versions(node),
        choices=[
            Choice(
                iteration,
                selection.base.attributes.get("strategy")["name"],
                selection.base.attributes.get("n_pool"),
                selection.base.attributes.get("n_train"),
                selection.indices,
                [chosen["score"] for chosen in selection.selected],
            )
            for iteration, selection in graph.selections(node)
        ],
        properties=_properties(node),
        label_seconds=_label_seconds(batches),
    )


def _label_seconds(batches: Sequence[graph.Batch]) -> float | None:
    jobs = [
        process
        for batch in batches
        for process in (batch.process, *graph.descendants(batch.process))
        if isinstance(process, CalcJobNode)
    ]
    known = [s for s in map(graph.computing_seconds, jobs) if s is not None]
    return sum(known) if known else None


def _ends(node: ProcessNode, trajectory: Configurations | None) -> Configurations:
    """Return the last frames of the last simulations; nothing where there were none."""
    for link in node.base.links.get_outgoing(node_class=DatasetData).all():
        if link.link_label == "relaxed" and isinstance(link.node, DatasetData):
            return link.node.configurations
    return Configurations.empty() if trajectory is None else _last_frames(trajectory)


def _last_frames(trajectory: Configurations) -> Configurations:
    """Return the last frame of each image of each run, in the order of runs and images."""
    last = dict(zip(zip(RUN.of(trajectory), IMAGE.of(trajectory), strict=True), count()))
    return trajectory[[last[key] for key in sorted(last)]]


def _contacts(trajectory: Configurations | None) -> list[float]:
    if trajectory is None or not len(trajectory):
        return []
    one = trajectory[np.flatnonzero((RUN.of(trajectory) == 0) & (IMAGE.of(trajectory) == 0))]
    steps = np.unique(np.linspace(0, len(one) - 1, MOST_CONTACTS).astype(int))
    return [float(ratio) for ratio in closest_contacts(one[steps])] if len(one) else []


def _runs(node: ProcessNode) -> list[Run]:
    return [
        Run(
            iteration=iteration,
            number=number,
            converged=bool(run.get("converged")),
            reason=str(run.get("reason") or ""),
            message=str(run.get("message") or ""),
            steps=int(run.get("steps") or 0),
            uncertainty=run.get("max_uncertainty"),
            results=run.get("results") or {},
        )
        for iteration, results in graph.simulated(node)
        for number, run in enumerate(results["runs"])
    ]


def _methods(batches: Sequence[graph.Batch]) -> list[dict[str, Any]]:
    """Return each method once, with the PK of the first process that labelled by it."""
    found: dict[str, dict[str, Any]] = {}
    for batch in batches:
        told = batch.process.outputs.description.get_dict()
        mark = str(told.get("fingerprint", ""))
        about = told.get("description")
        found.setdefault(mark, {"fingerprint": mark, **(about if isinstance(about, dict) else {})})
    return list(found.values())


def _versions(node: ProcessNode) -> dict[str, str]:
    """Return versions of programs by name, those of the last job where they changed."""
    found: dict[str, str] = {}
    for output in graph.results(node):
        versions = output.get("versions")
        if isinstance(versions, dict):
            found |= {str(name): str(version) for name, version in versions.items()}
    return found


def _properties(node: ProcessNode) -> dict[str, Any]:
    for link in node.base.links.get_outgoing(node_class=Dict).all():
        if link.link_label == "results" and isinstance(link.node, Dict):
            found: dict[str, Any] = link.node.get_dict()
            return found if found.get("task") == "properties" else {}
    return {}


def _joined(batches: Sequence[graph.Batch]) -> Configurations:
    if not batches:
        return Configurations.empty()
    parts = [
        batch.dataset.configurations.with_columns({ITERATION: batch.iteration}) for batch in batches
    ]
    return Configurations.concatenate(parts)


def _queries(batch: graph.Batch, cell: MovingCell) -> list[Query]:
    structures = batch.dataset.configurations
    energy_errors = (PREDICTED_ENERGY.of(structures) - structures.energies) / structures.counts
    force_errors = _force_errors(structures)
    steps, reasons, uncertainty = (
        STEP.of(structures),
        REASON.of(structures),
        UNCERTAINTY.of(structures),
    )
    why = _chosen_because(batch)
    smax = cell.largest(structures.stresses) if cell else np.full(len(structures), np.nan)
    return [
        Query(
            iteration=batch.iteration,
            key=key,
            formula=formula,
            step=int(steps[i]) if batch.iteration and steps[i] != STEP.unknown else None,
            reason=why.get(key, "given" if batch.iteration == 0 else str(reasons[i])),
            status=str(structures.status[i]),
            problem=str(reasons[i]) if structures.status[i] != OK else "",
            energy=_known(structures.energies[i]),
            fmax=_known(structures.max_forces[i]),
            energy_error=_known(energy_errors[i]),
            force_error=_known(force_errors[i]),
            uncertainty=_known(uncertainty[i]),
            source=batch.dataset.sources[i] or batch.process.uuid,
            smax_GPa=_known(smax[i]),
        )
        for i, (key, formula) in enumerate(zip(structures.keys, structures.formulas, strict=True))
    ]


def _chosen_because(batch: graph.Batch) -> dict[str, str]:
    """Map each geometry to the reason why the strategy chose it."""
    campaign = batch.process.caller
    if campaign is None:
        return {}
    return {
        chosen["key"]: chosen["reason"]
        for iteration, selection in graph.selections(campaign)
        if iteration == batch.iteration
        for chosen in selection.selected
    }


def _parity(labelled: Configurations) -> Parity:
    good = labelled.learnable
    predicted, forces = PREDICTED_ENERGY.of(good), PREDICTED_FORCES.of(good)
    known = np.isfinite(predicted)
    energies = np.stack([predicted, good.energies], axis=1)[known]
    if len(energies):
        counts = good.composition(good.elements)[known]
        energies -= (counts @ regress(counts, energies[:, 1]).energies)[:, None]
    energies /= good.counts[known, None]
    pairs = np.stack([forces.reshape(-1), good.forces.reshape(-1)], axis=1)
    errors = np.stack([UNCERTAINTY.of(good), _force_errors(good)], axis=1)
    queries = np.flatnonzero(labelled.status == OK)
    components = np.repeat(queries, 3 * good.counts)
    return Parity(
        energies=energies - (energies[:, 1].min() if len(energies) else 0.0),
        forces=pairs[np.isfinite(pairs).all(axis=1)],
        uncertainty=errors[known],
        iterations=ITERATION.of(good)[known],
        queries=queries[known],
        of_forces=components[np.isfinite(pairs).all(axis=1)],
    )


def _force_errors(frames: Configurations) -> np.ndarray:
    """Return the largest norm of a force difference in each structure; NaN where unknown."""
    return frames.largest(np.linalg.norm(PREDICTED_FORCES.of(frames) - frames.forces, axis=1))


def _timings(processes: Sequence[ProcessNode]) -> list[Timing]:
    groups: dict[str, list[ProcessNode]] = defaultdict(list)
    for process in processes:
        workflow = " (workflow)" if isinstance(process, WorkflowNode) else ""
        groups[graph.kind(process) + workflow].append(process)
    rows = []
    for name, members in groups.items():
        seconds = [graph.computing_seconds(p) for p in members if isinstance(p, CalcJobNode)]
        known = [s for s in seconds if s is not None]
        rows.append(
            Timing(
                process=name,
                count=len(members),
                cached=sum(p.base.caching.is_created_from_cache for p in members),
                failed=sum(p.is_terminated and not p.is_finished_ok for p in members),
                wall=sum(_duration(p) for p in members),
                computing=sum(known) if known else None,
            )
        )
    return sorted(rows, key=lambda row: -row.wall)


def _busy(processes: Sequence[ProcessNode]) -> float:
    """Return in how many seconds at least one program ran.

    When a program ran within the life of its job is not recorded: the middle is taken, which
    matters only where jobs overlap.
    """
    spans = []
    for process in processes:
        if not isinstance(process, CalcJobNode):
            continue
        seconds = graph.computing_seconds(process)
        if seconds is None:
            continue
        start, end = (moment.timestamp() for moment in graph.interval(process))
        middle = (start + end) / 2
        spans.append((middle - seconds / 2, middle + seconds / 2))
    total, reached = 0.0, -np.inf
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _duration(process: ProcessNode) -> float:
    start, end = graph.interval(process)
    return (end - start).total_seconds()


def _end(node: ProcessNode, processes: Sequence[ProcessNode]) -> datetime:
    if node.is_terminated:
        return graph.interval(node)[1]
    return max(graph.interval(p)[1] for p in (node, *processes))


def _system(batches: Sequence[graph.Batch], inputs: Mapping[str, Any]) -> str:
    structures = inputs.get("structures")
    if isinstance(structures, DatasetData):
        return ", ".join(structures.base.attributes.get("formulas"))
    if structures is not None and hasattr(structures, "get_formula"):
        return str(structures.get_formula())
    if batches:
        return ", ".join(sorted(set(batches[0].dataset.configurations.formulas)))
    return ""


def _potential(node: ProcessNode) -> dict[str, Any]:
    potentials = [
        link.node
        for link in node.base.links.get_outgoing(node_class=Data).all()
        if link.link_label == "potential"
    ]
    return dict(potentials[0].base.attributes.all) if potentials else {}


def _problem(node: ProcessNode) -> str:
    if node.exception:
        return str(node.exception)
    state = node.process_state.value if node.process_state else "unknown"
    return node.exit_message or state


def _kind_of_reason(reason: str) -> str:
    """Return a reason without its numbers, to count those that are alike."""
    words = [w for w in reason.split() if not any(c.isdigit() for c in w)]
    return " ".join(words)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
