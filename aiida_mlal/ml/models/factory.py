"""Potentials from their options and from their descriptions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.capabilities import missing
from aiida_mlal.ml.models.ensemble import Ensemble, member_seed
from aiida_mlal.ml.models.references import check
from aiida_mlal.ml.models.sum import Sum
from aiida_mlal.ml.options import as_dict, build, within
from aiida_mlal.ml.training.options import TrainingOptions

LONGEST = 100.0
"""Largest cutoff in Å that can be meant: the number of neighbours grows like its cube."""


@dataclass(frozen=True)
class ModelOptions:
    """Which potential to train: an architecture, on a prior if one is given, how many times.

    Attributes
    ----------
    architecture
        Its name and options.
    prior
        Of a potential without weights, which is added.
    ensemble
        How many potentials are trained.
    reference_energies
        Of elements, in eV, such as those of isolated atoms; the others come of a regression of the
        labels. Elements that the potential doesn't have do no harm.
    """

    architecture: Mapping[str, Any]
    prior: Mapping[str, Any] | None = None
    ensemble: int = 1
    reference_energies: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "ModelOptions":
        """Read ``{"architecture": ..., "prior": {...}, "ensemble": n, **options}`` and check it.

        The options may have ``reference_energies`` as well.

        Raises
        ------
        ValueError
            For an unknown architecture or option, with the path to it.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"model: expected a mapping of options, got {values!r}")
        values = dict(values)
        prior, ensemble = values.pop("prior", None), values.pop("ensemble", 1)
        if not isinstance(ensemble, int) or isinstance(ensemble, bool) or ensemble < 1:
            raise ValueError(
                f"model.ensemble: expected a number of members above 0, got {ensemble!r}"
            )
        references = check(values.pop("reference_energies", {}), "model.reference_energies")
        if prior is not None:
            _options(prior, "model.prior")
        beside = ("architecture", "prior", "ensemble", "reference_energies")
        model = _options(values, "model", beside)[0]
        if ensemble > 1 and not (model.is_learned and model.is_random):
            raise ValueError(
                f"model.ensemble: expected 1, got {ensemble}: the members of an ensemble of "
                f"{values['architecture']!r} would all be the same"
            )
        return cls(values, prior, ensemble, references)

    @property
    def learners(self) -> list[str]:
        """The architectures of these that have weights to be trained."""
        models = _made()
        given = [part["architecture"] for part in (self.architecture, self.prior) if part]
        return [name for name in given if models[name].is_learned]

    def learner(self) -> str:
        """Return the architecture that is trained: the only one of these that has weights.

        Raises
        ------
        ValueError
            If none has weights, or both have.
        """
        models, learners = _made(), self.learners
        given = [part["architecture"] for part in (self.architecture, self.prior) if part]
        if not learners:
            raise ValueError(
                f"model: {' on '.join(map(repr, given))} has no weights to be trained: choose an "
                f"architecture from {[name for name in models if models[name].is_learned]}, it can "
                "be on a 'prior' without weights"
            )
        if len(learners) > 1:
            raise ValueError(
                "model.prior: expected an architecture without weights, one of "
                f"{[name for name in models if not models[name].is_learned]}, got {given[1]!r}"
            )
        return learners[0]

    def require(self, capability: type) -> None:
        """Raise ``ValueError`` if what is trained lacks one of ``models.capabilities``."""
        learner = self.learner()
        if not issubclass(plugins.find("models", learner), capability):
            raise missing(learner, capability)

    @classmethod
    def foreseen(cls, values: Mapping[str, Any], structures: Configurations) -> dict[str, Any]:
        """Return the values of ``parse``, with options that the model takes from first structures.

        Parameters
        ----------
        structures
            Those that simulations begin at, which will meet others.
        """
        model, options = _options(cls.parse(values).architecture, "model")
        before, filled = as_dict(options), as_dict(model.foreseen(options, structures))
        return {**values, **{key: one for key, one in filled.items() if one != before[key]}}

    @property
    def uncertainty(self) -> str | None:
        """The measure that such potentials are trained for, unless another one is asked for."""
        if self.ensemble > 1:
            return None
        measure: str | None = _options(self.architecture, "model")[0].uncertainty
        return measure

    @property
    def formats(self) -> tuple[str, ...]:
        """Ends of the names of files, beside ``.safetensors``, that hold such a potential."""
        if self.ensemble > 1 or self.prior is not None:
            return ()
        endings: tuple[str, ...] = plugins.find("models", self.architecture["architecture"]).formats  # type: ignore[attr-defined]
        return endings

    def check(self, elements: Sequence[str]) -> None:
        """Raise ``ValueError`` if there can be no such potential of these elements."""
        for values in filter(None, (self.prior, self.architecture)):
            cls, options = _options(values, "model")
            cls.check_possible(elements, options)

    def training(self, values: Mapping[str, Any]) -> TrainingOptions:
        """Return options of training, by default those that the architecture declares.

        Raises
        ------
        ValueError
            For a wrong option, and for an optimizer that cannot train such potentials.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"training: expected a mapping of options, got {values!r}")
        usual = plugins.find("models", self.learner()).usual_training  # type: ignore[attr-defined]
        options = build(TrainingOptions, {**usual, **values}, "training")
        optimizer: Any = plugins.make("optimizers", options.optimizer)
        with within("training.optimizer"), plugins.named("optimizers", optimizer):
            optimizer.check_model(self)
        return options

    def build(
        self, elements: Sequence[str], seed: int, structures: Configurations | None = None
    ) -> Potential:
        """Return the untrained potential; each member gets weights of its own from ``seed``.

        What options leave open is decided by ``structures`` to learn from, if there are any.
        """
        seeds = [seed]
        if self.ensemble > 1:
            seeds = [member_seed(seed, member) for member in range(self.ensemble)]
        members = [single(self.architecture, elements, own, structures) for own in seeds]
        for member in members:
            mine = self.reference_energies.items()
            member.references = {e: energy for e, energy in mine if e in member.elements}
        learner = members[0] if self.ensemble == 1 else Ensemble(members)
        if self.prior is None:
            return learner
        return Sum([single(self.prior, elements, seed), learner])


def single(
    values: Mapping[str, Any],
    elements: Sequence[str],
    seed: int,
    structures: Configurations | None = None,
) -> Potential:
    """Build one potential from ``{"architecture": ..., **options}``; see ``ModelOptions.build``."""
    cls, options = _options(values, "model")
    if structures is not None:
        options = cls.settled(options, structures)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        potential: Potential = cls(elements, options)
    return potential


def _options(
    values: Mapping[str, Any], where: str, beside: Sequence[str] = ("architecture",)
) -> tuple[Any, Any]:
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: expected a mapping of options, got {values!r}")
    if "architecture" not in values:
        raise ValueError(f"{where}: option 'architecture' is missing, choose from {list(_made())}")
    try:
        cls: Any = plugins.find("models", values["architecture"])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if cls.Options is None:
        raise ValueError(
            f"{where}: the architecture {values['architecture']!r} comes of the options 'prior' "
            f"and 'ensemble', choose from {list(_made())}"
        )
    options = {key: value for key, value in values.items() if key != "architecture"}
    made = build(cls.Options, options, where, beside)
    cutoff = getattr(made, "cutoff", LONGEST)
    if not 0 < cutoff <= LONGEST:
        raise ValueError(
            f"{where}.cutoff: expected a cutoff above 0 Å and not above {LONGEST:g} Å, got {cutoff}"
        )
    return cls, made


def _made() -> dict[str, Any]:
    """Return the potentials that are not made of others, by name."""
    return {name: cls for name, cls in plugins.usable("models").items() if cls.Options is not None}
