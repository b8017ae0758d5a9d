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


PANEL = (4.6, 3.7)
"""Size in inches of a figure, two of which stand beside each other on a screen."""
MOST_LINKS = 3000
"""Points of a figure that are links to structures."""
OVERLAP = 0.7
"""Of the sum of covalent radii: nearer atoms are no bond."""


def draw(report: CampaignReport) -> Iterator[tuple[str, "Figure"]]:
    """Yield the name of each figure for which there is something to draw, and the figure."""
    for name, function, there in FIGURES:
        if there(report):
            with _style():
                yield name, function(report)


def learning_curve(report: CampaignReport) -> "Figure":
    """Draw what the campaign came to against labels paid.

    That are errors on a test set where there is one, labelled forces at the end of simulations
    where there are any, or else how many simulations were interrupted by their guard.
    """
    figure, axes = _subplots(1, 1, figsize=PANEL)
    rows = report.curve
    if any(row.get("test") for row in rows):
        _test_errors(axes, report)
    elif (
        any(row.get("interrupted") for row in rows)
        and not report.direct
        and not any(row.get("oracle_fmax") for row in rows)
    ):
        _interruptions(axes, report)
    else:
        _ends(axes, report, "force", "fmax", "oracle_fmax", "eV/Å")
    _whole_numbers(axes)
    return figure


def stress(report: CampaignReport) -> "Figure":
    """Draw the labelled stress at the end of simulations that move the cell."""
    figure, axes = _subplots(1, 1, figsize=PANEL)
    _ends(axes, report, "stress", "smax_GPa", "oracle_smax_GPa", "GPa")
    _whole_numbers(axes)
    return figure


def errors(report: CampaignReport) -> "Figure":
    """Draw errors on labels that had not been learned yet, against labels paid."""
    figure, axes = _subplots(1, 1, figsize=PANEL)
    axes.set_title("Errors before a label was learned")
    rows = report.curve
    for key, name, colour, marker in (
        ("force_mae", "forces, eV/Å", BLUE, "o"),
        ("energy_mae", "energies, eV/atom", ORANGE, "s"),
    ):
        x, y = _present([(row["labels"], row["errors"].get(key)) for row in rows])
        if len(x):
            axes.plot(x, y, marker=marker, color=colour, label=f"MAE of {name}")
    x, y = _present([(row["labels"], row.get("uncertainty_max")) for row in rows])
    if len(x):
        axes.plot(x, y, marker="^", ls=":", color=GREEN, label="largest uncertainty")
    axes.set_xlabel("labels")
    _log(axes)
    _legend(axes)
    _whole_numbers(axes)
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
    figure, panels = _subplots(n, 1, figsize=(PANEL[0], PANEL[1] * n))
    for axes, path in zip(np.atleast_1d(panels), report.paths, strict=True):
        x, y = np.array(path["coordinates"]), np.array(path["energies"])
        dense = np.linspace(x[0], x[-1], 200)
        axes.plot(dense, CubicHermiteSpline(x, y, path["slopes"])(dense), color=BLUE)
        known = [label for label in path["labelled"] if label["energy"] is not None]
        told = np.isin(np.arange(len(x)), [label["image"] for label in known])
        if told.any():
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


def parity_energy(report: CampaignReport) -> "Figure":
    """Draw predicted energies against labels that the potential had not seen."""
    figure, axes = _subplots(1, 1, figsize=PANEL)
    axes.set_title("Energies, before they were learned")
    pairs = report.parity.energies
    _parity(axes, pairs, "eV/atom", 0.01)
    iterations = report.parity.iterations
    dots = axes.scatter(pairs[:, 1], pairs[:, 0], c=iterations, cmap="viridis", s=36, zorder=3)
    _link(dots, report.parity.queries)
    _bar(figure, axes, dots, iterations)
    return figure


def parity_forces(report: CampaignReport) -> "Figure":
    """Draw predicted components of forces against labels that the potential had not seen."""
    figure, axes = _subplots(1, 1, figsize=PANEL)
    axes.set_title("Forces, before they were learned")
    pairs = report.parity.forces
    _parity(axes, pairs, "eV/Å", 0.1)
    dots = axes.scatter(pairs[:, 1], pairs[:, 0], s=14, color=BLUE, alpha=0.5, lw=0, zorder=3)
    _link(dots, report.parity.of_forces)
    return figure


def _parity(axes: "Axes", pairs: np.ndarray, unit: str, linear: float) -> None:
    """Draw the diagonal and axes for pairs of predictions and labels.

    What the first potentials predict is far off, and would hide all that comes later: axes are
    logarithmic beyond ``linear``.
    """
    low, high = min(pairs.min(), -linear), max(pairs.max(), linear)
    span = (1.5 * low, 1.5 * high)
    axes.axline((0, 0), slope=1, color=GREY, lw=1)
    mae = np.abs(pairs[:, 0] - pairs[:, 1]).mean()
    axes.text(0.04, 0.95, f"MAE {mae:.3g} {unit}", transform=axes.transAxes, fontsize=9, va="top")
    decades = linear * 10.0 ** np.arange(7)
    ticks = [t for t in (*-decades[::-1], 0.0, *decades) if span[0] <= t <= span[1]]
    for scale, axis in ((axes.set_xscale, axes.xaxis), (axes.set_yscale, axes.yaxis)):
        scale("symlog", linthresh=linear)
        axis.set_ticks(ticks, [_plain(tick) for tick in ticks])
        axis.set_minor_locator(_nothing())
    axes.set_xlim(*span)
    axes.set_ylim(*span)
    axes.set_aspect("equal")
    axes.set_xlabel(f"label, {unit}")
    axes.set_ylabel(f"prediction, {unit}")


def uncertainty(report: CampaignReport) -> "Figure":
    """Draw what the potential said of its error, and the error."""
    figure, axes = _subplots(1, 1, figsize=PANEL)
    points = report.parity.uncertainty
    good = np.isfinite(points).all(axis=1) & (points > 0).all(axis=1)
    points, iterations = points[good], report.parity.iterations[good]
    low, high = points.min() / 2, points.max() * 2
    axes.plot([low, high], [low, high], color=GREY, lw=1, label="error = uncertainty")
    dots = axes.scatter(points[:, 0], points[:, 1], c=iterations, cmap="viridis", s=36, zorder=3)
    _link(dots, report.parity.queries[good])
    _bar(figure, axes, dots, iterations)
    axes.set_xlabel("uncertainty, eV/Å")
    axes.set_ylabel("largest force error, eV/Å")
    axes.set_title("Uncertainty and error of new labels")
    _log(axes, "x")
    _log(axes)
    _legend(axes)
    return figure


def contacts(report: CampaignReport) -> "Figure":
    """Draw the smallest distance of two atoms along a simulation, against covalent radii."""
    figure, axes = _subplots(1, 1, figsize=PANEL)
    axes.set_title("Closest atoms in the last simulation")
    axes.plot(np.arange(len(report.contacts)), report.contacts, color=BLUE, marker=".")
    axes.axhline(1.0, color=BLACK, lw=1, ls="--", label="a bond")
    axes.axhspan(0.0, OVERLAP, color=ORANGE, alpha=0.15, lw=0, label="atoms overlap")
    axes.set_ylim(0.5, max(1.3, 1.05 * np.nanmax(report.contacts)))
    axes.set_xlabel("frame of the first run")
    axes.set_ylabel("distance / sum of covalent radii")
    _legend(axes)
    _whole_numbers(axes)
    return figure


def _link(dots: Any, queries: np.ndarray) -> None:
    """Make each point of a figure a link to its query; where there are many, an image of them."""
    if len(queries) > MOST_LINKS:
        dots.set_rasterized(True)
    else:
        dots.set_urls([f"#query-{i}" for i in queries])


def _bar(figure: "Figure", axes: "Axes", dots: Any, iterations: np.ndarray) -> None:
    if len(set(iterations)) > 1:
        bar = figure.colorbar(dots, ax=axes, label="iteration", shrink=0.8)
        cast(Any, bar.ax.yaxis.get_major_locator()).set_params(integer=True)


def timings(report: CampaignReport) -> "Figure":
    """Draw the seconds in which programs ran, and the rest, for each type of process."""
    rows = [t for t in report.timings if t.computing is not None][::-1]
    figure, axes = _subplots(1, 1, figsize=(6.5, 1.4 + 0.36 * (len(rows) + 1)))
    names = [f"{t.process} ×{t.count}" for t in rows] + ["the campaign"]
    computing = [t.computing or 0.0 for t in rows] + [report.busy]
    rest = [max(0.0, t.wall - (t.computing or 0.0)) for t in rows] + [report.overhead]
    axes.barh(names, computing, color=BLUE, label="programs run")
    axes.barh(names, rest, left=computing, color=SKY, label="AiiDA, start of programs")
    axes.set_xlabel("seconds")
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def _has_contacts(report: CampaignReport) -> bool:
    return bool(np.isfinite(report.contacts).any())


def _has_stress(report: CampaignReport) -> bool:
    return report.cell_moves and _has_curve(report)


def _has_errors(report: CampaignReport) -> bool:
    return any(row["errors"] or row.get("uncertainty_max") for row in report.curve)


def _has_forces(report: CampaignReport) -> bool:
    return bool(len(report.parity.forces))


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
    ("stress", stress, _has_stress),
    ("errors", errors, _has_errors),
    ("parity_energy", parity_energy, _has_parity),
    ("parity_forces", parity_forces, _has_forces),
    ("uncertainty", uncertainty, _has_uncertainty),
    ("contacts", contacts, _has_contacts),
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


def _log(axes: "Axes", which: str = "y") -> None:
    """Use a logarithmic scale, ticks with their values, if there is anything that it can show."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    values = [np.asarray(line.get_data()[which == "y"], float) for line in axes.get_lines()]
    positive = np.concatenate([np.ravel(v)[np.ravel(v) > 0] for v in values] or [np.empty(0)])
    if not len(positive):
        return
    axis = axes.yaxis if which == "y" else axes.xaxis
    (axes.set_yscale if which == "y" else axes.set_xscale)("log")
    decades = np.log10(positive.max() / positive.min())
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))
    axis.set_minor_formatter(_no_words())


def _plain(value: float) -> str:
    """Return a number as a tick shows it."""
    return f"{value:g}".replace("-", "−")


def _nothing() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()


def _no_words() -> Any:
    from matplotlib.ticker import NullFormatter

    return NullFormatter()


def _legend(axes: "Axes") -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


def _whole_numbers(*panels: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    for axes in panels:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
