"""Pictures of structures: three views, with bonds and cell."""

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from jaxtyping import Float

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.neighbours import edge_vectors, neighbours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RADIUS = 0.7
"""Of an atom in a picture, as a share of its covalent radius."""
BOND = 1.15
"""Atoms within this share of the sum of their covalent radii are shown as bonded."""
MOST_BONDED = 500
"""Of structures with more atoms no bonds are shown."""


@dataclass(frozen=True)
class View:
    """A direction to look from, and the axes that then point to the right and up."""

    name: str
    right: int
    up: int
    towards: int
    sign: float


VIEWS = (
    View("from above, along −z", 0, 1, 2, 1.0),
    View("from the front, along +y", 0, 2, 1, -1.0),
    View("from the right, along −x", 1, 2, 0, 1.0),
)


def draw_structure(structure: Configurations) -> "Figure":
    """Draw one structure from three sides, atoms in the colours of Jmol, fixed ones crossed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    positions = wrapped(structure)
    reach = float(covalent_radii[structure.numbers].max(initial=1.0))
    low, high = positions.min(axis=0) - reach, positions.max(axis=0) + reach
    sizes = high - low
    figure = Figure(figsize=(9.0, 3.4), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    widths = [sizes[view.right] for view in VIEWS]
    for axes, view in zip(figure.subplots(1, len(VIEWS), width_ratios=widths), VIEWS, strict=True):
        _draw(axes, structure, positions, view)
        axes.set_xlim(low[view.right], high[view.right])
        axes.set_ylim(low[view.up], high[view.up])
        axes.set_aspect("equal")
        axes.set_axis_off()
        axes.set_title(view.name, fontsize=9, color="#555555")
    _legend(figure, structure)
    return figure


def wrapped(structure: Configurations) -> Float[np.ndarray, "atoms 3"]:
    """Return positions within the cell in its periodic directions, those at its faces kept."""
    atoms = structure.to_ase()[0]
    if atoms.pbc.any() and abs(np.linalg.det(atoms.cell.complete())) > 0:
        atoms.wrap(eps=0.02)
    positions: np.ndarray = atoms.positions
    return positions


def bonds(structure: Configurations) -> list[tuple[int, int]]:
    """Return pairs of atoms with a bond that doesn't leave the cell."""
    if len(structure.numbers) > MOST_BONDED:
        return []
    positions, radii = wrapped(structure), covalent_radii[structure.numbers]
    cutoff = BOND * 2 * float(radii.max(initial=0.1))
    cell = np.zeros((3, 3))
    edges, shifts = neighbours(positions, cell, np.zeros(3, bool), cutoff)
    distances = np.linalg.norm(edge_vectors(positions, cell, edges, shifts), axis=1)
    near = (distances < BOND * radii[edges].sum(axis=0)) & (edges[0] < edges[1])
    return [(int(a), int(b)) for a, b in edges[:, near].T]


def colour(number: int) -> str:
    """Return the colour of an element."""
    return "#" + "".join(f"{round(255 * part):02x}" for part in jmol_colors[number])


def _draw(axes: "Axes", structure: Configurations, positions: np.ndarray, view: View) -> None:
    from matplotlib.patches import Circle

    flat = positions[:, [view.right, view.up]]
    depth = view.sign * positions[:, view.towards]
    for a, b in bonds(structure):
        axes.plot(
            *flat[[a, b]].T,
            color="#888888",
            lw=2.5,
            zorder=2 + _rank(min(depth[a], depth[b]), depth),
        )
    fixed = set(np.flatnonzero(structure.fixed.all(axis=1)).tolist())
    for i in np.argsort(depth):
        order = 2 + _rank(depth[i], depth) + 1e-4
        number = int(structure.numbers[i])
        radius = RADIUS * covalent_radii[number]
        for share, where, white in ((1.0, 0.0, 0.0), (0.45, 0.28, 0.45)):
            axes.add_patch(
                Circle(
                    tuple(flat[i] + where * radius * np.array([-1.0, 1.0])),
                    share * radius,
                    facecolor=_lighter(number, white),
                    edgecolor="#333333" if white == 0 else "none",
                    lw=0.6,
                    zorder=order + 1e-5 * white,
                )
            )
        if i in fixed:
            axes.plot(*flat[i], "x", color="#333333", ms=4, mew=0.7, zorder=order + 1e-4)
    for line in _cell_edges(structure):
        axes.plot(*line[:, [view.right, view.up]].T, color="#999999", lw=0.8, ls="--", zorder=1)


def _rank(value: float, depth: np.ndarray) -> float:
    """Scale a depth to its share of the range of all, between 0 and 1."""
    span = float(np.ptp(depth)) or 1.0
    return float(value - depth.min()) / span


def _lighter(number: int, white: float) -> Any:
    return tuple(float(part) for part in (1 - white) * jmol_colors[number] + white)


def _corners(structure: Configurations) -> np.ndarray:
    """Return the corners of the cell; none where nothing is periodic."""
    if not structure.pbc[0].any():
        return np.empty((0, 3))
    return np.array(list(product((0.0, 1.0), repeat=3))) @ structure.cells[0]


def _cell_edges(structure: Configurations) -> list[np.ndarray]:
    corners = _corners(structure)
    pairs = [(a, a | bit) for a in range(len(corners)) for bit in (1, 2, 4) if not a & bit]
    return [corners[[a, b]] for a, b in pairs]


def _legend(figure: "Figure", structure: Configurations) -> None:
    from matplotlib.lines import Line2D

    present = [int(z) for z in np.unique(structure.numbers)]
    dots: list[Any] = [
        Line2D([], [], marker="o", ls="", ms=8, mfc=colour(z), mec="#333333", mew=0.6)
        for z in present
    ]
    names = [chemical_symbols[z] for z in present]
    if structure.fixed.any():
        dots.append(Line2D([], [], marker="x", ls="", ms=5, color="#333333"))
        names.append("held in place")
    figure.legend(dots, names, loc="outside lower center", ncols=6, frameon=False, fontsize=9)
