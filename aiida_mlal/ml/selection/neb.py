"""The ends of paths, then their saddle points."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import ClassVar

import numpy as np

from aiida_mlal.ml.frames import IMAGE, PREDICTED_ENERGY, RUN
from aiida_mlal.ml.selection.base import Choice, Last, Query, Strategy, final, last_frames


@dataclass(frozen=True)
class Path(Strategy):
    """Choose of each path its ends, as long as they have no label, then its highest image.

    What is chosen first of each path comes before all that is second. With ``n`` of one for each
    path, minima are known before a saddle point is asked for, and the potential learns from each
    label before the next one; with three they are the initial, the final and the saddle point, as
    in Shuaibi et al., Mach. Learn.: Sci. Technol. 2, 025007 (2021). Where all three have
    labels it is others of the band, those of largest uncertainty first.
    """

    wants_final: ClassVar[bool] = True
    wants_potential: ClassVar[bool] = False
    wants_n: ClassVar[bool] = False

    def _choose(self, query: Query, n: int) -> list[Choice]:
        runs, images = RUN.of(query.pool), IMAGE.of(query.pool)
        new = {
            (int(runs[choice.index]), int(images[choice.index])): choice
            for choice in final(query, len(query.pool))
        }
        paths: dict[int, list[Last]] = {}
        for last in last_frames(query.pool):
            paths.setdefault(last.run, []).append(last)
        wanted = [_of_path(query, lasts, new) for lasts in paths.values()]
        turns = chain.from_iterable(zip_longest(*wanted))
        return [choice for choice in turns if choice is not None][:n]


def _of_path(
    query: Query, lasts: Sequence[Last], new: dict[tuple[int, int], Choice]
) -> list[Choice]:
    """Choose the images of a path that have no label, most wanted first."""
    run, end = lasts[0].run, max(last.image for last in lasts)
    between = [last for last in lasts if last.image not in (0, end)]
    energies = PREDICTED_ENERGY.of(query.pool)[[last.frame for last in between]]
    uncertainty = query.scores[[last.frame for last in between]]
    reasons = {end: "last end of the path", 0: "first end of the path"}
    order, others = [0, end], []
    if between:
        highest = between[int(np.nan_to_num(energies, nan=-np.inf).argmax())].image
        rest = np.argsort(-np.nan_to_num(uncertainty, nan=-np.inf), kind="stable")
        others = [between[i].image for i in rest if between[i].image != highest]
        reasons |= dict.fromkeys(others, "image of the path")
        reasons[highest] = "highest image of the path"
        order.append(highest)
    wanted = [image for image in dict.fromkeys(order) if (run, image) in new] or others
    return [
        Choice(choice.index, choice.score, f"{reasons[image]}: {choice.reason}")
        for image in wanted
        if (choice := new.get((run, image))) is not None
    ]
