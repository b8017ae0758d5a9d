"""Inputs of processes: names checked at any depth, since AiiDA takes unknown ones in silence."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from aiida.engine.processes.builder import ProcessBuilderNamespace
from aiida.engine.processes.ports import InputPort, PortNamespace
from aiida.orm import Bool, Dict, Float, Int, List, Node, Str

from aiida_mlal.ml.options import suggest

Names = Mapping[str, Any]
"""Known names; each has the names inside of it, or ``None`` if there is nothing to check."""


def names(ports: PortNamespace) -> dict[str, Any]:
    """Return the names of all inputs. What is open to any name, like ``pseudos``, has ``None``."""
    return {
        name: names(port) if isinstance(port, PortNamespace) and len(port) else None
        for name, port in ports.items()
    }


def check_names(values: Mapping[str, Any], known: Names, where: str = "") -> None:
    """Raise ``ValueError`` for the first name that is not known, with the nearest one that is."""
    for name, value in values.items():
        path = f"{where}.{name}" if where else str(name)
        if name not in known:
            raise ValueError(f"unknown input {path!r}{suggest(name, known)}")
        inside = known[name]
        if inside is not None:
            if not isinstance(value, Mapping):
                raise ValueError(f"expected inputs inside of {path!r}, got {value!r}")
            check_names(value, inside, path)


WORDS: Mapping[type, str] = {
    **dict.fromkeys((Bool, bool), "true or false"),
    **dict.fromkeys((Dict, dict), "a mapping"),
    **dict.fromkeys((Float, float), "a number"),
    **dict.fromkeys((Int, int), "an integer"),
    **dict.fromkeys((List, list), "a list"),
    **dict.fromkeys((Str, str), "a text"),
}
"""What a value is called that a port takes, or makes a node of."""


def check_overrides(
    overrides: Mapping[str, Any], ports: PortNamespace, free: Iterable[str] = ()
) -> None:
    """Raise ``ValueError`` for overrides with unknown names, and with values of wrong types.

    Parameters
    ----------
    free
        Inputs inside of which another builder checks.
    """
    known: Names = {name: None if name in free else inside for name, inside in names(ports).items()}
    check_names(overrides, known, "overrides")
    for name in free:
        if not isinstance(overrides.get(name, {}), Mapping):
            raise ValueError(f"expected inputs inside of {name!r}, got {overrides[name]!r}")
    _check_types({k: v for k, v in overrides.items() if k not in free}, ports, "overrides")


def _check_types(values: Mapping[str, Any], ports: PortNamespace, where: str) -> None:
    for name, value in values.items():
        port, path = ports.get(name), f"{where}.{name}"
        if isinstance(port, PortNamespace):
            if isinstance(value, Mapping):  # what is open to any name has values of its own
                _check_types(value, port, path)
        elif isinstance(port, InputPort) and not _is_of(port, value):
            accepted = port.valid_type if isinstance(port.valid_type, tuple) else (port.valid_type,)
            kinds = [_kind(one) for one in accepted if one not in (None, type(None))]
            raise ValueError(f"{path}: expected {' or '.join(kinds)}, got {value!r}")


def _kind(kind: type) -> str:
    return WORDS.get(
        kind, f"a node of {kind.__name__}" if issubclass(kind, Node) else kind.__name__
    )


def _is_of(port: InputPort, value: Any) -> bool:
    """Whether a port takes a value, or the node that it makes of it."""
    if port.valid_type is None or isinstance(value, port.valid_type):
        return True
    try:
        return isinstance(port.serialize(value), port.valid_type)
    except (TypeError, ValueError):  # of a value that no node can be made of
        return False


_CALLED: ContextVar[Callable[[str], str]] = ContextVar("called", default=repr)


def called(path: str) -> str:
    """Return what an input is called where a user gives it, such as ``'labelling'``.

    For messages that say what to give. ``path`` has dots between names.
    """
    return _CALLED.get()(path)


@contextmanager
def calling(names_of: Callable[[str], str]) -> Iterator[None]:
    """Call inputs otherwise for a while, such as by the options of a command."""
    token = _CALLED.set(names_of)
    try:
        yield
    finally:
        _CALLED.reset(token)


def validate_names(inputs: Mapping[str, Any], ports: PortNamespace) -> str | None:
    """Validate the names of all inputs of a process, at any depth."""
    try:
        check_names(inputs, names(ports))
    except ValueError as error:
        return str(error)
    return None


def check_inputs(inputs: Mapping[str, Any], ports: PortNamespace) -> None:
    """Raise ``ValueError`` if a process would refuse its inputs, without beginning one."""
    problem = ports.validate(ports.pre_process(dict(inputs)))
    if problem is not None:
        raise ValueError(problem.message)


def fill(builder: ProcessBuilderNamespace, values: Mapping[str, Any]) -> None:
    """Set inputs of a builder one by one, so that those that are required may come later."""
    for name, value in values.items():
        inside = getattr(builder, name, None)
        if isinstance(inside, ProcessBuilderNamespace) and isinstance(value, Mapping):
            fill(inside, value)
        elif name in builder._port_namespace or builder._port_namespace.dynamic:
            try:
                builder[name] = value
            except ValueError as error:
                problem = str(error).removeprefix("invalid attribute value ")
                at = "" if problem.startswith(name) else f"{name}: "
                raise ValueError(f"{at}{problem}") from error
        else:
            raise ValueError(f"unknown input {name!r}{suggest(name, builder._port_namespace)}")
