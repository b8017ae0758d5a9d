"""Figures of a campaign."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from aiida_mlal.report.numbers import CampaignReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PINK, SKY, BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#222222",
)
"""Of the palette of Okabe and Ito, which everybody can tell apart."""
GREY = "#8A8A8A"

STYLE: dict[str, Any] = {
    "figure.dpi": 150,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": BLACK,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


def draw(report: CampaignReport) -> Iterator[tuple[str, "Figure"]]:
    """Yield the name of each figure for which there is something to draw, and the figure."""
    for name, function, there in FIGURES:
        if there(report):
            with _style():
                yield name, function(report)


def learning_curve(report: CampaignReport) -> "Figure":
    """Draw errors on what was new against labels paid.

    Beside them: errors on a test set where there is one, labelled forces at the end of simulations
    where there are any, or else how many simulations were interrupted by their guard.
    """
    n = 3 if report.cell_moves else 2
    figure, panels = _subplots(1, n, figsize=(4.5 * n, 3.7))
    left, right = panels[0], panels[-1]
    rows = report.curve
    if any(row.get("test") for row in rows):
        _test_errors(left, report)
    elif (
        any(row.get("interrupted") for row in rows)
        and not report.direct
        and not any(row.get("oracle_fmax") for row in rows)
    ):
        _interruptions(left, report)
    else:
        _ends(left, report, "force", "fmax", "oracle_fmax", "eV/Å")
    if report.cell_moves:
        _ends(panels[1], report, "stress", "smax_GPa", "oracle_smax_GPa", "GPa")
    right.set_title("Errors before a label was learned")
    for key, name, colour, marker in (
        ("force_mae", "forces, eV/Å", BLUE, "o"),
        ("energy_mae", "energies, eV/atom", ORANGE, "s"),
    ):
        points = [(row["labels"], row["errors"].get(key)) for row in rows]
        x, y = _present(points)
        if len(x):
            right.plot(x, y, marker=marker, color=colour, label=f"MAE of {name}")
    x, y = _present([(row["labels"], row.get("uncertainty_max")) for row in rows])
    if len(x):
        right.plot(x, y, marker="^", ls=":", color=GREEN, label="largest uncertainty")
    right.set_xlabel("labels")
    _log(right)
    _legend(right)
    _whole_numbers(*panels)
    return figure


def _test_errors(axes: "Axes", report: CampaignReport) -> None:
    axes.set_title("Errors of forces on the test set")
    for key, name, colour, marker in (
        ("force_max", "largest", ORANGE, "^"),
        ("force_rmse", "root mean square", GREEN, "s"),
        ("force_mae", "mean absolute", BLUE, "o"),
    ):
        points = [(row["trained_on"], (row.get("test") or {}).get(key)) for row in report.curve]
        x, y = _present(points)
        if len(x):
            axes.plot(x, y, marker=marker, color=colour, label=name)
    axes.set_xlabel("structures learned from")
    axes.set_ylabel("eV/Å")
    _log(axes)
    _legend(axes)


def _interruptions(axes: "Axes", report: CampaignReport) -> None:
    axes.set_title("Simulations interrupted by their guard")
    numbers = [row["iteration"] for row in report.curve]
    axes.bar(numbers, [row["runs"] for row in report.curve], color=GREY, alpha=0.3, label="all")
    axes.bar(
        numbers,
        [row.get("interrupted", 0) for row in report.curve],
        color=BLUE,
        label="interrupted",
    )
    axes.set_xlabel("iteration")
    axes.set_ylabel("simulations")
    axes.legend(loc="upper left")
    x, y = _present([(row["iteration"], row.get("steps_min")) for row in report.curve])
    if len(x):
        steps = axes.twinx()
        steps.plot(x, y, marker="o", color=ORANGE, label="steps of the shortest")
        steps.set_ylim(bottom=0)
        steps.set_ylabel("steps")
        steps.legend(loc="lower right")


def _ends(
    axes: "Axes", report: CampaignReport, what: str, name: str, column: str, unit: str
) -> None:
    """Draw what labels say of the ends of simulations: a column of the learning curve."""
    axes.set_title(f"Labelled {what} at the end of the relaxation")
    limit: float | None = getattr(report, name)
    for direct, shade in zip(report.direct, (GREY, PINK, SKY), strict=False):
        values = getattr(direct, name)
        axes.plot(
            np.arange(1, len(values) + 1),
            values,
            color=shade,
            lw=1.2,
            label=f"{direct.name}: {direct.labels} labels",
        )
        axes.plot([direct.labels], values[-1:], marker="o", ms=4, color=shade)
    x, y = _present([(row["labels"], row.get(column)) for row in report.curve])
    if len(x):
        axes.plot(x, y, marker="o", color=BLUE, label=f"active learning: {report.labels} labels")
    if limit is not None:
        axes.axhline(limit, color=BLACK, lw=1, ls="--")
        axes.annotate(
            f"{limit:g} {unit}",
            (1, limit),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=8,
        )
    axes.set_xlabel("labels")
    axes.set_ylabel(f"largest {what}, {unit}")
    _log(axes)
    _legend(axes)


def paths(report: CampaignReport) -> "Figure":
    """Draw the profile of each path, with the labels of its images; hollow without a label."""
    from scipy.interpolate import CubicHermiteSpline

    n = len(report.paths)
    figure, panels = _subplots(1, n, figsize=(4.8 * n, 3.8))
    for axes, path in zip(np.atleast_1d(panels), report.paths, strict=True):
        x, y = np.array(path["coordinates"]), np.array(path["energies"])
        dense = np.linspace(x[0], x[-1], 200)
        axes.plot(dense, CubicHermiteSpline(x, y, path["slopes"])(dense), color=BLUE)
        known = [label for label in path["labelled"] if label["energy"] is not None]
        told = np.isin(np.arange(len(x)), [label["image"] for label in known])
        axes.plot(x[told], y[told], "o", color=BLUE, label="potential")
        if not told.all():
            axes.plot(x[~told], y[~told], "o", color=BLUE, mfc="white", label="without a label")
        axes.plot(
            [x[label["image"]] for label in known],
            [label["energy"] for label in known],
            "o", mfc="none", mec=ORANGE, mew=1.8, ms=11, label="label",
        )  # fmt: skip
        barrier = path["labelled_barrier"]
        kind = "labelled" if barrier is not None else "predicted"
        height = path["barrier"] if barrier is None else barrier
        axes.set_title(f"Path {path['run']}: {kind} barrier {height:.3f} eV")
        axes.set_xlabel("along the path, Å")
        axes.set_ylabel("energy, eV")
        axes.legend()
    return figure


def parity(report: CampaignReport) -> "Figure":
    """Draw predictions against labels that the potential had not seen."""
    figure, axes = _subplots(1, 2, figsize=(8.0, 3.8))
    for panel, pairs, what, unit, linear in (
        (axes[0], report.parity.energies, "Energy", "eV/atom", 0.01),
        (axes[1], report.parity.forces, "Force components", "eV/Å", 0.1),
    ):
        panel.set_title(what)
        if not len(pairs):
            panel.text(0.5, 0.5, "no predictions", transform=panel.transAxes, ha="center")
            continue
        low, high = min(pairs.min(), -linear), max(pairs.max(), linear)
        span = np.array([1.5 * low, 1.5 * high])
        panel.axline((0, 0), slope=1, color=GREY, lw=1)
        if what == "Energy":
            dots = panel.scatter(
                pairs[:, 1], pairs[:, 0], c=report.parity.iterations, cmap="viridis", s=32, zorder=3
            )
            if len(set(report.parity.iterations)) > 1:
                bar = figure.colorbar(dots, ax=panel, label="iteration")
                bar.ax.yaxis.get_major_locator().set_params(integer=True)
        else:
            panel.scatter(pairs[:, 1], pairs[:, 0], s=12, color=BLUE, alpha=0.5, lw=0, zorder=3)
        mae = np.abs(pairs[:, 0] - pairs[:, 1]).mean()
        panel.text(
            0.04, 0.93, f"MAE {mae:.3g} {unit}", transform=panel.transAxes, fontsize=9, va="top"
        )
        # what the first potentials predict is far off, and would hide all that comes later
        panel.set_xscale("symlog", linthresh=linear)
        panel.set_yscale("symlog", linthresh=linear)
        decades = 10 * linear * 10.0 ** np.arange(5)
        ticks = [t for t in (*-decades[::-1], 0.0, *decades) if span[0] <= t <= span[1]]
        panel.set_xticks(ticks)
        panel.set_yticks(ticks)
        panel.tick_params(axis="x", labelsize=8)
        panel.set_xlim(*span)
        panel.set_ylim(*span)
        panel.set_aspect("equal")
        panel.set_xlabel(f"label, {unit}")
        panel.set_ylabel(f"prediction, {unit}")
    return figure


def uncertainty(report: CampaignReport) -> "Figure":
    """Draw what the potential said of its error, and the error."""
    figure, axes = _subplots(1, 1, figsize=(4.6, 3.8))
    points = report.parity.uncertainty
    good = np.isfinite(points).all(axis=1) & (points > 0).all(axis=1)
    points, iterations = points[good], report.parity.iterations[good]
    low, high = points.min() / 2, points.max() * 2
    axes.plot([low, high], [low, high], color=GREY, lw=1, label="error = uncertainty")
    dots = axes.scatter(points[:, 0], points[:, 1], c=iterations, cmap="viridis", s=32, zorder=3)
    if len(set(iterations)) > 1:
        bar = figure.colorbar(dots, ax=axes, label="iteration")
        bar.ax.yaxis.get_major_locator().set_params(integer=True)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("uncertainty, eV/Å")
    axes.set_ylabel("largest force error, eV/Å")
    axes.set_title("Uncertainty and error of new labels")
    _legend(axes)
    return figure


def timings(report: CampaignReport) -> "Figure":
    """Draw the seconds in which programs ran, and the rest, for each type of process."""
    rows = [t for t in report.timings if t.computing is not None][::-1]
    figure, axes = _subplots(1, 1, figsize=(7.0, 0.9 + 0.42 * (len(rows) + 1)))
    names = [f"{t.process} ×{t.count}" for t in rows] + ["the campaign"]
    computing = [t.computing or 0.0 for t in rows] + [report.busy]
    rest = [max(0.0, t.wall - (t.computing or 0.0)) for t in rows] + [report.overhead]
    axes.barh(names, computing, color=BLUE, label="programs run")
    axes.barh(names, rest, left=computing, color=SKY, label="AiiDA, start of programs")
    axes.set_xlabel("seconds")
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower right")
    return figure


def _has_paths(report: CampaignReport) -> bool:
    return bool(report.paths)


def _has_curve(report: CampaignReport) -> bool:
    return bool(report.curve or report.direct)


def _has_parity(report: CampaignReport) -> bool:
    return bool(len(report.parity.energies))


def _has_uncertainty(report: CampaignReport) -> bool:
    points = report.parity.uncertainty
    return bool((np.isfinite(points).all(axis=1) & (points > 0).all(axis=1)).any())


def _has_timings(report: CampaignReport) -> bool:
    return any(timing.computing is not None for timing in report.timings)


FIGURES: tuple[
    tuple[str, Callable[[CampaignReport], "Figure"], Callable[[CampaignReport], bool]], ...
] = (
    ("paths", paths, _has_paths),
    ("learning_curve", learning_curve, _has_curve),
    ("parity", parity, _has_parity),
    ("uncertainty", uncertainty, _has_uncertainty),
    ("timings", timings, _has_timings),
)
"""Name, function, and whether there is something to draw."""


@contextmanager
def _style() -> Iterator[None]:
    from matplotlib import rc_context

    with rc_context(cast(Any, STYLE)):
        yield


def _subplots(*args: Any, **kwargs: Any) -> Any:
    """Return figure and axes that need no display, and that nobody must close."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=kwargs.pop("figsize"))
    FigureCanvasAgg(figure)
    return figure, figure.subplots(*args, **kwargs)


def _present(points: list[tuple[Any, Any]]) -> tuple[list[float], list[float]]:
    there = [(float(x), float(y)) for x, y in points if y is not None and np.isfinite(y)]
    return [x for x, _ in there], [y for _, y in there]


def _log(axes: "Axes") -> None:
    """Use a logarithmic scale if there is anything that it can show."""
    if any((np.asarray(line.get_ydata(), float) > 0).any() for line in axes.get_lines()):
        axes.set_yscale("log")


def _legend(axes: "Axes") -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


def _whole_numbers(*panels: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    for axes in panels:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
