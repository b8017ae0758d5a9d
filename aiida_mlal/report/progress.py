"""Progress of a campaign, as text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from aiida.orm import CalcJobNode, ProcessNode
from tabulate import tabulate

from aiida_mlal.ml.text import counted
from aiida_mlal.report import graph
from aiida_mlal.report.words import seconds

STAGES = (
    ("mlal.iterate", "training, simulating and choosing in one job"),
    ("mlal.train", "training"),
    ("mlal.simulate", "simulating"),
    ("mlal.evaluate", "comparing with the test set"),
    ("mlal.select", "choosing what to label"),
    ("mlal.label", "labelling"),
)
"""What a campaign does while a child whose entry point begins so is running."""


UNCONVERGED = (410, 411)
"""Exit codes of campaigns that did all they could."""

LONG = 600.0
"""Seconds without a change after which one is told of them: a process may be gone."""


@dataclass(frozen=True)
class Progress:
    """Progress of a campaign.

    Attributes
    ----------
    state
        Whether it runs, or how it ended, in a word or two.
    stage
        What it does, or why it ended so; empty where it converged.
    labels
        Structures labelled so far, failed ones included.
    jobs
        Jobs that are not done: their PK, entry point and what they say of themselves.
    curve
        Rows of the learning curve.
    seconds
        Since its creation, until now or its end.
    idle
        Seconds since something of it changed last; 0 if it has ended.
    stages
        Of ``mlal.stages``: the progress of each campaign, by the name of its stage. Their labels
        are counted in ``labels`` too.
    """

    state: str
    iteration: int
    stage: str
    labels: int
    jobs: Sequence[tuple[int, str, str]]
    curve: Sequence[Mapping[str, Any]]
    seconds: float
    idle: float
    stages: Mapping[str, "Progress"] = field(default_factory=dict)


def progress(node: ProcessNode) -> Progress:
    """Collect the progress of a campaign."""
    steps = graph.iterations(node)
    end = graph.interval(node)[1] if node.is_terminated else datetime.now(timezone.utc)
    processes = graph.descendants(node)
    last = end if node.is_terminated else max(p.mtime for p in (node, *processes))
    stages = {name: progress(campaign) for name, campaign in graph.campaigns(node)}
    return Progress(
        state=_state(node),
        iteration=steps[-1][0] if steps else 0,
        stage=_outcome(node) if node.is_terminated else _stage(node),
        labels=sum(len(batch.dataset) for batch in graph.labelled(node))
        + sum(stage.labels for stage in stages.values()),
        jobs=[
            (p.pk or 0, graph.kind(p), p.process_status or "")
            for p in processes
            if isinstance(p, CalcJobNode) and not p.is_terminated
        ],
        curve=graph.curve(node),
        seconds=(end - node.ctime).total_seconds(),
        idle=(end - last).total_seconds(),
        stages=stages,
    )


def describe(progress: Progress) -> str:
    """Return the text for a terminal."""
    lines = [_summary(progress)]
    if progress.idle > LONG:
        lines.append(
            f"  nothing has changed for {seconds(progress.idle)}; if its process is gone, "
            "`aiida-mlal kill` ends it, and --dataset begins with its labels"
        )
    lines += [f"  job {pk} {kind}: {status or 'waiting'}" for pk, kind, status in progress.jobs]
    if progress.curve:
        lines += ["", table(progress.curve)]
    for name, stage in progress.stages.items():
        lines += ["", f"{name}: {describe(replace(stage, jobs=()))}"]
    return "\n".join(lines)


def _summary(progress: Progress) -> str:
    labels = counted(progress.labels, "label")
    where = [] if progress.stages else [f"iteration {progress.iteration}"]
    head = ", ".join([progress.state, *where, labels, seconds(progress.seconds)])
    return ": ".join(filter(None, [head, progress.stage]))


def table(curve: Sequence[Mapping[str, Any]]) -> str:
    """Return the learning curve as a table of text, without columns that nothing is known of."""
    columns = _TESTED if any(row.get("test") for row in curve) else _SIMULATED
    if any(row.get("oracle_smax_GPa") is not None for row in curve):
        columns = (*columns, ("oracle smax", "GPa", lambda row: row.get("oracle_smax_GPa")))
    values = [[value(row) for row in curve] for _, _, value in columns]
    known = [i for i, column in enumerate(values) if any(value is not None for value in column)]
    rows = list(zip(*(values[i] for i in known), strict=True))
    headers = [f"{columns[i][0]}\n{columns[i][1]}" for i in known]
    return tabulate(rows, headers=headers, floatfmt=".3g", missingval="-")


Column = tuple[str, str, Callable[[Mapping[str, Any]], Any]]
"""Title, unit, and what a row of the curve has there."""


def _inside(group: str, key: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda row: (row.get(group) or {}).get(key)


_SIMULATED: tuple[Column, ...] = (
    ("iteration", "", lambda row: row["iteration"]),
    ("labels", "", lambda row: row["labels"]),
    ("learned", "", lambda row: row["learnable"]),
    ("force MAE", "eV/Å", _inside("errors", "force_mae")),
    ("energy MAE", "meV/atom", lambda row: _thousandfold(row["errors"].get("energy_mae"))),
    ("uncertainty", "max", lambda row: row.get("uncertainty_max")),
    ("completed", "runs", lambda row: f"{row['converged']}/{row['runs']}" if row["runs"] else None),
    ("shortest", "steps", lambda row: row.get("steps_min")),
    ("oracle fmax", "eV/Å", lambda row: row.get("oracle_fmax")),
)
_TESTED: tuple[Column, ...] = (
    ("iteration", "", lambda row: row["iteration"]),
    ("labels", "", lambda row: row["labels"]),
    ("trained on", "", lambda row: row["trained_on"]),
    ("force MAE", "eV/Å", _inside("test", "force_mae")),
    ("force RMSE", "eV/Å", _inside("test", "force_rmse")),
    ("force max", "eV/Å", _inside("test", "force_max")),
    ("energy MAE", "meV/atom", lambda row: _thousandfold(_inside("test", "energy_mae")(row))),
    ("uncertainty", "rank corr.", _inside("uncertainty", "spearman")),
    ("chosen by", "mean score", lambda row: row["score_mean"]),
)


def _stage(node: ProcessNode) -> str:
    for name, campaign in graph.campaigns(node):
        if not campaign.is_terminated:
            return f"{name}, campaign {campaign.pk}"
    for child in graph.running(node):
        for prefix, stage in STAGES:
            if graph.kind(child).startswith(prefix):
                return f"{stage} ({graph.kind(child)} {child.pk})"
    return "between two steps" if graph.children(node) else "starting"


def _state(node: ProcessNode) -> str:
    """Return in a word or two how a campaign is: that of AiiDA says that it waits for its steps."""
    if node.is_finished_ok:
        return "converged"
    if node.is_finished:
        return "not converged" if node.exit_status in UNCONVERGED else "failed"
    state = "created" if node.process_state is None else str(node.process_state.value)
    if state in ("running", "waiting"):
        return "paused" if node.paused else "running"
    return state


def _outcome(node: ProcessNode) -> str:
    """Return why a campaign ended as it did; nothing where it converged."""
    if node.is_finished_ok:
        return ""
    if node.is_finished:
        return f"{node.exit_message} (exit code {node.exit_status})"
    return str(node.exception or node.process_status or "")


def _thousandfold(value: float | None) -> float | None:
    return None if value is None else 1000 * value
