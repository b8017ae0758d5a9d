"""What several stops say together."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.simulation.stopped import of_run
from aiida_mlal.ml.stops.base import Allowance, Stop, Verdict
from aiida_mlal.ml.stops.state import State


def parse(values: Any) -> list[Stop]:
    """Build stops from ``[{"name": ..., **options}, ...]``.

    Raises
    ------
    ValueError
        For wrong names and options, and if nothing would end a campaign that does not converge.
    """
    if isinstance(values, (str, Mapping)) or not isinstance(values, Sequence):
        raise ValueError(f"stop: expected a list of stops, got {values!r}")
    stops: list[Stop] = [
        plugins.make("stops", value, f"stop[{i}]") for i, value in enumerate(values)
    ]
    if not any(stop.bounds for stop in stops):
        raise ValueError(
            "stop: nothing ends a campaign that does not converge, add "
            "{'name': 'iterations', 'n': ...} or {'name': 'labels', 'n': ...}"
        )
    return stops


def decide(stops: Sequence[Stop], state: State) -> Verdict:
    """Return one verdict of several stops: converged if one says so, else exhausted if one does."""
    verdicts = []
    for stop in stops:
        with plugins.named("stops", stop):
            verdicts.append(stop.judge(state))
    for outcome in ("converged", "exhausted"):
        reasons = [verdict.reason for verdict in verdicts if verdict.outcome == outcome]
        if reasons:
            return Verdict(outcome, "; ".join(reasons))
    return Verdict("go on", "; ".join(verdict.reason for verdict in verdicts))


def are_met_by(
    stops: Sequence[Stop],
    runs: Sequence[Mapping[str, Any]],
    trajectory: Configurations | None = None,
    dataset: Configurations | None = None,
) -> bool:
    """Whether simulations went so well that none of their frames wants a label.

    Stops are asked that look at how simulations went, or at the labels of their last frames, which
    may be in the data set already.
    """
    nothing = Configurations.empty()
    known = {"trajectory": trajectory or nothing, "dataset": dataset or nothing}
    asked = [stop for stop in stops if stop.looks_at and stop.looks_at <= {"runs", "ends"}]
    return bool(asked) and decide(asked, State.ahead(runs=runs, **known)).outcome == "converged"


def met_runs(
    stops: Sequence[Stop],
    runs: Sequence[Mapping[str, Any]],
    trajectory: Configurations,
    dataset: Configurations,
) -> list[int]:
    """Return the simulations each of which alone would end the campaign (see ``are_met_by``)."""
    return [
        number
        for number, run in enumerate(runs)
        if are_met_by(stops, [run], of_run(trajectory, number), dataset)
    ]


def are_worth_labels(stops: Sequence[Stop], scores: Sequence[float]) -> bool:
    """Whether structures chosen by these scores are worth their labels."""
    asked = [stop for stop in stops if stop.looks_at == {"scores"}]
    return not asked or decide(asked, State.ahead(scores=scores)).outcome == "go on"


def labels_left(stops: Iterable[Stop], n_labels: int) -> int | None:
    """Return the number of further labels that the stops allow; ``None`` without a limit."""
    return allowance(stops, State.ahead(n_labels=n_labels)).labels


def structures_left(stops: Iterable[Stop], n_learnable: int) -> int | None:
    """Return the number of further structures to learn from; ``None`` without a limit."""
    return allowance(stops, State.ahead(foreseen=n_learnable)).structures


def allowance(stops: Iterable[Stop], state: State) -> Allowance:
    """Return the smallest allowance of all stops."""
    allowed = []
    for stop in stops:
        with plugins.named("stops", stop):
            allowed.append(stop.allowance(state))
    return Allowance(
        labels=min((a.labels for a in allowed if a.labels is not None), default=None),
        structures=min((a.structures for a in allowed if a.structures is not None), default=None),
        iterations=min((a.iterations for a in allowed if a.iterations is not None), default=None),
    )
