"""A stop."""

from dataclasses import dataclass
from typing import ClassVar

from aiida_mlal.ml.stops import State, Stop, Verdict


@dataclass(frozen=True)
class Cost(Stop):
    """Exhausted when labels have cost so much."""

    budget: float
    price: float = 1.0

    bounds: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (self.budget > 0 and self.price > 0):
            raise ValueError(f"expected budget and price above 0, got {self.budget}, {self.price}")

    def judge(self, state: State) -> Verdict:
        paid = self.price * state.n_labels
        outcome = "exhausted" if paid >= self.budget else "go on"
        return Verdict(outcome, f"{paid:g} of {self.budget:g} paid")
