"""Which of the plugins that are installed are ours, and which are of packages of others.

Suites that hold for every part of a kind take those of others as well, with the options that they
have by default, so that whoever writes a part can run them over it.
"""

from aiida_mlal.ml import plugins


def ours(group: plugins.Group) -> set[str]:
    return {name for name, cls in plugins.usable(group).items() if _is_ours(cls)}


def others(group: plugins.Group) -> set[str]:
    return {name for name, cls in plugins.usable(group).items() if not _is_ours(cls)}


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith("aiida_mlal.")
