"""Checks that a code can do what it is given for."""

from collections.abc import Callable
from pathlib import Path

from aiida.orm import AbstractCode, InstalledCode


def check_code(code: AbstractCode, plugin: str) -> None:
    """Raise ``ValueError`` for a code that was set up for something else, or is not there.

    Only on this computer one can see whether it is there.

    Parameters
    ----------
    plugin
        What the name of its default plugin, if it has one, begins with.
    """
    usual = code.default_calc_job_plugin
    if usual is not None and not usual.startswith(plugin):
        raise ValueError(
            f"the code {code.full_label} is set up for {usual!r}: expected one for {plugin!r}"
        )
    if type(code) is not InstalledCode or code.computer.transport_type != "core.local":
        return
    path = Path(code.get_executable())
    if path.is_absolute() and not path.is_file():
        raise ValueError(
            f"the code {code.full_label} is not installed on its computer: there is no file {path}"
        )


def code_validator(plugin: str) -> Callable[[AbstractCode | None, object], str | None]:
    """Make the validator of a port whose codes ``check_code`` accepts."""

    def validate(code: AbstractCode | None, _: object) -> str | None:
        try:
            if code is not None:
                check_code(code, plugin)
        except ValueError as error:
            return str(error)
        return None

    return validate
