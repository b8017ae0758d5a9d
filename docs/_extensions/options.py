"""The directive ``options``: a table of the fields of a dataclass, from its docstring."""

import dataclasses
import importlib
import inspect
import re

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Options(SphinxDirective):
    """``.. options:: module:Class``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module, _, name = self.arguments[0].partition(":")
        cls = getattr(importlib.import_module(module), name)
        rows = [".. list-table::", "   :header-rows: 1", "   :widths: 20 20 60", ""]
        rows += ["   * - option", "     - default", "     - meaning"]
        meanings = attributes(cls)
        for field in dataclasses.fields(cls):
            meaning = meanings.get(field.name, ["(see the Python reference)"])
            rows += [f"   * - ``{field.name}``", f"     - {default(field)}"]
            rows += [f"     - {meaning[0]}", *(f"       {line}" for line in meaning[1:])]
        container = nodes.container()
        self.state.nested_parse(StringList(rows, source=self.arguments[0]), 0, container)
        return container.children


def attributes(cls: type) -> dict[str, list[str]]:
    """Return the lines about each attribute of a class and of those that it derives from."""
    found: dict[str, list[str]] = {}
    for ancestor in reversed(cls.__mro__):
        text = inspect.cleandoc(ancestor.__doc__ or "")
        section = re.search(r"^Attributes\n-+\n(.*?)(?=^\w+\n-+\n|\Z)", text, re.M | re.S)
        names: list[str] = []
        for line in section.group(1).splitlines() if section else []:
            if line and not line.startswith(" "):
                names = [name.partition(":")[0].strip() for name in line.split(",")]
                found |= {name: [] for name in names}
            elif line.strip():
                for name in names:
                    found[name].append(line.strip())
    return found


def default(field: dataclasses.Field) -> str:
    if field.default is not dataclasses.MISSING:
        return f"``{field.default!r}``"
    if field.default_factory is not dataclasses.MISSING:
        return f"``{field.default_factory()!r}``"
    return "required"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("options", Options)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
