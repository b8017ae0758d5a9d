"""Choose which structures of a pool are labelled next."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from aiida_mlal.ml import load_potential, plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats.files import check_target, load_together, write
from aiida_mlal.ml.formats.labels import LabelKeys
from aiida_mlal.ml.frames import PREDICTED_ENERGY
from aiida_mlal.ml.options import build, check_seed, within
from aiida_mlal.ml.selection.base import Strategy
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
        What is not worth a label. By default the usual limits, or none where the strategy wants
        none, as ``maxvol``.
    pool, train
        Files of the candidates and of the structures that are labelled already, if there are any.
    potential
        File of the potential, for strategies that need what the pool does not carry.
    seed
        Of everything random in the choice.
    taken
        Places in the pool of what was chosen before, and is no candidate any more.
    elements
        Of the types 0, 1, ... in files that only number them.
    keys
        What files of structures call their labels, where that is not what ASE calls them; of
        candidates and training set one may lack them.
    keep_labels
        Whether what is written has the labels of the candidates, where these have any. Otherwise
        it has none, to be labelled.
    output
        File of the structures that were chosen.
    """

    OUTPUT: ClassVar[str] = "selected.safetensors"

    strategy: Mapping[str, Any]
    filters: Mapping[str, Any] | None = None
    pool: str = "pool.safetensors"
    train: str | None = "train.safetensors"
    potential: str | None = None
    seed: int = 0
    taken: tuple[int, ...] = ()
    elements: tuple[str, ...] | None = None
    keep_labels: bool = False
    output: str = OUTPUT
    keys: LabelKeys = field(default_factory=LabelKeys)

    def __post_init__(self) -> None:
        """Let the strategy and the filters judge their options."""
        check_seed(self.seed)
        plugins.make("strategies", self.strategy, "strategy")
        self._filters()

    def run(self) -> dict[str, Any]:
        """Choose, and write the chosen structures in the order of the choice.

        With a potential they carry what it says of them, to be compared with their labels.
        """
        check_target(self.output)
        potential, types = None, self.elements
        if self.potential is not None:
            from aiida_mlal.ml.formats.potentials import types as types_of

            potential = load_potential(self.potential, self.elements)
            types = types_of(potential)
        names = [self.pool] if self.train is None else [self.pool, self.train]
        contents = load_together(names, self.elements, types, self.keys)
        said = [warning for one in contents for warning in one.warnings]
        pool, *others = (one.configurations for one in contents)
        for name, structures in zip(names, (pool, *others)):
            with within(name):
                structures.check_cells()
                if name == self.train or not self.has_filters:
                    structures.check_atoms(structures.counts > 0)
        train = others[0] if others else Configurations.empty()
        selection = select(
            pool,
            train,
            plugins.make("strategies", self.strategy, "strategy"),
            self._filters(),
            self.seed,
            potential,
            self.taken,
        )
        chosen = selection.chosen_from(pool) if self.keep_labels else selection.of(pool)
        new_to_it = len(chosen) and not PREDICTED_ENERGY.is_in(pool)
        if potential is not None and len(train) and new_to_it:  # else it has learned nothing
            chosen = chosen.with_predictions(potential.predict(chosen))
        said += write(chosen, self.output, types)
        told = selection.as_dict()
        said += [told["message"]] if told.get("message") else []
        return {**told, "message": "; ".join(said)}

    @property
    def has_filters(self) -> bool:
        """Whether candidates are filtered: those with atoms at the same place are left out then."""
        strategy: Strategy = plugins.make("strategies", self.strategy, "strategy")
        return self.filters is not None or strategy.wants_filters

    def _filters(self) -> Filters | None:
        return None if self.filters is None else build(Filters, self.filters, "filters")
