"""Inputs of processes: names checked at any depth, since AiiDA takes unknown ones in silence."""

from collections.abc import Mapping
from typing import Any

from aiida.engine.processes.builder import ProcessBuilderNamespace
from aiida.engine.processes.ports import PortNamespace

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
            builder[name] = value
        else:
            raise ValueError(f"unknown input {name!r}{suggest(name, builder._port_namespace)}")
