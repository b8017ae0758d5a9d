"""What stands in the documentation exists: commands with their options, modules, names of parts."""

import ast
import re
import shlex
from importlib import import_module
from pathlib import Path

import click
import pytest

from aiida_mlal.cli import root
from aiida_mlal.ml.cli import mlal

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *(
        page
        for page in sorted((ROOT / "docs").rglob("*.md"))
        if not {"_build", "api"} & set(page.relative_to(ROOT).parts)
    ),
]
PROGRAMS = {"mlal": mlal, "aiida-mlal": root}


def blocks(kind, text):
    return re.findall(rf"^ *```{kind}[^\n]*\n(.*?)^ *```", text, re.S | re.M)


def commands(text):
    """Yield the words of each of our commands."""
    for block in blocks("console", text):
        for line in block.replace("\\\n", " ").split("\n"):
            words = shlex.split(line, comments=True) if line.lstrip().startswith("$ ") else []
            while words and (words[0] == "$" or re.match(r"[A-Z_]+=", words[0])):
                del words[0]
            if words and words[0] in PROGRAMS:
                yield words


def check(words):
    """Look for the command and its options; what arguments are is not looked at."""
    (name, *rest), command, context = words, PROGRAMS[words[0]], None
    while True:
        context = click.Context(command, context, name)
        rest = command.make_parser(context).parse_args(list(rest))[1]
        if not (isinstance(command, click.Group) and rest):
            return
        name, command, rest = command.resolve_command(context, rest)


def test_a_command_that_there_is_not_is_found():
    with pytest.raises(click.UsageError, match="No such option"):
        check(["mlal", "train", "x.xyz", "--no-such-option", "1"])
    with pytest.raises(click.UsageError, match="not a launch command"):
        check(["aiida-mlal", "launch", "nothing"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_modules_exist(page):
    text = page.read_text()
    for words in commands(text):
        try:
            check(words)
        except click.UsageError as error:
            pytest.fail(f"{shlex.join(words)}: {error.format_message()}")
    for block in [*blocks("python", text), *blocks(r"\{code-cell\}", text)]:
        lines = [line for line in block.split("\n") if not line.lstrip().startswith((":", "!"))]
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aiida_mlal"):
                module = import_module(node.module)
                missing = [a.name for a in node.names if not hasattr(module, a.name)]
                assert not [m for m in missing if not is_module(f"{node.module}.{m}")]


def is_module(name):
    try:
        import_module(name)
    except ModuleNotFoundError:
        return False
    return True


def test_there_are_commands_to_be_checked():
    assert sum(1 for page in PAGES for _ in commands(page.read_text())) > 60
