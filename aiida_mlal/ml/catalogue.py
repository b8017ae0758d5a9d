"""What there is to choose from, and its options, as a person reads them."""

import dataclasses
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint
from textwrap import fill, indent
from typing import Any, Literal, get_args

from aiida_mlal.ml import plugins
from aiida_mlal.ml.options import as_dict, suggest

OTHERS: Mapping[str, str] = {
    "model": "aiida_mlal.ml.models.factory:ModelOptions",
    "training": "aiida_mlal.ml.training.options:TrainingOptions",
    "loss": "aiida_mlal.ml.training.options:LossOptions",
    "guard": "aiida_mlal.ml.simulation.guard:Guard",
    "filters": "aiida_mlal.ml.selection.filters:Filters",
    "calculator": "aiida_mlal.ml.labelling.calculators:CalculatorOptions",
    "limits": "aiida_mlal.ml.labelling.checks:Limits",
    "relaxation": "aiida_mlal.ml.properties.evaluator:Relaxation",
    "gaussian_moments": "aiida_mlal.ml.descriptors.gaussian_moments:GaussianMomentOptions",
}
"""Options that are of no plugin, by the name of the input or option that takes them."""


@dataclasses.dataclass(frozen=True)
class Option:
    """An option of a part.

    Attributes
    ----------
    type
        In words.
    default
        As JSON; empty where it has to be given.
    meaning
        With its unit.
    """

    name: str
    type: str
    default: str
    meaning: str


@dataclasses.dataclass(frozen=True)
class Part:
    """Something that options choose, such as a model or a strategy."""

    kind: str
    name: str
    about: str
    options: Sequence[Option]


def parts(name: str) -> list[Part]:
    """Return all parts of a name, or all of a group such as ``strategies``.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    groups = get_args(plugins.Group)
    found = [
        _plugin(group, one)
        for group in groups
        for one in plugins.names(group)
        if name in (group, one)
    ]
    if name in OTHERS:
        found.append(_other(name))
    if not found:
        known = {one for group in groups for one in plugins.names(group)}
        raise ValueError(f"unknown part {name!r}{suggest(name, known | set(OTHERS) | set(groups))}")
    return found


def options_of(cls: Any) -> list[Option]:
    """Return the options that a dataclass has, with what its docstring says of them."""
    hints, meanings = typing.get_type_hints(cls), _attributes(cls)
    return [
        Option(
            name=field.name.removesuffix("_"),
            type=_in_words(hints[field.name]),
            default=_default(field),
            meaning=meanings.get(field.name, ""),
        )
        for field in dataclasses.fields(cls)
        if field.init
    ]


def described(part: Part) -> str:
    """Return a part for a terminal."""
    lines = [f"{part.kind} {part.name}", "", indent(_unquoted(part.about), "  "), ""]
    for option in part.options:
        default = f", default {option.default}" if option.default else ", has to be given"
        lines.append(f"  {option.name}: {option.type}{default}")
        if option.meaning:
            lines.append(fill(_unquoted(option.meaning), 92, initial_indent=" " * 6,
                              subsequent_indent=" " * 6))  # fmt: skip
    if not part.options:
        lines.append("  It has no options.")
    return "\n".join(lines).rstrip() + "\n"


def table(cls: Any) -> str:
    """Return the options that a dataclass has as a table of Markdown."""
    rows = ["| option | type | default | meaning |", "|---|---|---|---|"]
    for option in options_of(cls):
        default = f"`{option.default}`" if option.default else "required"
        cells = (f"`{option.name}`", option.type, default, _markdown(option.meaning))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def load(path: str) -> Any:
    """Return the class at ``module:Class``."""
    return EntryPoint("options", path, "").load()


def _plugin(group: plugins.Group, name: str) -> Part:
    cls: Any = plugins.find(group, name)
    kind = plugins.singular(group)
    options = cls.Options if group == "models" else cls
    found = [] if options is None else options_of(options)
    if group == "models":
        of_all = options_of(load(OTHERS["model"]))
        found += [option for option in of_all if option.name != "architecture"]
    return Part(kind, name, _about(cls), found)


def _other(name: str) -> Part:
    cls = load(OTHERS[name])
    return Part("options of", name, _about(cls), options_of(cls))


def _about(cls: type) -> str:
    """Return the docstring of a class up to its first section."""
    text = inspect.cleandoc(cls.__doc__ or "")
    return re.split(r"\n\w+\n-+\n", text)[0].strip()


def _attributes(cls: type) -> dict[str, str]:
    """Read the descriptions of attributes in docstrings, those of the bases included."""
    found: dict[str, str] = {}
    for ancestor in reversed(cls.__mro__):
        found |= {name: " ".join(lines) for name, lines in _section(ancestor)}
    return found


def _section(cls: type) -> Iterator[tuple[str, list[str]]]:
    text = inspect.cleandoc(cls.__doc__ or "")
    section = re.search(r"^Attributes\n-+\n(.*?)(?=^\w+\n-+\n|\Z)", text, re.M | re.S)
    names: list[str] = []
    lines: list[str] = []
    for line in section.group(1).splitlines() if section else []:
        if line and not line.startswith(" "):
            yield from ((name, lines) for name in names)
            names, lines = [name.partition(":")[0].strip() for name in line.split(",")], []
        elif line.strip():
            lines.append(line.strip())
    yield from ((name, lines) for name in names)


def _in_words(hint: Any) -> str:
    """Return a type as JSON has it."""
    origin, arguments = typing.get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        words = [_in_words(one) for one in arguments if one is not type(None)]
        return " or ".join(dict.fromkeys(words)) + (" or null" if type(None) in arguments else "")
    if origin is Literal:
        return ", ".join(f"{one!r}".replace("'", '"') for one in arguments)
    if origin in (list, Sequence, tuple) or hint in (list, Sequence, tuple):
        each = [_in_words(one) for one in arguments if one is not Ellipsis]
        return f"list of {each[0]}" if len(set(each)) == 1 else "list"
    if origin in (dict, Mapping) or hint in (dict, Mapping):
        return "mapping"
    if dataclasses.is_dataclass(hint):
        return "options"
    return _JSON.get(hint, "anything")


_JSON: Mapping[Any, str] = {bool: "true or false", int: "integer", float: "number", str: "text"}


def _default(field: Any) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return ""
    plain = as_dict(value) if dataclasses.is_dataclass(value) else value
    return json.dumps(plain, ensure_ascii=False, default=str)


def _unquoted(text: str) -> str:
    return re.sub(r":\w+:`([^`]*)`", r"\1", text).replace("``", "")


def _markdown(text: str) -> str:
    return re.sub(r":math:`([^`]*)`", r"$\1$", text).replace("``", "`")
