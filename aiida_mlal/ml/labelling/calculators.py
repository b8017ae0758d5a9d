"""ASE calculators by name, or from a user's function."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module, metadata
from typing import Any

import ase
import numpy as np
from ase import Atoms
from ase.calculators import emt
from ase.calculators.calculator import (
    BaseCalculator,
    PropertyNotImplementedError,
    get_calculator_class,
)
from ase.calculators.calculator import names as ase_names
from ase.stress import voigt_6_to_full_3x3_stress
from jaxtyping import Float

from aiida_mlal.ml.doubtful_labels import LOPSIDED
from aiida_mlal.ml.errors import in_words
from aiida_mlal.ml.folders import working_in
from aiida_mlal.ml.labelling.allowed import check_commands, check_factory, is_always_allowed
from aiida_mlal.ml.labelling.fingerprint import Method
from aiida_mlal.ml.labelling.foundation import FOUNDATION, FoundationModel
from aiida_mlal.ml.labelling.outcome import NoLabel
from aiida_mlal.ml.options import suggest, within

ASE_VERSION: str = ase.__version__

NAMES = (*FOUNDATION, *ase_names)
"""What calculators are called that need no factory."""


@dataclass(frozen=True)
class CalculatorOptions:
    """Which calculator, and with what options.

    Attributes
    ----------
    name
        As ASE calls it (``emt``, ``lj``, ``morse``, ``gpaw``, ...), or a foundation model
        (``sevennet``, ``chgnet``; extra ``foundation``); with ``factory``, any name.
    options
        Arguments of the calculator or of the factory; ``checkpoint`` and ``device`` of a
        foundation model.
    factory
        ``module:function`` that returns the calculator, for those that ASE does not know. The
        computer where it runs must allow it (see ``ml.labelling.allowed``).
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    factory: str | None = None

    def __post_init__(self) -> None:
        """Refuse a name that ASE does not know, and options that a simple calculator lacks."""
        if self.factory is not None:
            module, _, function = self.factory.partition(":")
            if not module or not function:
                raise ValueError(f"expected a factory as 'module:function', got {self.factory!r}")
            return
        if self.foundation is not None:
            self._check_foundation(self.foundation)
            return
        if self.name not in NAMES:
            raise ValueError(
                f"unknown calculator {self.name!r}{suggest(self.name, NAMES)}; any other is "
                "built by a function of yours, given as 'factory': 'module:function'"
            )
        if self.name in _SIMPLE:
            known = get_calculator_class(self.name).default_parameters
            for option in self.options:
                if option not in known:
                    raise ValueError(
                        f"calculator '{self.name}': unknown option {option!r}"
                        f"{suggest(option, known)}"
                    )

    @property
    def foundation(self) -> FoundationModel | None:
        """The foundation model that is named, if one is."""
        return None if self.factory is not None else FOUNDATION.get(self.name)

    def _check_foundation(self, model: FoundationModel) -> None:
        """Raise ``ValueError`` for options that a foundation model lacks."""
        known = list(inspect.signature(model.choose).parameters)
        for option in self.options:
            if option not in known:
                raise ValueError(
                    f"calculator '{self.name}': unknown option {option!r}{suggest(option, known)}"
                )
        with within(f"calculator '{self.name}'"):
            model.choose(**self.options)

    def check(self, elements: Iterable[str]) -> None:
        """Raise ``ValueError`` for elements that the calculator is known to lack."""
        if self.factory is None and self.name == "emt":
            strange = sorted(set(elements) - set(emt.parameters))
            if strange:
                raise ValueError(
                    f"calculator 'emt' knows {sorted(emt.parameters)}, the structures have "
                    f"{strange}"
                )

    @property
    def gives_stress(self) -> bool | None:
        """Whether labels have a stress; None where that is not known without the calculator."""
        if self.factory is not None:
            return None
        if self.foundation is not None:
            return True
        try:
            known = get_calculator_class(self.name)
        except (ImportError, AttributeError):  # it may be installed where labels are made
            return None
        return "stress" in getattr(known, "implemented_properties", ())

    def build(self) -> BaseCalculator:
        """Return a new calculator.

        Raises
        ------
        ValueError
            If the module, the function or the program cannot be found, or an option is wrong.
        """
        make = self._factory()
        try:
            calculator = make(**self.options)
        except Exception as error:
            raise ValueError(
                f"calculator '{self.name}' cannot be built: {in_words(error)}"
            ) from error
        if not hasattr(calculator, "get_potential_energy"):
            raise ValueError(
                f"expected an ASE calculator from {self.factory!r}, got {calculator!r}"
            )
        return calculator

    def check_arguments(self) -> None:
        """Raise ``ValueError`` if what builds the calculator lacks, or does not take the options.

        Nothing is built. What cannot be imported, which may be elsewhere, has the error as cause.
        """
        make = self._factory()
        try:
            signature = inspect.signature(make)
        except (TypeError, ValueError):
            return  # some built-in functions have none
        try:
            signature.bind(**self.options)
        except TypeError as error:
            raise ValueError(
                f"calculator '{self.name}': {self.factory or make.__name__} does not take its "
                f"options: {error}"
            ) from error

    @property
    def method(self) -> Method:
        """Method of the labels; the name of the calculator counts only without a factory."""
        decides = {k: v for k, v in self.options.items() if k not in _IDLE}
        if self.factory is not None:
            return Method({"factory": self.factory, "options": decides})
        if self.foundation is not None:
            decides = {"checkpoint": self.foundation.choose(**self.options)[0]}
        if self.name in _SIMPLE:
            decides = {**get_calculator_class(self.name).default_parameters, **decides}
        return Method({"calculator": self.name, "options": decides})

    @property
    def fingerprint(self) -> str:
        """A short word that is equal for labels of the same method and version."""
        package = self._package
        return self.method.fingerprint(ASE_VERSION if package is None else version_of(package))

    def describe(self) -> dict[str, Any]:
        """Describe the calculator for a reader."""
        described: dict[str, Any] = {
            "calculator": self.name,
            "options": dict(self.options),
            "ase": ASE_VERSION,
        }
        if self.factory is not None:
            described["factory"] = self.factory
        if self.foundation is not None:
            described |= self.foundation.describe(**self.options)
        if self._package is not None:
            described["version"] = version_of(self._package)
        return described

    @property
    def made_by(self) -> dict[str, Any]:
        """The ``fingerprint`` of labels, and a ``description`` of the calculator for a reader."""
        return {"fingerprint": self.fingerprint, "description": self.describe()}

    @property
    def _package(self) -> str | None:
        """The package that the calculator comes with; None for those of ASE."""
        if self.factory is not None:
            return self.factory.partition(":")[0].partition(".")[0]
        return None if self.foundation is None else self.foundation.package

    def _factory(self) -> Callable[..., Any]:
        if self.foundation is not None:
            return self.foundation.build
        check_commands(self.options)
        if self.factory is None:
            try:
                factory: Callable[..., Any] = get_calculator_class(self.name)
            except (ImportError, AttributeError) as error:
                raise ValueError(
                    f"calculator '{self.name}' cannot be loaded, is it installed? {error}"
                ) from error
            return factory
        check_factory(self.factory)
        module, _, function = self.factory.partition(":")
        try:
            home = import_module(module)
        except Exception as error:  # a module of a user's may fail in all ways there are
            words = str(error) if isinstance(error, ImportError) else repr(error)
            if isinstance(error, ModuleNotFoundError) and error.name in _parents(module):
                words += (
                    "; install it, or name the folder that it is in by PYTHONPATH, as in "
                    "'PYTHONPATH=. mlal label ...': the current folder is not searched"
                )
            raise ValueError(
                f"the module of the factory {self.factory!r} cannot be imported: {words}"
            ) from error
        try:
            factory = getattr(home, function)
        except AttributeError as error:
            here = [name for name, _ in inspect.getmembers(home, callable)]
            raise ValueError(
                f"module {module!r} has no function {function!r}{suggest(function, here)}"
            ) from error
        known = isinstance(factory, type) and issubclass(factory, BaseCalculator)
        if is_always_allowed(self.factory) and not known:
            raise ValueError(
                f"expected a class of calculators of ASE, got {self.factory!r}, which is none"
            )
        return factory


@dataclass(frozen=True, eq=False)
class Computed:
    """Results of a calculator for one structure.

    Attributes
    ----------
    energy
        In eV: the one that forces are derivatives of, where the calculator knows it.
    forces
        In eV/Å, without the effect of constraints.
    stress
        In eV/Å³, positive in tension; NaN where there is none.
    moments
        Along z in Bohr magnetons, one for each atom; None where the calculator knows none.
    """

    energy: float
    forces: Float[np.ndarray, "atoms 3"]
    stress: Float[np.ndarray, "3 3"]
    moments: Float[np.ndarray, " atoms"] | None = None


@working_in()
def compute(atoms: Atoms) -> Computed:
    """Let the calculator of ``atoms`` compute them; whatever it raises passes through.

    Raises
    ------
    NoLabel
        If a result is anything else than finite real numbers, as many as there are atoms.
    """
    # the most demanding property first, so that a code that computes what it is asked runs once
    stress = np.full((3, 3), np.nan)
    if atoms.pbc.all() and "stress" in getattr(atoms.calc, "implemented_properties", ()):
        with suppress(PropertyNotImplementedError):  # with these options
            stress = _stress(atoms.calc.get_stress(atoms))
    forces = _real("forces", atoms.get_forces(apply_constraint=False), (len(atoms), 3))
    try:
        energy = atoms.get_potential_energy(force_consistent=True, apply_constraint=False)
    except (PropertyNotImplementedError, NotImplementedError):
        energy = atoms.get_potential_energy(apply_constraint=False)
    results = getattr(atoms.calc, "results", {})
    other, moments = results.get("energy"), results.get("magmoms")
    if other is not None:  # the energy at zero temperature, where that of the forces was taken
        _real("energy", other, ())
    if moments is not None and np.shape(moments) == (len(atoms),):  # not those of other directions
        moments = _real("moments", moments, (len(atoms),))
    else:
        moments = None
    return Computed(float(_real("energy", energy, ())), forces, stress, moments)


def _parents(module: str) -> list[str]:
    """Return the names of a module and of the packages that it is in."""
    parts = module.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _stress(value: Any) -> np.ndarray:
    """Return a stress as a symmetric matrix; ``ValueError`` for one that is not."""
    if np.shape(value) == (3, 3):
        matrix = _real("stress", value, (3, 3))
        apart, size = np.abs(matrix - matrix.T).max(), np.abs(matrix).max()
        if apart > LOPSIDED * size:
            raise ValueError(
                f"the stress is not symmetric: components differ by {apart:.2g} eV/Å³ of {size:.2g}"
            )
        return (matrix + matrix.T) / 2
    full: np.ndarray = voigt_6_to_full_3x3_stress(_real("stress", value, (6,)))
    return full


def _real(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or array.shape != shape:
        wanted = f"numbers of shape {shape}" if shape else "a number"
        raise NoLabel(f"expected {wanted} as {name}, got {str(value)[:80]}")
    if not np.isfinite(array).all():
        raise NoLabel(f"the {name} {'are' if name == 'forces' else 'is'} not finite")
    return array.astype(float)


_SIMPLE = ("emt", "lj", "morse", "tip3p", "tip4p")
"""Calculators of ASE that ignore an unknown option, and list those that they know."""

_IDLE = ("command", "directory", "label", "logfile", "profile", "txt")
"""Options of many calculators that say where and how they run, not what they compute."""


@cache
def version_of(top: str) -> str | None:
    """Return the version of a top-level package; all that is installed is looked through."""
    for package in metadata.packages_distributions().get(top, []):
        return metadata.version(package)
    return None
