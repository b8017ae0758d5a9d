"""What is wrong with inputs, in the words of the command that they were given to."""

import re

import click
from click.core import ParameterSource

DEFAULT = ParameterSource.DEFAULT

PARAMETERS = {
    "labels": "labels",
    "labelling": "labels",
    "structures": "structure ends",
    "iterate": "one_job",
    "stop.labels": "max_labels",
    "simulation.pressure_GPa": "pressure",
    "simulation.guard.break": "limit",
    "simulation.temperature": "temperature",
    "simulation.timestep": "timestep",
    "simulation.steps": "steps",
    "simulation.images": "images",
    "stop.size": "size",
    "label.pseudo_family": "family",
    "label.potential_family": "family",
}
"""Parameters that set inputs, by the paths of these, where names differ."""

PATH = re.compile(r"(overrides\.)?([A-Za-z_]\w*(?:\.\w+)*): ")
"""How a sentence about an input begins."""


def called(path: str) -> str:
    """Return what an input is called where it is given to the command that runs."""
    found = _parameter(path)
    return found or f"'{path}' in --overrides"


def in_options(message: str) -> str:
    """Return a sentence that begins with the path of an input with the option in its place.

    Inputs without an option, or whose option was not given, stay what they are called in overrides.
    """
    found = PATH.match(message)
    option = found and _parameter(found[2])
    if not (found and option):
        return message
    if found[1] or not _parameter(found[2], given=True):
        return f"{message} ({option} sets it)"
    return f"{option}: {message[found.end() :]}"


def _parameter(path: str, given: bool = False) -> str:
    """Return the option or the argument that sets an input, and was ``given``; "" if none does."""
    context = click.get_current_context(silent=True)
    if context is None:
        return ""
    known = {one.name: one for one in context.command.params}
    for name in PARAMETERS.get(path, path).split():
        parameter = known.get(name)
        if parameter is None or (given and context.get_parameter_source(name) == DEFAULT):
            continue
        if isinstance(parameter, click.Option):
            return max(parameter.opts, key=len)
        return parameter.human_readable_name
    return ""
