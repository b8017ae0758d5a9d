"""Several strategies, one after the other."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aiida_mlal.ml import plugins
from aiida_mlal.ml.options import within
from aiida_mlal.ml.selection.base import ALL, Choice, Query, Strategy

if TYPE_CHECKING:
    from aiida_mlal.ml.models.factory import ModelOptions


@dataclass(frozen=True)
class Combined(Strategy):
    """Let each of several strategies choose from what those before it have left.

    Such as the structures that a potential extrapolates to, and some at random against the noise
    of labels and what no measure sees:
    ``{"name": "combined", "of": [{"name": "maxvol"}, {"name": "random", "n": 5}]}``.

    Attributes
    ----------
    of
        Name and options of each strategy, the most important one first.
    n
        The largest number to choose in all; there is none by default.
    """

    n: int = ALL
    of: tuple[Mapping[str, Any], ...] = ()

    wants_n: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Let each strategy judge its options, and want what any of them wants."""
        super().__post_init__()
        if len(self.of) < 2:
            raise ValueError(
                "expected two or more strategies as 'of', such as "
                '[{"name": "maxvol"}, {"name": "random", "n": 5}], '
                f"got {[dict(one) for one in self.of]}"
            )
        for name in WANTS:
            object.__setattr__(self, name, any(getattr(one, name) for one in self.parts))

    @cached_property
    def parts(self) -> list[Strategy]:
        """The strategies."""
        return [plugins.make("strategies", one, f"of[{i}]") for i, one in enumerate(self.of)]

    @property
    def n_final(self) -> int:
        """How many last frames are chosen at most."""
        return min(self.n, sum(one.n_final for one in self.parts))

    def check_model(self, model: "ModelOptions") -> None:
        """Let each strategy look at the model."""
        for i, one in enumerate(self.parts):
            with within(f"of[{i}]"), plugins.named("strategies", one):
                one.check_model(model)

    def _choose(self, query: Query, n: int) -> list[Choice]:
        chosen: list[Choice] = []
        for one, options in zip(self.parts, self.of):
            taken = np.array([choice.index for choice in chosen], int)
            rest = replace(query, left=query.left[~np.isin(query.left, taken)])
            chosen += [
                replace(choice, reason=f"{options['name']}: {choice.reason}")
                for choice in one.choose(rest)
            ]
        return chosen[:n]


WANTS = ("wants_final", "wants_potential", "wants_uncertainty", "wants_trained", "wants_filters")
"""What a combination wants if one of its strategies does."""
