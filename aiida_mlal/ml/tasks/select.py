"""Choose which structures of a pool are labelled next."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from aiida_mlal.ml import load_potential, parts
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats.files import read, write
from aiida_mlal.ml.options import build
from aiida_mlal.ml.selection.filters import Filters
from aiida_mlal.ml.selection.select import select
from aiida_mlal.ml.tasks.base import Task


@dataclass(frozen=True)
class Select(Task):
    """Choose structures.

    Attributes
    ----------
    strategy
        Name and options of the query strategy, such as ``{"name": "final", "n": 2}``.
    filters
        What is not worth a label.
    pool, train
        Files of the candidates and of the structures that are labelled already, if there are any.
    potential
        File of the potential, for strategies that need what the pool does not carry.
    seed
        Of everything random in the choice.
    """

    OUTPUT: ClassVar[str] = "selected.safetensors"

    strategy: Mapping[str, Any]
    filters: Mapping[str, Any] = field(default_factory=dict)
    pool: str = "pool.safetensors"
    train: str | None = "train.safetensors"
    potential: str | None = None
    seed: int = 0
    output: str = OUTPUT

    def __post_init__(self) -> None:
        """Let the strategy and the filters judge their options."""
        parts.make("strategies", self.strategy, "strategy")
        build(Filters, self.filters, "filters")

    def run(self) -> dict[str, Any]:
        """Choose, and write the chosen structures in the order of the choice."""
        pool = read(self.pool)
        selection = select(
            pool,
            Configurations.empty() if self.train is None else read(self.train),
            parts.make("strategies", self.strategy, "strategy"),
            build(Filters, self.filters, "filters"),
            self.seed,
            None if self.potential is None else load_potential(self.potential),
        )
        write(selection.of(pool), self.output)
        return selection.as_dict()
