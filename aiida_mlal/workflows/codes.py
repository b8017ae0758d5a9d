"""Codes by their names, and by their roles in a campaign."""

from collections.abc import Mapping
from typing import cast

from aiida.common.exceptions import MultipleObjectsError
from aiida.orm import AbstractCode, QueryBuilder, load_code

from aiida_mlal.ml.options import suggest


def code_of(code: AbstractCode | str) -> AbstractCode:
    """Return a code by its label, with or without its computer, its PK or its UUID.

    A label alone means the code that can run here: archives that were imported bring the codes of
    their campaigns along, on computers that are not set up.

    Raises
    ------
    ValueError
        If several codes have the label; with the names that tell them apart.
    """
    if not isinstance(code, str):
        return code
    try:
        return cast(AbstractCode, load_code(code))
    except MultipleObjectsError as error:
        query = QueryBuilder().append(AbstractCode, filters={"label": code})
        visible = [one for one in query.all(flat=True) if not one.is_hidden]
        usable = [one for one in visible if one.computer is None or one.computer.is_configured]
        if len(usable) == 1:
            return cast(AbstractCode, usable[0])
        names = [f"{one.full_label} ({one.pk})" for one in usable or visible]
        raise ValueError(
            f"several codes are called {code!r}: say which one by its whole label or its PK, of "
            f"{sorted(names)}"
        ) from error


def codes_of(
    code: AbstractCode | str | Mapping[str, AbstractCode | str], roles: tuple[str, ...]
) -> dict[str, AbstractCode]:
    """Return the code of each role; ``ValueError`` for roles that there are not."""
    given = dict(code) if isinstance(code, Mapping) else {"mlal": code}
    for role in given:
        if role not in ("mlal", *roles):
            raise ValueError(f"unknown role {role!r} of a code{suggest(role, ('mlal', *roles))}")
    missing = [role for role in roles if role not in given and "mlal" not in given]
    if missing:
        raise ValueError(f"no code for {missing}: give 'mlal' for all, or one for each")
    return {role: code_of(given.get(role, given.get("mlal"))) for role in roles}  # type: ignore[arg-type]
