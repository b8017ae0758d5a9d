"""A campaign on one page: labels, potentials, simulations and decisions, and what led to what."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiida.orm import ProcessNode

from aiida_mlal.ml.configurations import OK
from aiida_mlal.report import graph
from aiida_mlal.report.figures import BLACK, BLUE, GREEN, GREY, ORANGE, PINK
from aiida_mlal.report.numbers import CampaignReport, collect

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS = 14
"""Iterations that are drawn: of more, those in the middle are left out."""
WIDTH, HEIGHT = 2.35, 0.62
"""Of a box, in units of the axes: 1 is the distance of two rows."""
COLUMNS = (
    ("potential", BLUE),
    ("simulation", GREEN),
    ("decision", PINK),
    ("labels", ORANGE),
)
STEP = 2.8


@dataclass(frozen=True)
class Iteration:
    """What an iteration made: the words of a box for each column, where there is one."""

    number: int
    boxes: dict[str, str]


def iterations(node: ProcessNode, report: CampaignReport) -> list[Iteration]:
    """Return the iterations of a campaign, the labels before the first one as number 0."""
    found: dict[int, dict[str, str]] = {}
    learned = {row["iteration"]: row["learnable"] for row in report.curve}
    for number, potential in graph.potentials(node):
        before = learned.get(number - 1)
        more = "" if before is None else f"\nlearned from {before} labels"
        found.setdefault(number, {})["potential"] = f"potential {potential.pk}{more}"
    for number in sorted({run.iteration for run in report.runs}):
        runs = [run for run in report.runs if run.iteration == number]
        there = sum(run.converged for run in runs)
        what = (
            f"{runs[0].reason}, {runs[0].steps} steps"
            if len(runs) == 1
            else f"{there} of {len(runs)} to their aim"
        )
        found.setdefault(number, {})["simulation"] = f"{_many(len(runs), 'run')}\n{what}"
    for number, selection in graph.selections(node):
        told = selection.base.attributes
        words = f"decision {selection.pk}: {told.get('strategy')['name']}"
        found.setdefault(number, {})["decision"] = (
            f"{words}\n{told.get('n_selected')} of {told.get('n_pool')} chosen"
        )
    for batch in graph.labelled(node):
        good = int((batch.dataset.configurations.status == OK).sum())
        found.setdefault(batch.iteration, {})["labels"] = (
            f"{_many(len(batch.dataset), 'label')}, {good} ok\ndata set {batch.dataset.pk}"
        )
    return [Iteration(number, found[number]) for number in sorted(found)]


def draw_diagram(node: ProcessNode) -> "Figure":
    """Draw a campaign, one row for each iteration; time goes to the right and down."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    report = collect(node)
    steps = iterations(node, report)
    left_out = max(0, len(steps) - MOST_ROWS)
    if left_out:
        steps = [*steps[: MOST_ROWS // 2], *steps[-MOST_ROWS // 2 :]]
    figure = Figure(figsize=(9.6, 1.2 + 0.75 * (len(steps) + bool(left_out))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_axis_off()
    rows = _places(steps, left_out)
    for step, y in zip(steps, rows, strict=True):
        axes.text(-WIDTH / 2 - 0.3, y, str(step.number), ha="right", va="center", color=GREY)
        _draw_row(axes, step, y)
    for (one, y), (other, below) in zip(
        zip(steps, rows, strict=True), list(zip(steps, rows, strict=True))[1:], strict=False
    ):
        _lead_on(axes, one, y, other, below)
    if left_out:
        middle = rows[MOST_ROWS // 2] + 1.0
        axes.text(1.5 * STEP, middle, f"{left_out} more iterations", ha="center", va="center")
    last = rows[-1] if rows else 0.0
    axes.text(
        -WIDTH / 2, last - 0.75, _ending(report), va="top", color=BLACK, fontsize=9, wrap=True
    )
    axes.set_xlim(-WIDTH / 2 - 0.8, 3 * STEP + WIDTH / 2 + 0.5)
    axes.set_ylim(last - 1.3, 0.8)
    title = f"{report.system}: campaign {report.pk}, {report.process}"
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    return figure


def _places(steps: Sequence[Iteration], left_out: int) -> list[float]:
    """Return the height of each row, with a gap where some are left out."""
    gap = [1.0 if left_out and i >= MOST_ROWS // 2 else 0.0 for i in range(len(steps))]
    return [-i - extra for i, extra in enumerate(gap)]


def _draw_row(axes: "Axes", step: Iteration, y: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    before: float | None = None
    for column, (name, colour) in enumerate(COLUMNS):
        if name not in step.boxes:
            continue
        x = column * STEP
        axes.add_patch(
            FancyBboxPatch(
                (x - WIDTH / 2, y - HEIGHT / 2), WIDTH, HEIGHT,
                boxstyle="round,pad=0,rounding_size=0.08", fc=colour, ec=colour, alpha=0.18,
            )
        )  # fmt: skip
        axes.text(x, y, step.boxes[name], ha="center", va="center", fontsize=8, color=BLACK)
        if before is not None:
            _arrow(axes, (before + WIDTH / 2, y), (x - WIDTH / 2, y))
        before = x


def _lead_on(axes: "Axes", one: Iteration, y: float, other: Iteration, below: float) -> None:
    """Draw the way from the labels of an iteration to the first box of the next."""
    ends = [column for column, (name, _) in enumerate(COLUMNS) if name in one.boxes]
    starts = [column for column, (name, _) in enumerate(COLUMNS) if name in other.boxes]
    if not ends or not starts:
        return
    x, to, half = ends[-1] * STEP, starts[0] * STEP, y - HEIGHT / 2 - 0.19
    axes.plot([x, x, to], [y - HEIGHT / 2, half, half], color=GREY, lw=1)
    _arrow(axes, (to, half), (to, below + HEIGHT / 2))


def _arrow(axes: "Axes", start: tuple[float, float], end: tuple[float, float]) -> None:
    style: Any = {"arrowstyle": "-|>", "color": GREY, "lw": 1, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style)


def _ending(report: CampaignReport) -> str:
    return f"{report.labels} labels, {report.outcome}"


def _many(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
