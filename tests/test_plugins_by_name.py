"""No code asks whether something is a certain part of ours: parts say what they need and can do.

A part of a user's could not answer. What code may ask for are the base classes and protocols.
"""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import aiida_mlal
from aiida_mlal.ml import plugins

ROOT = Path(aiida_mlal.__file__).parent
GROUPS = [group for group in get_args(plugins.Group) if group != "tasks"]


def concrete() -> dict[str, str]:
    """Return the file of each class that is a part, and of those between it and its base."""
    found = {}
    for group in GROUPS:
        module, _, base = plugins.BASES[group].partition(":")
        for name in plugins.names(group):
            for cls in plugins.find(group, name).__mro__:
                if (cls.__module__, cls.__qualname__) == (module, base):
                    break
                if cls.__module__.startswith("aiida_mlal."):
                    found[cls.__name__] = inspect.getfile(cls)
    return found


CONCRETE = concrete()


def asked(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of each class that something is compared with."""
    for node in ast.walk(tree):
        kinds: list[ast.AST] = []
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
            kinds = [node.args[1]]
        elif isinstance(node, ast.Compare) and "type(" in ast.unparse(node):
            kinds = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchClass):
            kinds = [node.cls]
        for kind in kinds:
            for inner in ast.walk(kind):
                if isinstance(inner, ast.Name):
                    yield node.lineno, inner.id
                elif isinstance(inner, ast.Attribute):
                    yield node.lineno, inner.attr


def named_tuples(tree: ast.Module) -> dict[str, set[str]]:
    """Return module constants that are tuples of classes, such as ``KINDS = (Labels, Size)``."""
    return {
        target.id: {n.attr if isinstance(n, ast.Attribute) else n.id for n in node.value.elts}
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple)
        for target in node.targets
        if isinstance(target, ast.Name)
        and all(isinstance(n, (ast.Name, ast.Attribute)) for n in node.value.elts)
    }


def violations(text: str, file: str) -> list[str]:
    tree = ast.parse(text)
    tuples = named_tuples(tree)
    return [
        f"{file}:{line} asks for {kind}"
        for line, name in asked(tree)
        for kind in tuples.get(name, {name})
        if kind in CONCRETE and CONCRETE[kind] != file
    ]


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_asks_for_a_part_of_another_file(path):
    assert violations(path.read_text(), str(path)) == []


@pytest.mark.parametrize(
    "text",
    [
        "isinstance(stop, Labels)",
        "isinstance(stop, (int, stops.Size))",
        "issubclass(kind, MTP)",
        "type(potential) is Ensemble",
        "type(potential) in (Sum, Morse)",
        "KINDS = (stops.Labels, MostUncertain)\nisinstance(stop, KINDS)",
        "match x:\n    case ByFeatures():\n        pass",
    ],
)
def test_such_a_question_is_found(text):
    assert violations(text, "elsewhere.py")


def test_base_classes_may_be_asked_for():
    assert not violations("isinstance(x, (Potential, Stop, Strategy, Separable))", "elsewhere.py")
    assert {"Labels", "MTP", "Ensemble", "Relax", "Adam", "Calibrated", "LCMD"} <= set(CONCRETE)
