"""Train a potential on labelled structures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats.files import read
from aiida_mlal.ml.options import as_dict, build
from aiida_mlal.ml.tasks.base import Interrupted, Progress, Task, plain
from aiida_mlal.ml.training.options import TrainingOptions

if TYPE_CHECKING:
    from aiida_mlal.ml.models.base import Potential


@dataclass(frozen=True)
class Train(Task):
    """Train a potential.

    Attributes
    ----------
    model
        Architecture, prior and size of the committee.
    training
        Epochs, optimizer, loss and so on.
    dataset
        File of labelled structures; only those whose status is ``ok`` are learned from.
    initial
        File of a potential whose weights training begins with, instead of random ones.
    seed
        Of first weights, and of everything random in training.
    """

    OUTPUT: ClassVar[str] = "potential.safetensors"

    model: Mapping[str, Any]
    training: Mapping[str, Any]
    dataset: str = "dataset.safetensors"
    initial: str | None = None
    seed: int = 0
    output: str = OUTPUT

    def __post_init__(self) -> None:
        """Let the parts of training judge their options."""
        from aiida_mlal.ml.models.factory import ModelOptions

        ModelOptions.parse(self.model)
        build(TrainingOptions, self.training, "training")

    def run(self) -> dict[str, Any]:
        """Train, and write the potential."""
        from aiida_mlal.ml.models.checkpoint import Checkpoint
        from aiida_mlal.ml.training.fit import DivergedError, fit

        dataset = read(self.dataset)
        options = build(TrainingOptions, self.training, "training")
        about = {"model": self.model, "options": as_dict(options), "seed": self.seed}
        potential = self._potential(dataset.learnable)
        progress, epochs = Progress(), 0

        def report(epoch: int, loss: float) -> None:
            nonlocal epochs
            epochs = epoch
            progress(epoch=epoch, epochs=options.epochs, loss=loss)

        try:
            record = fit(
                potential, dataset, options, self.seed, self.initial is None, report
            ).as_dict()
        except DivergedError as error:
            raise FloatingPointError(str(error)) from error
        except Interrupted as stop:
            if epochs:  # the weights are worth beginning with again
                Checkpoint(potential, plain({**about, "epochs": epochs})).save(self.output)
            raise Interrupted(str(stop), {"epochs": epochs}) from stop
        Checkpoint(potential, plain({**about, **record})).save(self.output)
        return {**record, "epochs": max(len(curve["train"]) for curve in record["curves"])}

    def _potential(self, learnable: Configurations) -> "Potential":
        from aiida_mlal.ml.models.checkpoint import Checkpoint
        from aiida_mlal.ml.models.factory import ModelOptions

        model = ModelOptions.parse(self.model)
        if self.initial is None:
            if not len(learnable):
                raise ValueError(f"{self.dataset} has no structure with a label of status 'ok'")
            return model.build(learnable.elements, self.seed)
        start = Checkpoint.load(self.initial).potential
        potential = model.build(start.elements, self.seed).to(start.dtype)
        difference = _difference(potential.describe(), start.describe())
        if difference:
            raise ValueError(
                f"{self.initial} is not of the model that is to be trained: {difference}"
            )
        potential.load_state_dict(start.state_dict())
        return potential


def _difference(wanted: Any, found: Any, where: str = "model") -> str:
    """Return where two descriptions differ first, in words; nothing if they are equal."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        keys = sorted({*wanted, *found})
        pairs = [(wanted.get(key), found.get(key), f"{where}.{key}") for key in keys]
    elif isinstance(wanted, (list, tuple)) and isinstance(found, (list, tuple)):
        if len(wanted) != len(found):
            return f"{where} has {len(wanted)} parts, in the file {len(found)}"
        pairs = [(w, f, f"{where}[{i}]") for i, (w, f) in enumerate(zip(wanted, found))]
    else:
        return "" if wanted == found else f"{where} is {wanted!r}, in the file {found!r}"
    return next(filter(None, (_difference(*pair) for pair in pairs)), "")
