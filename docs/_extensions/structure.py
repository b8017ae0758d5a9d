"""Draws ``structure.svg``: the folders of the package, and which of them import which."""

import ast
from collections import defaultdict
from pathlib import Path

import matplotlib
from sphinx.application import Sphinx

import aiida_mlal

PACKAGE = Path(aiida_mlal.__file__).parent
NAME = PACKAGE.name


def folder(module: str) -> str:
    """Return the folder of a module, as it is named in the picture."""
    path = module.split(".")[1:]
    if not path:
        return ""
    if path[0] != "ml":
        return path[0] if (PACKAGE / path[0]).is_dir() else ""
    inside = path[1] if len(path) > 1 else "__init__"
    return f"ml/{inside}" if (PACKAGE / "ml" / inside).is_dir() else f"ml/{inside}.py"


def imports() -> dict[str, set[str]]:
    """Return the folders that each folder imports when it is loaded."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        module = ".".join([NAME, *path.relative_to(PACKAGE).with_suffix("").parts])
        mine = folder(module.removesuffix(".__init__"))
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(NAME):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                for theirs in map(folder, [node.module or "", *names]):
                    if theirs and mine and theirs != mine:
                        found[mine].add(theirs)
    return {name: targets for name, targets in together(found).items() if targets}


def together(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the same, files of ``ml/`` in two boxes: those that import no folder, and the rest."""
    files = {n for n in (*graph, *(t for s in graph.values() for t in s)) if n.endswith(".py")}
    basic = set(files)
    while low := {n for n in basic if graph.get(n, set()) - basic}:
        basic -= low
    names = dict.fromkeys(basic, "ml, files below") | dict.fromkeys(
        files - basic, "ml, files above"
    )
    found: dict[str, set[str]] = defaultdict(set)
    for name, targets in graph.items():
        mine = names.get(name, name)
        found[mine] |= {names.get(target, target) for target in targets} - {mine}
    return found


def layers(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the folders in rows: each above what it imports, those in a circle side by side."""
    reach: dict[str, set[str]] = {}
    names = sorted({*graph, *(name for targets in graph.values() for name in targets)})
    for name in names:
        seen, pending = set(), [name]
        while pending:
            for target in graph.get(pending.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    pending.append(target)
        reach[name] = seen
    height: dict[str, int] = {}

    def high(name: str) -> int:
        if name not in height:
            below = [n for n in reach[name] if name not in reach[n]]
            height[name] = 1 + max(map(high, below), default=-1)
        return height[name]

    rows: dict[int, list[str]] = defaultdict(list)
    for name in names:
        rows[high(name)].append(name)
    return [rows[level] for level in sorted(rows, reverse=True)]


def draw(target: Path) -> None:
    """Write the picture."""
    matplotlib.use("svg")
    from matplotlib.figure import Figure

    graph = imports()
    rows = layers(graph)
    figure = Figure(figsize=(11, 1.05 * len(rows)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    places = {
        name: ((i + 1) / (len(row) + 1), -float(level))
        for level, row in enumerate(rows)
        for i, name in enumerate(row)
    }
    reduced = {
        (mine, theirs)
        for mine, targets in graph.items()
        for theirs in targets
        if not any(theirs in graph.get(other, ()) for other in targets - {theirs})
    }
    for mine, theirs in sorted(reduced):
        (x, y), (u, v) = places[mine], places[theirs]
        arrow = {"arrowstyle": "-|>", "color": "0.6", "shrinkA": 12, "shrinkB": 12}
        axes.annotate("", (u, v), (x, y), arrowprops=arrow)
    for name, (x, y) in places.items():
        colour = "#dce9f7" if name.startswith("ml") else "#f7e6d4"
        box = {"boxstyle": "round,pad=0.5", "facecolor": colour, "edgecolor": "0.4"}
        axes.text(x, y, name, ha="center", va="center", fontsize=11, bbox=box)
    axes.set_xlim(0, 1)
    axes.set_ylim(-len(rows) + 0.4, 0.6)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target)


def setup(app: Sphinx) -> dict[str, bool]:
    """Draw it before pages are read."""
    draw(Path(app.srcdir) / "images" / "generated" / "structure.svg")
    return {"parallel_read_safe": True}
