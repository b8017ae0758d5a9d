"""Structures of a campaign to look at: those that matter in pictures, the others by a click."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import PREDICTED_ENERGY, UNCERTAINTY
from aiida_mlal.report.numbers import CampaignReport, Query
from aiida_mlal.report.pictures import bonds, colour, wrapped

MOST_ATOMS = 50_000
"""Of all structures in a page; the last ones are left out."""
MOST_ENDS, MOST_WORST = 4, 3


@dataclass(frozen=True, eq=False)
class Scene:
    """A structure with a name.

    Attributes
    ----------
    name
        Of its picture, and of its anchor in the page.
    about
        What is known of it: pairs of a name and a value in words.
    """

    name: str
    title: str
    structure: Configurations
    about: Sequence[tuple[str, str]]


def pictured(report: CampaignReport) -> list[Scene]:
    """Return scenes of a campaign: its start, its ends, and what its potentials knew least of."""
    scenes = []
    if len(report.structures):
        scenes.append(Scene("start", "Start", report.structures[0], _about(report.queries[0])))
    for i, title in _ends(report):
        end = report.ends[i]
        scenes.append(Scene(f"end_{i}", title, end, _end(end)))
    for place, i in enumerate(_worst(report)):
        title = f"Extrapolated most, {place + 1} of {MOST_WORST}: structure {i}"
        scenes.append(
            Scene(f"worst_{place}", title, report.structures[i], _about(report.queries[i]))
        )
    return scenes


def shown(report: CampaignReport) -> dict[str, Any]:
    """Return, as JSON values, the structures that the page shows: pictured ones and all queries."""
    queries = [
        Scene(f"query-{i}", f"structure {i}, iteration {query.iteration}", structure, _about(query))
        for i, (query, structure) in enumerate(zip(report.queries, report.structures, strict=True))
    ]
    frames, atoms = [], 0
    for scene in (*pictured(report), *queries):
        atoms += len(scene.structure.numbers)
        if atoms > MOST_ATOMS:
            break
        frames.append(_frame(scene))
    present = sorted({z for frame in frames for z in frame["z"]})
    elements = {
        str(z): [chemical_symbols[z], colour(z), round(float(covalent_radii[z]), 2)]
        for z in present
    }
    return {"elements": elements, "frames": frames}


def _ends(report: CampaignReport) -> Iterator[tuple[int, str]]:
    """Yield the numbers of ends to picture, each with its title."""
    if report.paths:
        top = int(report.paths[0]["saddle"])
        last = len(report.paths[0]["energies"]) - 1
        for image, title in {0: "One end", last: "The other end", top: "Saddle point"}.items():
            if image < len(report.ends):
                yield image, f"{title} of path 0, image {image}"
        return
    for i in range(min(len(report.ends), MOST_ENDS)):
        yield i, "End" if len(report.ends) == 1 else f"End of run {i}"


def _worst(report: CampaignReport) -> list[int]:
    """Return the queries with the largest errors of forces, or else uncertainties."""
    for values in (
        [query.force_error for query in report.queries],
        [query.uncertainty for query in report.queries],
    ):
        known = [i for i, value in enumerate(values) if value is not None]
        if known:
            return sorted(known, key=lambda i: -(values[i] or 0.0))[:MOST_WORST]
    return []


def _about(query: Query) -> list[tuple[str, str]]:
    """Tell how a structure came to its label, and what its label taught."""
    lines = [
        ("structure", f"{query.formula}, {query.key[:8]}"),
        ("iteration", "before the first training" if not query.iteration else str(query.iteration)),
        ("step of its simulation", "" if query.step is None else str(query.step)),
        ("chosen because", query.reason),
        ("uncertainty then", _number(query.uncertainty, "")),
        ("error of energy then", _number(query.energy_error, "eV/atom")),
        ("largest error of a force then", _number(query.force_error, "eV/Å")),
        ("label", f"{query.status} {query.problem}".strip()),
        ("labelled energy", _number(query.energy, "eV", 8)),
        ("largest labelled force", _number(query.fmax, "eV/Å")),
        ("labelled by", query.source),
    ]
    return [(name, value) for name, value in lines if value]


def _end(structure: Configurations) -> list[tuple[str, str]]:
    energy, fmax = float(structure.energies[0]), float(structure.max_forces[0])
    lines = [
        ("structure", f"{structure.formulas[0]}, {structure.keys[0][:8]}"),
        ("labelled energy", _number(energy, "eV", 8)),
        ("predicted energy", _number(float(PREDICTED_ENERGY.of(structure)[0]), "eV", 8)),
        ("largest labelled force", _number(fmax, "eV/Å")),
        ("uncertainty", _number(float(UNCERTAINTY.of(structure)[0]), "")),
    ]
    return [(name, value) for name, value in lines if value]


def _number(value: float | None, unit: str, digits: int = 3) -> str:
    if value is None or not np.isfinite(value):
        return ""
    return f"{value:.{digits}g} {unit}".strip()


def _frame(scene: Scene) -> dict[str, Any]:
    structure = scene.structure
    forces = structure.forces
    return {
        "id": scene.name,
        "name": ", ".join([scene.title, *(f"{name} {value}" for name, value in scene.about[2:7])]),
        "title": scene.title,
        "about": [list(pair) for pair in scene.about],
        "z": structure.numbers.tolist(),
        "p": np.round(wrapped(structure), 3).ravel().tolist(),
        "cell": np.round(structure.cells[0], 3).ravel().tolist() if structure.pbc.any() else None,
        "held": np.flatnonzero(structure.fixed.all(axis=1)).tolist(),
        "f": np.round(forces, 3).ravel().tolist() if np.isfinite(forces).all() else None,
        "bonds": bonds(structure),
    }
