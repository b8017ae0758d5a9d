"""Train a potential on labelled structures."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import OK, Configurations
from aiida_mlal.ml.folders import check_writable
from aiida_mlal.ml.formats.files import load
from aiida_mlal.ml.formats.labels import LabelKeys
from aiida_mlal.ml.options import as_dict, check_seed, within
from aiida_mlal.ml.stopping import Interrupted
from aiida_mlal.ml.tasks.base import Progress, Task, plain

if TYPE_CHECKING:
    from aiida_mlal.ml.models.base import Potential

OF_MLIP = (".mtp", ".almtp")
FORMATS = (".safetensors", *OF_MLIP)

SAVE_EVERY = 60.0
"""Seconds after which weights are written, for trainings that are killed to go on from."""


@dataclass(frozen=True)
class Train(Task):
    """Train a potential.

    Attributes
    ----------
    model
        Architecture, prior and size of the committee.
    training
        Epochs, optimizer, loss and so on; what is not given is as the architecture declares it.
    dataset
        File of labelled structures; only those whose status is ``ok`` are learned from.
    validation
        File of labelled structures that are not learned from but decide which weights are kept.
    initial
        File of a potential whose weights training begins with, instead of random ones. It is of
        the same model; a moment tensor potential may be of a lower level, or know fewer elements.
    seed
        Of first weights, and of everything random in training.
    uncertainty
        A measure and its options, such as ``{"name": "grade"}``: what it has to know of the
        training set is computed after training, and the potential carries it. By default that of
        the model, which is ``grade`` for a moment tensor potential.
    output
        File to write; a moment tensor potential also as ``.mtp`` or ``.almtp``.
    elements
        Of the types 0, 1, ... in files of the MLIP codes.
    keys
        What files of structures call their labels, where that is not what ASE calls them.
    more_elements
        Those that the potential is to know beside the elements of the labels.
    """

    OUTPUT: ClassVar[str] = "potential.safetensors"
    BEGUN: ClassVar[str] = ".begun"
    LEFT: ClassVar[tuple[str, ...]] = (OUTPUT + BEGUN,)

    model: Mapping[str, Any]
    training: Mapping[str, Any]
    dataset: str = "dataset.safetensors"
    validation: str | None = None
    initial: str | None = None
    seed: int = 0
    uncertainty: Mapping[str, Any] | None = None
    output: str = OUTPUT
    elements: tuple[str, ...] | None = None
    more_elements: tuple[str, ...] = ()
    keys: LabelKeys = field(default_factory=LabelKeys)

    def __post_init__(self) -> None:
        """Let the parts of training judge their options."""
        from aiida_mlal.ml.models.factory import ModelOptions

        check_seed(self.seed)
        model = ModelOptions.parse(self.model)
        model.learner()
        if not self.output.endswith(FORMATS):
            raise ValueError(
                f"{self.output}: the end of the name is of no format of potentials, choose from "
                f"{list(FORMATS)}"
            )
        if not self.output.endswith((".safetensors", *model.formats)):
            raise ValueError(
                f"{self.output}: this format is for one moment tensor potential without a "
                "prior, write a file .safetensors"
            )
        options = model.training(self.training)
        if self.validation is not None and options.validation:
            raise ValueError(
                f"training.validation: {self.validation} is the validation set, so that no share "
                f"of the training set can be one, got {options.validation:g}"
            )
        if self.uncertainty is not None:
            measure = plugins.make("uncertainties", self.uncertainty, "uncertainty")
            with within("uncertainty"):
                measure.check_model(model)
            if measure.wants_held_out and self.validation is None and not options.validation:
                raise ValueError(
                    f"uncertainty: {self.uncertainty['name']!r} needs labels that are not learned "
                    "from: give a validation set, or training.validation, a share of the labels"
                )

    def run(self) -> dict[str, Any]:
        """Train, and write the potential."""
        from aiida_mlal.ml.models.checkpoint import Checkpoint
        from aiida_mlal.ml.models.factory import ModelOptions
        from aiida_mlal.ml.training.fit import fit, split
        from aiida_mlal.ml.training.loop import DivergedError
        from aiida_mlal.ml.uncertainty.doubts import doubts

        check_writable(self.output)
        start = None if self.initial is None else self._start(self.initial)
        known = None if start is None else _types(start)
        contents = load(self.dataset, self.elements, known, self.keys, named=True)
        dataset, notes = contents.configurations, list(contents.warnings)
        contents.check_any(self.dataset, "to learn from")
        types = () if contents.types is None else contents.types.elements
        validation = None
        if self.validation is not None:
            contents = load(self.validation, self.elements, types or known, self.keys, named=True)
            validation = contents.configurations
            notes += contents.warnings
            with within(self.validation):
                validation.check_atoms(validation.status == OK)
        with within(self.dataset):
            dataset.check_atoms(dataset.status == OK)
        options = ModelOptions.parse(self.model).training(self.training)
        about = {"model": self.model, "options": as_dict(options), "seed": self.seed}
        if start is None and not len(dataset.learnable):
            raise ValueError(
                "; ".join([f"{self.dataset} has no structure with a label of status 'ok'", *notes])
            )
        potential = self._potential(dataset.learnable, start, types, validation)
        progress = Progress("epochs", "epoch", "epochs")
        begun, epochs, saved = False, 0, time.monotonic()
        begun_file = Path(self.output + self.BEGUN).absolute()

        def report(epoch: int, loss: float) -> None:
            nonlocal begun, epochs, saved
            begun, epochs = True, epoch
            if time.monotonic() - saved >= SAVE_EVERY:
                with contextlib.suppress(OSError):  # a full disk ends no training
                    Checkpoint(potential, plain({**about, "epochs": epochs})).save(begun_file)
                saved = time.monotonic()
            progress(epoch=epoch, epochs=options.epochs, loss=loss)

        try:
            record = fit(
                potential, dataset, options, self.seed, self.initial is None, report, validation
            ).as_dict()
        except DivergedError as error:
            raise FloatingPointError(str(error)) from error
        except Interrupted as stop:
            said = str(stop)
            if begun:  # the weights are worth beginning with again
                self._save(potential, {**about, "epochs": epochs})
                begun_file.unlink(missing_ok=True)
                said += (
                    f"; {self.output} has the weights after {epochs} epochs, to begin with again"
                )
            raise Interrupted(said, {"epochs": epochs}) from stop
        if validation is not None:
            held_out = validation.learnable
        else:
            held_out = dataset.learnable[
                split(len(dataset.learnable), options.validation, self.seed)[1]
            ]
        record |= self._prepare_uncertainty(potential, dataset.learnable, held_out)
        self._save(potential, {**about, **record})
        begun_file.unlink(missing_ok=True)
        epochs = max(len(curve["train"]) for curve in record["curves"])
        warnings = [
            *notes,
            self._size_warning(dataset),
            *record["warnings"],
            doubts(potential, dataset.learnable),
        ]
        return {**record, "epochs": epochs, "message": "; ".join(filter(None, warnings))}

    def _size_warning(self, dataset: Configurations) -> str:
        """Say what of the dataset may not be as it was meant."""
        said = []
        left_out = len(dataset) - len(dataset.learnable)
        if left_out:
            said.append(
                f"{left_out} of {len(dataset)} structures have no good label, and were not "
                "learned from"
            )
        return "; ".join(said)

    def _prepare_uncertainty(
        self, potential: "Potential", known: Configurations, held_out: Configurations
    ) -> dict[str, Any]:
        """Let the potential carry what a measure of its uncertainty needs, and tell of it."""
        from aiida_mlal.ml.uncertainty.carried import carry

        options = self.uncertainty
        if options is None and potential.uncertainty is not None:
            options = {"name": potential.uncertainty}
        if options is None:
            return {}
        return {"uncertainty": carry(potential, options, known, held_out)}

    def _potential(
        self,
        learnable: Configurations,
        start: "Potential | None",
        types: Sequence[str],
        validation: Configurations | None,
    ) -> "Potential":
        from aiida_mlal.ml.models.factory import ModelOptions

        model = ModelOptions.parse(self.model)
        elements = {*learnable.elements, *self.more_elements}
        elements |= set() if validation is None else {*validation.elements}
        if self.output.endswith(OF_MLIP):  # each type is a species, also where no structure has it
            elements |= {*types}
        if start is None:
            potential = model.build(sorted(elements), self.seed, learnable)
        else:
            elements |= {*start.elements}
            potential = model.build(sorted(elements), self.seed).to(start.dtype)
            try:
                potential.warm_start(start)
            except ValueError as error:
                raise ValueError(
                    f"{self.initial} is not of the model that is to be trained: {error}"
                ) from error
        order = dict.fromkeys([*types, *(_types(start) if start else ()), *potential.elements])
        potential.types = tuple(element for element in order if element in elements)
        return potential

    def _start(self, path: str) -> "Potential":
        """Return the potential to begin with, which may lack some of the elements."""
        from aiida_mlal.ml.formats import potentials

        try:
            return potentials.load(path, self.elements)
        except ValueError as error:
            start = potentials.load(path)
            if not set(start.elements) < set(self.elements or ()):
                raise error
            return start

    def _save(self, potential: "Potential", about: Mapping[str, Any]) -> None:
        from aiida_mlal.ml.formats import potentials
        from aiida_mlal.ml.models.checkpoint import Checkpoint

        if self.output.endswith(OF_MLIP):
            potentials.save(potential, self.output)
        else:
            Checkpoint(potential, plain(about)).save(self.output)


def _types(potential: "Potential") -> tuple[str, ...]:
    from aiida_mlal.ml.formats import potentials

    return potentials.types(potential)
