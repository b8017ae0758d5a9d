"""Labelled forces and stresses at the ends of simulations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aiida_mlal.ml import plugins
from aiida_mlal.ml.options import check_positive
from aiida_mlal.ml.stops.base import Aspect, Stop, Verdict
from aiida_mlal.ml.stops.state import State

if TYPE_CHECKING:
    from aiida_mlal.ml.simulation.base import Plan


@dataclass(frozen=True)
class OracleForce(Stop):
    """Converged when the labels say that all simulations ended in relaxed structures.

    Attributes
    ----------
    fmax
        Largest force on a free atom in eV/Å, as labelled, not as predicted.
    smax_GPa
        Where the cell moves: largest component of what of the labelled stress moves it, the
        external pressure taken off.
    """

    fmax: float = 0.05
    smax_GPa: float = 0.1

    looks_at: ClassVar[frozenset[Aspect]] = frozenset({"ends"})

    def __post_init__(self) -> None:
        """Refuse a limit that nothing can meet."""
        check_positive(self, "fmax", "smax_GPa")

    def check_simulation(self, simulation: "Plan | None") -> None:
        """Want simulations that end at equilibrium, as near to it as the labels are to be."""
        super().check_simulation(simulation)
        if simulation is None:
            return
        if not simulation.relaxes:
            name = plugins.name_of("simulations", type(simulation))
            raise ValueError(
                f"stop 'oracle_force' wants simulations that relax, and {name!r} does not: choose "
                "'uninterrupted' or 'agreement'"
            )
        for name, limit, reached, what in (
            ("fmax", self.fmax, simulation.reached[0], "forces below {:g} eV/Å"),
            ("smax_GPa", self.smax_GPa, simulation.reached[1], "stresses below {:g} GPa"),
        ):
            if reached > limit:
                raise ValueError(
                    f"stop 'oracle_force' wants labelled {what.format(limit)}, and simulations "
                    f"are over with predicted {what.format(reached)}: give the simulation a "
                    f"{name!r} of {limit:g} or less, or the stop a larger one"
                )

    def judge(self, state: State) -> Verdict:
        """Compare labelled forces and stresses at the last frame of each run with the limits."""
        if not state.finals:
            return Verdict("go on", "no simulation has been run")
        short = [i for i, run in enumerate(state.runs) if _is_on_its_way(run)]
        if short:
            return Verdict("go on", f"runs {short} did not come to all stationary points")
        missing = sorted({final.run for final in state.finals if final.labelled is None})
        if missing:
            return Verdict("go on", f"the last frames of runs {missing} have no label")
        moving = [final for final in state.finals if final.cell]
        without = sorted({final.run for final in moving if np.isnan(final.smax_GPa)})
        if without:
            return Verdict("go on", f"the labels at the ends of runs {without} have no stress")
        worst = max(state.finals, key=lambda final: final.fmax)
        compared = [
            _Compared(f"labelled force {worst.fmax:.4g} eV/Å", worst.where, worst.fmax, self.fmax)
        ]
        if moving:
            worst = max(moving, key=lambda final: final.smax_GPa)
            what = f"labelled stress {worst.smax_GPa:.4g} GPa"
            compared.append(_Compared(what, worst.where, worst.smax_GPa, self.smax_GPa))
        above = [one for one in compared if not one.value < one.limit]
        if above:
            return Verdict("go on", "; ".join(f"{one} is not below {one.limit:g}" for one in above))
        return Verdict(
            "converged",
            "; ".join(f"{one} is the largest, and below {one.limit:g}" for one in compared),
        )


@dataclass(frozen=True)
class _Compared:
    what: str
    where: str
    value: float
    limit: float

    def __str__(self) -> str:
        return f"{self.what} at {self.where}"


def _is_on_its_way(run: Mapping[str, Any]) -> bool:
    """Whether a run names images that shall be stationary, and some are not yet."""
    return run.get("stationary") is not None and not run.get("converged")
