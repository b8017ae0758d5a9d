"""Calcfunctions of campaigns: steps that need no job, from nodes to nodes."""

from dataclasses import replace

import numpy as np
from aiida.engine import ExitCode, calcfunction
from aiida.orm import Bool, Data, Dict, Int, List, Str

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.potential import PotentialData
from aiida_mlal.data.structures import fixed_mask, to_configurations, to_structure
from aiida_mlal.ml import plugins, stops
from aiida_mlal.ml.configurations import OK, UNLABELLED, Configurations
from aiida_mlal.ml.frames import FINGERPRINT, REASON, STATUS, VELOCITIES
from aiida_mlal.ml.labelling.checks import FAILED, UNCONVERGED
from aiida_mlal.ml.labelling.fingerprint import fit_together
from aiida_mlal.ml.labelling.outliers import without_outliers
from aiida_mlal.ml.paths import paths
from aiida_mlal.ml.selection.filters import SAME, Twins
from aiida_mlal.ml.starts import Beginning
from aiida_mlal.workflows.labelling.base import limits_of
from aiida_mlal.workflows.simulation.base import plan_of

MIXED_LABELS = 430
"""Exit code of ``extend`` where labels are not made alike."""


@calcfunction
def begin(
    structures: Data,
    query: Dict,
    stop: List,
    fixed: List | None = None,
    dataset: DatasetData | None = None,
    potential: Data | None = None,
    first_query: Dict | None = None,
) -> dict[str, Data]:
    """Collect the initial structures of simulations, and those of them to be labelled first.

    Nothing is labelled that is labelled in ``dataset``, and nothing if there is a potential to
    begin with, or labels and a query that is to choose the first ones. There are other queries if
    the budget of labels is smaller than the ones given.
    """
    start = beginnings(structures, fixed)
    known = None if dataset is None else dataset.configurations
    outputs: dict[str, Data] = {"structures": DatasetData(start)}
    new = unknown(start, known)
    if potential is not None or (first_query is not None and has_labels(dataset)):
        new = []
    if new:
        outputs["unlabelled"] = DatasetData(
            start[new].with_columns({STATUS: UNLABELLED, REASON: "initial"})
        )
    n_known = 0 if known is None else len(known.learnable)
    if first_query is not None and new:
        return {**outputs, **_affordable(first_query, stop, ahead(0, n_known), "first_query")}
    return {**outputs, **_affordable(query, stop, ahead(len(new), n_known))}


@calcfunction
def untrained(model: Dict, seed: Int, structures: DatasetData) -> PotentialData:
    """Build an untrained potential, for queries that need nothing but its descriptors."""
    from aiida_mlal.ml.models.factory import ModelOptions

    elements = structures.configurations.elements
    return PotentialData.from_potential(
        ModelOptions.parse(model.get_dict()).build(elements, seed.value, structures.configurations)
    )


@calcfunction
def elements(structures: DatasetData) -> List:
    """Return the elements that potentials of a campaign have to know."""
    return List(structures.base.attributes.get("elements"))


@calcfunction
def afford(query: Dict, stop: List, chosen: DatasetData) -> dict[str, Dict]:
    """Reduce the query if the first labels leave a smaller budget than it asks for."""
    return _affordable(query, stop, ahead(len(chosen), 0))


@calcfunction
def extend(
    labelled: DatasetData,
    allow_mixed_labels: Bool,
    dataset: DatasetData | None = None,
    limits: Dict | None = None,
) -> DatasetData | ExitCode:
    """Add new labels to a data set; structures that were not tried are left out.

    New labels whose energy is an outlier among all are not learned from (see
    ``without_outliers``).
    """
    known = None if dataset is None else dataset.configurations
    judged = without_outliers(labelled.configurations, limits_of(limits), known)
    tried = np.flatnonzero(judged.status != UNLABELLED)
    parts = [] if dataset is None else [dataset]
    new = DatasetData(judged, labelled.sources).subset(tried)
    extended = DatasetData.concatenate([*parts, new])
    good = extended.configurations.learnable
    marks = FINGERPRINT.of(good)
    if not (allow_mixed_labels.value or fit_together(marks)):
        counts = ", ".join(f"{mark or 'unknown'}: {(marks == mark).sum()}" for mark in set(marks))
        return ExitCode(
            MIXED_LABELS,
            "the labels are not all made by the same code with the same parameters (numbers of "
            f"labels by fingerprint: {counts}); energies would not fit together",
        )
    return extended


@calcfunction
def check(
    stop: List,
    query: Dict,
    dataset: DatasetData,
    trajectory: DatasetData,
    results: Dict,
    labelled: DatasetData | None = None,
    initial: DatasetData | None = None,
    previous: Dict | None = None,
) -> dict[str, Dict]:
    """Judge an iteration: return its row of the learning curve.

    There is another query too if the budget of labels is smaller than the one given.

    Parameters
    ----------
    dataset
        All labels, those of this iteration included.
    labelled
        Those of this iteration, if there are any.
    initial
        What the campaign labelled before its first iteration, where this is the first one.
    previous
        The row before.
    """
    new = Configurations.empty() if labelled is None else labelled.configurations.tried
    before = 0 if initial is None else len(initial.configurations.tried)
    iteration = 1
    if previous is not None:
        before, iteration = previous["labels"], previous["iteration"] + 1
    state = stops.State(
        iteration=iteration,
        n_labels=before + len(new),
        trajectory=trajectory.configurations,
        new=new,
        dataset=dataset.configurations,
        runs=results.get_dict().get("runs", ()),
    )
    verdict = stops.decide(stops.parse(stop.get_list()), state)
    row = {**stops.row(state), "outcome": verdict.outcome, "reason": verdict.reason}
    return {"row": Dict(row), **_affordable(query, stop, state)}


@calcfunction
def move_start(
    start: Dict,
    simulating: Str,
    simulation: Dict,
    structures: DatasetData,
    trajectory: DatasetData,
    dataset: DatasetData,
    results: Dict,
    stop: List,
    given: DatasetData,
    labelled: DatasetData | None = None,
) -> dict[str, Data]:
    """Find the initial structures of the next simulations, and how far atoms may go from there.

    Parameters
    ----------
    start
        Name and options of what decides.
    simulating
        Entry point of the engine.
    simulation, structures
        Of the iteration that has come to its end.
    dataset
        All labels, those of that iteration included.
    given
        Where the simulations of the first iteration began.
    labelled
        Labels of that iteration, if there are any.
    """
    options = simulation.get_dict()
    guard = dict(options.get("guard", {}))
    runs, known = results.get_dict().get("runs", ()), dataset.configurations
    frames = trajectory.configurations
    new = Configurations.empty() if labelled is None else labelled.configurations.tried
    met = stops.met_runs(stops.parse(stop.get_list()), runs, frames, known)
    state = stops.State(0, 0, frames, new, known, runs, met=met)
    begun = structures.configurations
    plan = plan_of(simulating.value, options)
    now = Beginning(begun, guard.get("trust"), plan.minimised(begun), given.configurations)
    beginning = plugins.make("starts", start.get_dict(), "start").after(now, state)
    moved: dict[str, Data] = {"structures": DatasetData(beginning.structures)}
    if beginning.trust != now.trust:
        moved["simulation"] = Dict({**options, "guard": {**guard, "trust": beginning.trust}})
    return moved


@calcfunction
def gather(**rows: Dict) -> Dict:
    """Join the rows of the learning curve in their order."""
    return Dict({"rows": [rows[name].get_dict() for name in sorted(rows)]})


@calcfunction
def last_frames(trajectory: DatasetData, dataset: DatasetData, results: Dict) -> dict[str, Data]:
    """Collect the last frames of runs with their labels if any, and the best as a structure.

    Of runs that are paths there are their profiles too.

    The best has the smallest labelled force, and stress where its cell moved; see
    ``ml.stops.Final.drive``. Without labels it is the first. Of a path it is the saddle point.
    """
    known, runs = dataset.configurations, results.get_dict().get("runs", ())
    state = stops.State(0, 0, trajectory.configurations, Configurations.empty(), known, runs)
    places = {key: i for i, key in enumerate(known.keys)}
    frames, sources = [], []
    for final in state.ends:
        label = final.labelled
        frames.append(final.predicted if label is None else label)
        sources.append("" if label is None else dataset.sources[places[label.keys[0]]])
    if not frames:
        return {}
    looked_for = [run.get("stationary") for run in runs]
    drives = [
        np.inf
        if final.run < len(runs) and (looked_for[final.run] or [final.image])[0] != final.image
        else np.nan_to_num(final.drive, nan=1e300)
        for final in state.ends
    ]
    best = int(np.argmin(drives))
    outputs: dict[str, Data] = {
        "relaxed": DatasetData(Configurations.concatenate(frames), sources),
        "structure": to_structure(frames[best]),
    }
    profiles = paths(state)
    return {**outputs, "paths": Dict({"paths": profiles})} if profiles else outputs


@calcfunction
def learnable(dataset: DatasetData) -> DatasetData:
    """Return the structures that have a label to learn from."""
    structures = dataset.configurations
    good = np.flatnonzero(structures.status == OK)
    return DatasetData(structures[good], [dataset.sources[i] for i in good])


@calcfunction
def together(**structures: Data) -> DatasetData:
    """Return structures as one data set, in the order of their names."""
    parts = [beginnings(structures[name], None) for name in sorted(structures)]
    return DatasetData(Configurations.concatenate(parts))


def beginnings(structures: Data, fixed: List | None) -> Configurations:
    """Read the initial structures of a node: without labels, with the atoms that must not move.

    Raises
    ------
    ValueError
        If ``fixed`` does not fit all structures.
    """
    atoms = None if fixed is None else fixed.get_list()
    if not isinstance(structures, DatasetData):
        return to_configurations(structures, atoms)
    given = structures.configurations
    masks = [fixed_mask(atoms, count) for count in given.counts]
    mask = np.concatenate(masks) if masks else given.fixed
    bare = replace(given.bare, fixed=given.fixed | mask)
    moving = VELOCITIES.is_in(given)
    return bare.with_columns({VELOCITIES: VELOCITIES.of(given)}) if moving else bare


def unknown(structures: Configurations, dataset: Configurations | None) -> list[int]:
    """Return the indices of structures that have no good label yet, the same one once.

    Structures that differ by rounding are the same: nodes of structures round positions.
    """
    seen = Twins()
    for i, one in enumerate([] if dataset is None else dataset.learnable):
        seen.add(i, one)
    indices = []
    for i, one in enumerate(structures):
        if seen.find(one, SAME) is None:
            indices.append(i)
            seen.add(i, one)
    return indices


def failed_share(dataset: DatasetData) -> tuple[int, int]:
    """Count the structures whose label failed, and all that were tried."""
    status = dataset.configurations.status
    return int(np.isin(status, (FAILED, UNCONVERGED)).sum()), int((status != UNLABELLED).sum())


def has_learned(potential: PotentialData, dataset: DatasetData | None) -> bool:
    """Tell from the training set of a potential if all good labels of a data set are in it.

    The process that trained it tells; where there is none in the graph, it is assumed.
    """
    trained = None if potential.creator is None else potential.creator.base.links.get_incoming()
    names = {} if trained is None else {link.link_label: link.node for link in trained.all()}
    if dataset is None or "dataset" not in names:
        return True
    return _labels(dataset) <= _labels(names["dataset"])


def _labels(dataset: DatasetData) -> set[tuple[str, float]]:
    """Structures with their energies: another method has others for the same structures."""
    good = dataset.configurations.learnable
    return set(zip(good.keys, good.energies.tolist(), strict=True))


def has_labels(dataset: DatasetData | None) -> bool:
    """Whether a data set has labels to learn from."""
    return dataset is not None and bool((dataset.configurations.status == OK).any())


def ahead(n_labels: int, n_known: int) -> stops.State:
    """Return the state of a campaign after so many labels, beside those known before."""
    return stops.State.ahead(n_labels=n_labels, foreseen=n_known + n_labels)


def room(stop: List, state: stops.State) -> int | None:
    """Return the number of structures that the stops allow to choose; None without a limit."""
    allowed = stops.allowance(stops.parse(stop.get_list()), state)
    return min((n for n in (allowed.labels, allowed.structures) if n is not None), default=None)


def _affordable(
    query: Dict, stop: List, state: stops.State, name: str = "query"
) -> dict[str, Dict]:
    """Reduce a query to what the stops allow; return nothing if they allow all of it."""
    left = room(stop, state)
    if left is None or not 0 < left < plugins.make("strategies", query.get_dict()).n:
        return {}
    return {name: Dict({**query.get_dict(), "n": left})}
