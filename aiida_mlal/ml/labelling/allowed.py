"""Permissions: which functions may build calculators on this computer, and run commands.

The options of a calculator may come from an archive of somebody else. A factory is any function of
any module, and some options are commands of a shell: so both are refused unless the user of the
computer, where they would run, allows them.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VARIABLE = "MLAL_ALLOWED_FACTORIES"
"""Environment variable with names of packages or modules, commas between them."""

COMMANDS = "commands"
"""The name that allows options which are commands."""

ALWAYS = ("ase.calculators",)
"""Modules whose classes of calculators anybody may build."""

IS_COMMAND = re.compile(
    r"command|cmd|shell|executable|binary|program|script|header|amendments|(^|_)exe($|_)"
)
"""Options of calculators that say what is run, or are lines of a script."""

GOES_TO_A_SHELL = ("directory", "label", "prefix")
"""Options that calculators of ASE put into their commands."""

PLAIN = re.compile(r"[\w./+=:@%-]*")

_typed: set[str] = set()


def allowed() -> set[str]:
    """Return the names that are allowed: in the variable, in the file, and by the command line."""
    listed = os.environ.get(VARIABLE, "").replace(",", " ").split()
    path = file()
    if path.is_file():
        lines = path.read_text(errors="replace").splitlines()
        listed += [word for line in lines for word in line.partition("#")[0].split()]
    return {*listed, *_typed}


def file() -> Path:
    """Return the file with one name on each line, in the user's folder of configurations."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "mlal" / "allowed_factories"


def allow_what_is_typed(options: Any) -> None:
    """Allow what the options of a command name that the user of this process typed."""
    if isinstance(options, Mapping):
        factory = options.get("factory")
        if isinstance(factory, str):
            _typed.add(factory.partition(":")[0])
        if isinstance(options.get("options"), Mapping) and {"name", "factory"} & set(options):
            _typed.add(COMMANDS)
        for value in options.values():
            allow_what_is_typed(value)


def is_always_allowed(factory: str) -> bool:
    """Whether anybody may name a factory: one of ASE or a listed package, if it is a class."""
    return any(_is_in(factory, name) for name in ALWAYS)


def check_factory(factory: str) -> None:
    """Raise ``ValueError`` for a function that nobody allowed here."""
    if is_always_allowed(factory) or any(_is_in(factory, name) for name in allowed()):
        return
    package = factory.partition(":")[0].partition(".")[0]
    raise ValueError(
        f"the factory {factory!r} is code that is not allowed on this computer: to let it build "
        f"calculators, name its package in the environment variable {VARIABLE}={package} or on a "
        f"line of {file()}"
    )


def check_commands(options: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` for options that would run commands which nobody allowed here."""
    commands = [name for name, value in options.items() if _runs(name, value)]
    if commands and COMMANDS not in allowed():
        raise ValueError(
            f"the options {commands} of a calculator could run any command, which is not allowed "
            f"on this computer: to let them, name '{COMMANDS}' in the environment variable "
            f"{VARIABLE} or on a line of {file()}"
        )


def _runs(name: str, value: Any) -> bool:
    """Whether an option may be, or contain, a command to be run."""
    if isinstance(value, Mapping):
        return any(_runs(str(key), item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return any(_runs(name, item) for item in value)
    if IS_COMMAND.search(name.lower()) or "\n" in str(value):
        return value is not None
    return name in GOES_TO_A_SHELL and not PLAIN.fullmatch(str(value))


def _is_in(factory: str, name: str) -> bool:
    module = factory.partition(":")[0]
    return module == name or module.startswith(f"{name}.")
