"""The measure of uncertainty that a potential was trained for, kept with its weights."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.uncertainty.extras import to_tensor, to_text

if TYPE_CHECKING:
    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.uncertainty.base import Uncertainty

NAME = "uncertainty"
"""Of the name and options of the measure, among the extras of a potential."""


def carry(
    potential: "Potential",
    options: Mapping[str, Any],
    train: Configurations,
    held_out: Configurations | None = None,
) -> dict[str, Any]:
    """Fit a measure to a training set, and store it in the extras of a potential.

    Returns its name and what ``Fitted.about`` says, as JSON values.

    Parameters
    ----------
    options
        Name and options of the measure.
    train
        Labelled structures.
    held_out
        Those, perhaps among them, that were not learned from.
    """
    measure: Uncertainty = plugins.make("uncertainties", options, "uncertainty")
    fitted = measure.fitted(potential, train, held_out)
    said = json.dumps(dict(options), sort_keys=True)
    extras = {**fitted.extras, NAME: to_tensor(said)}
    potential.extras = {**potential.extras, **extras}
    return {"name": options["name"], **fitted.about}


def measure_of(potential: "Potential", structures: Configurations) -> "Uncertainty | None":
    """Choose the measure of a potential where none is named.

    The one that it was trained for; if that is not known, one whose extras it carries, such as an
    active set; ``force_std`` for a committee; else None.

    Parameters
    ----------
    structures
        Some that the potential can predict.
    """
    if NAME in potential.extras:
        options = json.loads(to_text(potential.extras[NAME]))
        return _make(options)
    known = plugins.usable("uncertainties")
    stored = [name for name, kind in known.items() if kind.is_carried_by(potential)]
    if stored:
        return _make({"name": stored[0]})
    with torch.no_grad():
        n_members = len(potential.committee(potential.graph(structures[:1])).energies)
    return _make({"name": "force_std"}) if n_members > 1 else None


def why_none() -> str:
    """Say why a potential has no uncertainty, and what would give it one."""
    return (
        "a single potential has none unless it was trained for one: train with the model option "
        "'ensemble' of 2 or more, or a moment tensor potential, or with one of "
        f"{plugins.names('uncertainties')} as the option 'uncertainty'"
    )


def _make(options: Mapping[str, Any]) -> "Uncertainty":
    measure: Uncertainty = plugins.make("uncertainties", options)
    return measure
