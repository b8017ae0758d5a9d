"""Sizes and shape of the package: lines, copies, asking for concrete parts, public names.

    python benchmarks/structure/measure.py [FOLDER ...]

Each folder is a checkout; the table has one column for each.
"""

import ast
import statistics
import sys
from collections import defaultdict
from collections.abc import Container, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

COPIED = 6
"""As many lines that stand in two places are a copy."""

PARTS = ("models", "uncertainty", "selection", "simulation", "stops", "training", "labelling")
"""Where parts are that others could write as well."""


def main() -> None:
    """Print a table of all measures."""
    columns = [measure(Path(folder) / "aiida_mlal") for folder in sys.argv[1:] or ["."]]
    names = list(dict.fromkeys(name for column in columns for name in column))
    for name in names:
        print(f"{name:44}", *(f"{column.get(name, '-'):>10}" for column in columns))


def measure(package: Path) -> dict[str, object]:
    """Return all measures of a package."""
    files = {path.relative_to(package): path.read_text() for path in package.rglob("*.py")}
    trees = {path: ast.parse(text) for path, text in files.items()}
    sizes = {path: len(text.splitlines()) for path, text in files.items()}
    folders: dict[str, int] = defaultdict(int)
    for path, size in sizes.items():
        folders["/".join(path.parts[:2] if path.parts[0] == "ml" else path.parts[:1])] += size
    folders = {k: v for k, v in folders.items() if not k.endswith(".py")} | {
        "files beside folders": sum(v for k, v in folders.items() if k.endswith(".py"))
    }
    concrete = set(_concrete(trees))
    asked = [
        (path, name)
        for path, tree in trees.items()
        for name in _asked_for(tree)
        if name in concrete and name not in _defined(tree)
    ]
    return {
        "files": len(files),
        "lines": sum(sizes.values()),
        "lines of a file, median": statistics.median(sizes.values()),
        "lines of a file, largest": max(sizes.values()),
        "public names": sum(len(_public(tree)) for tree in trees.values()),
        "modules in an import cycle": _in_cycles(trees, package.name),
        "isinstance of concrete parts": len(asked),
        f"places that share {COPIED} lines or more": _copies(files),
        **{f"lines of {name}": count for name, count in sorted(folders.items())},
    }


def _defined(tree: ast.Module) -> set[str]:
    return {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def _public(tree: ast.Module) -> list[str]:
    kinds = (ast.ClassDef, ast.FunctionDef)
    return [n.name for n in tree.body if isinstance(n, kinds) and not n.name.startswith("_")]


def _concrete(trees: dict[Path, ast.Module]) -> Iterator[str]:
    """Yield the classes of parts that are derived from others."""
    for path, tree in trees.items():
        if path.parts[0] == "ml" and path.stem != "base" and any(p in str(path) for p in PARTS):
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and node.bases and node.name != "Task":
                    bases = {ast.unparse(base) for base in node.bases}
                    if not bases & {"Protocol", "ABC", "NamedTuple"}:
                        yield node.name


def _asked_for(tree: ast.Module) -> Iterator[str]:
    """Yield the classes that ``isinstance`` and ``issubclass`` are asked about."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
            for part in ast.walk(node.args[1]):
                if isinstance(part, ast.Attribute):
                    yield part.attr
                elif isinstance(part, ast.Name):
                    yield part.id


def _in_cycles(trees: dict[Path, ast.Module], name: str) -> int:
    """Return how many modules import each other in circles, inside functions as well."""
    modules = {_module(path, name): tree for path, tree in trees.items()}
    graph = {
        module: {found for found in _imports(tree, modules) if found != module}
        for module, tree in modules.items()
    }
    caught = 0
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            cycle = set(error.args[1])
            caught += len(cycle)
            graph = {m: t - cycle for m, t in graph.items() if m not in cycle}
        else:
            return caught


def _module(path: Path, name: str) -> str:
    return ".".join([name, *path.with_suffix("").parts]).removesuffix(".__init__")


def _imports(tree: ast.Module, known: Container[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not _for_types(tree, node):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield from (m for m in [inner if inner in known else node.module] if m in known)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)


def _for_types(tree: ast.Module, wanted: ast.AST) -> bool:
    """Return whether an import is for annotations alone."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If)]
    return any("TYPE_CHECKING" in ast.unparse(b.test) and wanted in b.body for b in blocks)


def _copies(files: dict[Path, str]) -> int:
    """Return how many runs of lines stand in two places or more; imports don't count."""
    seen: dict[tuple[str, ...], list[tuple[Path, int]]] = defaultdict(list)
    for path, text in files.items():
        lines = [line.strip() for line in text.splitlines()]
        for i in range(len(lines) - COPIED + 1):
            run = tuple(lines[i : i + COPIED])
            if all(len(line) > 5 and not line.startswith(("from ", "import ")) for line in run):
                seen[run].append((path, i))
    places = sorted({place for found in seen.values() if len(found) > 1 for place in found})
    starts = [p for p in places if (p[0], p[1] - 1) not in set(places)]
    return len(starts)


if __name__ == "__main__":
    main()
