"""Frozen dataclasses from JSON, with errors that name the key and suggest the right one."""

import contextlib
import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def build(
    cls: type[T], values: Mapping[str, Any], where: str = "", beside: Iterable[str] = ()
) -> T:
    """Build the options dataclass ``cls`` from ``values``, nested dataclasses included.

    ``where`` is the path of ``values`` in a larger document, for the messages. A field whose name
    would be a Python keyword has an underscore at its end that the option lacks (``break_``).
    Options ``beside`` those of the dataclass were read before: messages have them too.

    Raises
    ------
    ValueError
        For an unknown key (with the nearest known one), a missing key, a value of the wrong type,
        and whatever the dataclass itself refuses.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{_at(where)}expected a mapping of options, got {values!r}")
    hints = typing.get_type_hints(cls)
    known = dataclasses.fields(cls)  # type: ignore[arg-type]
    fields = {f.name.removesuffix("_"): f for f in known if f.init}
    for key in values:
        if key not in fields:
            raise ValueError(
                f"{_at(where)}unknown option {key!r}{suggest(key, [*fields, *beside])}"
            )
    for name, field in fields.items():
        required = field.default is field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise ValueError(f"{_at(where)}option {name!r} is missing")
    converted = {
        fields[key].name: convert(
            hints[fields[key].name], value, f"{where}.{key}" if where else key
        )
        for key, value in values.items()
    }
    with within(where):
        return cls(**converted)


def check_positive(options: Any, *names: str) -> None:
    """Raise ``ValueError`` unless these options are above 0."""
    for name in names:
        if not getattr(options, name) > 0:
            raise ValueError(f"expected {name} above 0, got {getattr(options, name)}")


def check_seed(seed: int) -> None:
    """Raise ``ValueError`` for a number that nothing random can begin with."""
    if not 0 <= seed < 2**63:
        raise ValueError(f"expected a seed of 0 or more, and below 2^63, got {seed}")


def check_not_negative(options: Any, *names: str) -> None:
    """Raise ``ValueError`` unless these options are 0 or more."""
    for name in names:
        if not getattr(options, name) >= 0:
            raise ValueError(f"expected {name} of 0 or more, got {getattr(options, name)}")


@contextlib.contextmanager
def within(where: str) -> Iterator[None]:
    """Say in the message of a ``ValueError`` which part of a larger document is meant."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{_at(where)}{error}") from error


def as_dict(options: Any) -> dict[str, Any]:
    """Return the dataclass ``options`` as JSON values: mappings, lists and scalars."""
    return typing.cast(dict[str, Any], _plain(options))


def suggest(word: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown ``word``: the nearest, or all known ones."""
    known = sorted(known)
    near = nearest(str(word), known)
    if near:
        return f", did you mean {near!r}? Choose from {known}"
    return f", choose from {known}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the one of the words that is most like ``word``, small or capital; "" if none is."""
    written = {one.lower(): one for one in known}
    near = difflib.get_close_matches(word.lower(), written, n=1)
    return written[near[0]] if near else ""


def convert(hint: Any, value: Any, where: str) -> Any:
    """Return ``value`` as the annotated type ``hint``, or raise ``ValueError``."""
    if hint is Any:
        return value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        choices = [choice for choice in arguments if choice is not type(None)]
        single = [choice for choice in choices if typing.get_origin(choice) not in (*_LISTS, tuple)]
        if not isinstance(value, (list, tuple)):
            choices = single or choices
        for choice in choices:
            try:
                return convert(choice, value, where)
            except ValueError as error:
                problem = error
        raise problem
    if origin is typing.Literal:
        if value not in arguments:
            raise ValueError(
                f"{_at(where)}unknown choice {value!r}{suggest(value, map(str, arguments))}"
            )
        return value
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else build(hint, value, where)
    if origin in (*_LISTS, tuple) or hint in (*_LISTS, tuple):
        if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
            raise ValueError(f"{_at(where)}expected a list, got {value!r}")
        value = list(value)
        each = arguments or (Any, ...)
        if origin in _LISTS or each[-1] is Ellipsis:
            each = (each[0],) * len(value)
        if len(value) != len(each):
            raise ValueError(f"{_at(where)}expected {len(each)} values, got {value!r}")
        converted = [convert(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(each, value))]
        return converted if list in (origin, hint) else tuple(converted)
    if origin in _MAPPINGS or hint in _MAPPINGS:
        if not isinstance(value, Mapping):
            such = f" such as {{'name': {value!r}}}" if isinstance(value, str) else ""
            raise ValueError(f"{_at(where)}expected a mapping{such}, got {value!r}")
        of = arguments[1] if arguments else Any
        return {key: convert(of, item, f"{where}.{key}") for key, item in value.items()}
    if not isinstance(hint, type):
        raise ValueError(f"{_at(where)}its type {hint} is none that an option can have")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{_at(where)}expected a finite number, got {value}")
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ValueError(f"{_at(where)}expected {hint.__name__}, got {value!r}")
    return value


_LISTS, _MAPPINGS = (list, Sequence), (dict, Mapping)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name.removesuffix("_"): _plain(getattr(value, f.name))
            for f in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _at(where: str) -> str:
    return f"{where}: " if where else ""
