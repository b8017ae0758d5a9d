"""What simulations and labels together tell of paths: profiles, barriers, saddle points."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_mlal.ml.frames import UNCERTAINTY
from aiida_mlal.ml.stops import Final, State


def paths(state: State) -> list[dict[str, Any]]:
    """Return the path of each run that found one, as JSON values.

    Returns
    -------
    list of dict
        The ``results`` of the run (see ``ml.simulation.neb.Band.profile``), and ``run``, its
        number; ``uncertainties``, for each image that of the prediction, by the measure and in the
        unit of the guard (None where it is not known); ``labelled``, for each image with a label
        its ``image``, its ``energy`` in eV above the label of the first image (None without that),
        and ``fmax``, the largest force on a free atom in eV/Å; ``labelled_barrier``,
        ``labelled_barrier_back`` and ``labelled_reaction_energy`` in eV, None where a label is
        missing.
    """
    profiles = []
    for number, run in enumerate(state.runs):
        results = run.get("results") or {}
        if "saddle" in results:
            ends = {final.image: final for final in state.ends if final.run == number}
            unsure = [_number(UNCERTAINTY.of(ends[image].predicted)[0]) for image in sorted(ends)]
            profile = {"run": number, **results, "uncertainties": unsure}
            profiles.append({**profile, **_labelled(results, ends)})
    return profiles


def _labelled(results: Mapping[str, Any], ends: Mapping[int, Final]) -> dict[str, Any]:
    first, last, top = 0, len(results["energies"]) - 1, int(results["saddle"])
    energies = {
        image: float(final.labelled.energies[0])
        for image, final in sorted(ends.items())
        if final.labelled is not None
    }

    def above(image: int, other: int) -> float | None:
        return energies[image] - energies[other] if {image, other} <= set(energies) else None

    return {
        "labelled": [
            {"image": image, "energy": above(image, first), "fmax": _number(ends[image].fmax)}
            for image in energies
        ],
        "labelled_barrier": above(top, first),
        "labelled_barrier_back": above(top, last),
        "labelled_reaction_energy": above(last, first),
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
