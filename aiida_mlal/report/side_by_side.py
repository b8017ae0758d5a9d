"""Several campaigns in one table."""

from collections.abc import Callable, Sequence
from typing import Any

from aiida_mlal.report.numbers import CampaignReport
from aiida_mlal.report.words import digits, flat, seconds

Row = tuple[str, list[str]]
"""A name, and what each campaign has there."""


def rows(reports: Sequence[CampaignReport]) -> list[Row]:
    """Tabulate the results of campaigns, and the options in which they differ."""
    results = [(name, [value(report) for report in reports]) for name, value in _RESULTS]
    options = [dict(flat(report.options)) for report in reports]
    names = dict.fromkeys(name for one in options for name in one)
    differing = [(name, [one.get(name, "–") for one in options]) for name in names]
    return [row for row in results if any(value != "–" for value in row[1])] + [
        row for row in differing if len(set(row[1])) > 1
    ]


def _last(*path: str, factor: float = 1.0) -> Callable[[CampaignReport], str]:
    """Return a function that reads the last row of the learning curve."""

    def read(report: CampaignReport) -> str:
        value: Any = report.curve[-1] if report.curve else None
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return digits(None if value is None else factor * value)

    return read


def _end_energy(report: CampaignReport) -> str:
    return digits(float(report.ends.energies[0]), 8) if len(report.ends) else "–"


def _barrier(report: CampaignReport) -> str:
    heights = [path["labelled_barrier"] or path["barrier"] for path in report.paths]
    return ", ".join(digits(height, 4) for height in heights) or "–"


def _failed(report: CampaignReport) -> str:
    return str(sum(query.status != "ok" for query in report.queries))


_RESULTS: tuple[tuple[str, Callable[[CampaignReport], str]], ...] = (
    ("campaign", lambda report: f"{report.pk} {report.label}".strip()),
    ("process", lambda report: report.process),
    ("system", lambda report: report.system),
    ("outcome", lambda report: report.outcome),
    ("labels", lambda report: str(report.labels)),
    ("labels without a use", _failed),
    ("iterations", lambda report: str(report.iterations)),
    ("labelled force, eV/Å", _last("oracle_fmax")),
    ("labelled energy of end 0, eV", _end_energy),
    ("barrier, eV", _barrier),
    ("test: force RMSE, eV/Å", _last("test", "force_rmse")),
    ("test: energy MAE, meV/atom", _last("test", "energy_mae", factor=1000.0)),
    ("last new labels: force MAE, eV/Å", _last("errors", "force_mae")),
    ("last new labels: energy MAE, meV/atom", _last("errors", "energy_mae", factor=1000.0)),
    ("largest uncertainty", _last("uncertainty_max")),
    ("programs that made labels", lambda report: seconds(report.label_seconds)),
    ("programs of any kind", lambda report: seconds(report.busy)),
    ("wall time", lambda report: seconds(report.wall)),
)
