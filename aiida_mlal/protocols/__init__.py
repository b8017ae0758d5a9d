"""Sets of inputs by name: fast, balanced, stringent."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import yaml

from aiida_mlal.ml.options import suggest


def names(workflow: str) -> dict[str, str]:
    """Return the names of the protocols of a workflow, and what each is for."""
    return {name: values["description"] for name, values in _load(workflow)["protocols"].items()}


def inputs(
    workflow: str,
    protocol: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    case: str | None = None,
) -> dict[str, Any]:
    """Return the inputs that a protocol says, with ``overrides`` in their place at any depth.

    Inputs of a ``case`` such as ``moving_cell``, where the file has some, count more than the
    default ones and less than those of the protocol. How the model is trained belongs to its
    architecture: where ``overrides`` choose another one, only what they say of ``training`` counts.

    Raises
    ------
    ValueError
        If there is no such protocol.
    """
    content = _load(workflow)
    protocol = protocol or content["default_protocol"]
    if protocol not in content["protocols"]:
        raise ValueError(f"unknown protocol {protocol!r}{suggest(protocol, content['protocols'])}")
    chosen = {k: v for k, v in content["protocols"][protocol].items() if k != "description"}
    usual = merge(content["default_inputs"], content.get(case, {}) if case else {})
    said, overrides = merge(usual, chosen), overrides or {}
    if merge(said, overrides)["model"].get("architecture") != said["model"]["architecture"]:
        said.pop("training", None)
    return merge(said, overrides)


def as_overrides(given: Any) -> dict[str, Any]:
    """Return overrides as a mapping of their own; ``ValueError`` for what is none."""
    if given is not None and not isinstance(given, Mapping):
        raise ValueError(f"overrides: expected a mapping of inputs, got {given!r}")
    return dict(given or {})


def merge(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """Return both mappings as one; where both have a value, ``right`` counts."""
    merged = dict(left)
    for key, value in right.items():
        inside = merged.get(key)
        if isinstance(value, Mapping) and isinstance(inside, Mapping) and not _is_part(value):
            value = merge(inside, value)
        merged[key] = value
    return merged


def _is_part(value: Mapping[str, Any]) -> bool:
    """Whether options name a plugin: those of another plugin must not be mixed in."""
    return "name" in value or "architecture" in value


def _load(workflow: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(
        (files(__name__) / f"{workflow}.yaml").read_text(encoding="utf-8")
    )
    return content
