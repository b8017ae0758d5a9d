"""All properties of all structures by one calculator, and those of several calculators together."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from aiida_mlal.ml import plugins
from aiida_mlal.ml.properties.base import Found, Property
from aiida_mlal.ml.properties.crystal import Crystal
from aiida_mlal.ml.properties.evaluator import Evaluator
from aiida_mlal.ml.properties.spread import interval95

EQUILIBRIUM = "equilibrium"
"""Under which name it is said how near to equilibrium each structure came."""

Row = Mapping[str, Found]
"""What one calculator says of one structure, by the names of the properties."""


def compute(
    properties: Mapping[str, Property], structures: Sequence[Atoms], evaluator: Evaluator
) -> Iterator[tuple[str, list[Found]]]:
    """Relax structures, and yield name by name what is found of each.

    How near to equilibrium they came is first. What cannot be computed is a sentence.
    """
    crystals: list[Crystal] = []
    column: list[Found] = []
    lost: list[int] = []
    for i, atoms in enumerate(structures):
        try:
            crystal = Crystal.at_equilibrium(atoms, evaluator)
            column.append(_equilibrium(crystal))
            crystals.append(crystal)
        except (ValueError, ArithmeticError) as error:
            column.append(Found(warnings=[f"not computed: {error}"]))
            lost.append(i)
    yield EQUILIBRIUM, column
    for name, part in properties.items():
        try:
            with plugins.named("properties", part):
                results = part.compute(crystals)
        except ValueError as error:  # the others are computed all the same
            results = [Found(warnings=[f"not computed: {error}"])] * len(crystals)
        for i in lost:
            results.insert(i, Found(warnings=["not computed: there is no equilibrium"]))
        yield name, results


def _equilibrium(crystal: Crystal) -> Found:
    numbers: dict[str, float | np.ndarray] = {
        "force_eV_per_A": crystal.relaxed.fmax,
        "stress_GPa": crystal.relaxed.smax_GPa,
        "energy_eV_per_atom": crystal.energy_per_atom,
    }
    return Found(numbers, warnings=crystal.warnings)


def together(members: Sequence[Row], reference: Row | None = None) -> dict[str, Any]:
    """Summarise the properties of a structure over a committee, beside a reference.

    Returns
    -------
    dict
        For each property its numbers by name, each with the mean ``value`` over the members, and
        where there is more than one half the width of the 95 % interval as ``interval95`` and the
        values of the ``members``; with a reference also ``reference``, its value. Sentences are
        under ``warnings``.
    """
    names = dict.fromkeys(name for row in members for name in row)
    result = {}
    for name in names:
        known = [row[name] for row in members if name in row]
        beside = None if reference is None else reference.get(name)
        result[name] = _numbers(known, beside) | _warnings(known, beside)
    return result


def curves(members: Sequence[Row]) -> dict[str, np.ndarray]:
    """Return the curves of all members, along the first axis, by ``property_curve`` names.

    Those of another shape than the first member's are left out.
    """
    result = {}
    for name in dict.fromkeys(name for row in members for name in row):
        known = [row[name].curves for row in members if name in row]
        for curve in dict.fromkeys(key for one in known for key in one):
            arrays = [np.asarray(one[curve]) for one in known if curve in one]
            same = [array for array in arrays if array.shape == arrays[0].shape]
            result[f"{name}_{curve}"] = np.stack(same)
    return result


def _numbers(members: Sequence[Found], beside: Found | None) -> dict[str, Any]:
    rows = {}
    for name in dict.fromkeys(name for one in members for name in one.numbers):
        values = [one.numbers[name] for one in members if name in one.numbers]
        row: dict[str, Any] = {"value": np.mean(np.array(values), axis=0)}
        if len(members) > 1:
            row |= {"interval95": interval95(values), "members": values}
        if beside is not None:
            row["reference"] = beside.numbers.get(name)
        rows[name] = row
    return rows


def _warnings(members: Sequence[Found], beside: Found | None) -> dict[str, Any]:
    said = [
        f"member {i}: {sentence}" if len(members) > 1 else sentence
        for i, one in enumerate(members)
        for sentence in one.warnings
    ]
    said += [f"reference: {sentence}" for sentence in (beside.warnings if beside else ())]
    return {"warnings": said} if said else {}
