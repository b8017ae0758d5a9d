"""Foundation models that come with their weights in a package, as calculators by name.

Checkpoints of torch are pickles, which run what code they like when they are loaded. Those that an
installed package brings are loaded, by their name; no file of anybody's is.
"""

import hashlib
import io
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, Calculator, all_changes

from aiida_mlal.ml.options import suggest


@dataclass(frozen=True)
class Checkpoint:
    """Weights of a foundation model.

    Attributes
    ----------
    functional
        Of the labels that it has learned.
    file
        Of the weights, in the folder of the package.
    options
        Of the calculator, where it takes more than weights.
    """

    functional: str
    file: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FoundationModel:
    """A package that brings weights.

    Attributes
    ----------
    package
        That is imported.
    checkpoints
        By name; the first one is the default.
    licence
        Of code and weights.
    citation
        Where it was published.
    load
        Returns a calculator of a file of weights, on a device, with the options of the checkpoint.
    """

    package: str
    checkpoints: Mapping[str, Checkpoint]
    licence: str
    citation: str
    load: Callable[..., BaseCalculator]

    def choose(
        self, checkpoint: str | None = None, device: str | None = None
    ) -> tuple[str, str | None]:
        """Return the name of the checkpoint, and the device: without one a GPU, if there is one.

        Raises
        ------
        ValueError
            For a checkpoint that the package does not bring.
        """
        name = checkpoint or next(iter(self.checkpoints))
        if name not in self.checkpoints:
            raise ValueError(
                f"unknown checkpoint {name!r}{suggest(name, self.checkpoints)}; weights in a file "
                "of yours are loaded by a function of yours, given as 'factory'"
            )
        return name, device

    def build(self, checkpoint: str | None = None, device: str | None = None) -> BaseCalculator:
        """Return a new calculator.

        Raises
        ------
        ImportError
            If the package is not installed, or lacks the weights.
        """
        name, device = self.choose(checkpoint, device)
        chosen = self.checkpoints[name]
        path = _path(self.package, chosen.file)
        if path is None:
            raise ImportError(
                f"checkpoint {name!r} comes with the package {self.package!r}, which is not "
                "installed here, or is of another version: `pip install aiida-mlal[foundation]`"
            )
        # some say where they run, and all warn of what torch will not have any more
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.load(str(path), device, **chosen.options)

    def describe(self, checkpoint: str | None = None, device: str | None = None) -> dict[str, Any]:
        """Describe a checkpoint for a reader, its weights by their SHA-256."""
        name, _ = self.choose(checkpoint, device)
        return {
            "checkpoint": name,
            "functional": self.checkpoints[name].functional,
            "licence": self.licence,
            "citation": self.citation,
            "weights": _hash(_path(self.package, self.checkpoints[name].file)),
        }


def _of_sevennet(functional: str, folder: str, name: str, **options: Any) -> Checkpoint:
    file = f"pretrained_potentials/SevenNet_{folder}/checkpoint_{name}.pth"
    return Checkpoint(functional, file, options)


class InBox(Calculator):
    """A calculator of crystals alone, with vacuum in directions that are not periodic.

    Parameters
    ----------
    reach
        Up to which distance in Å an atom sees another one.
    """

    def __init__(self, inner: BaseCalculator, reach: float) -> None:
        super().__init__()
        self.inner, self.reach = inner, reach
        self.implemented_properties = list(inner.implemented_properties)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = tuple(all_changes),
    ) -> None:
        """Compute the atoms in the box; cells that are not periodic throughout have no stress."""
        super().calculate(atoms, properties, system_changes)
        boxed = self.atoms.copy()
        for axis in np.flatnonzero(~boxed.pbc).tolist():
            boxed.center(vacuum=self.reach / 2, axis=axis)
        boxed.pbc = True
        self.inner.calculate(boxed, ["energy", "forces", "stress"], all_changes)
        self.results = dict(self.inner.results)
        if not self.atoms.pbc.all():
            self.results.pop("stress", None)


def _sevennet(weights: str, device: str | None, **options: Any) -> BaseCalculator:
    from sevenn.calculator import SevenNetCalculator

    calculator = SevenNetCalculator(weights, device=device or "auto", **options)
    return InBox(calculator, float(calculator.cutoff))


def _chgnet(weights: str, device: str | None) -> BaseCalculator:
    from chgnet.model import CHGNet
    from chgnet.model.dynamics import CHGNetCalculator

    model = CHGNet.from_file(weights)
    calculator = CHGNetCalculator(model, use_device=device, on_isolated_atoms="ignore")
    return InBox(calculator, float(model.graph_converter.atom_graph_cutoff))


FOUNDATION = {
    "sevennet": FoundationModel(
        "sevenn",
        {
            "7net-0": _of_sevennet("PBE", "0__11Jul2024", "sevennet_0"),
            "7net-l3i5": _of_sevennet("PBE", "l3i5", "l3i5"),
            "7net-mf-0-pbe": _of_sevennet("PBE", "MF_0", "sevennet_mf_0", modal="PBE"),
            "7net-mf-0-r2scan": _of_sevennet("r2SCAN", "MF_0", "sevennet_mf_0", modal="R2SCAN"),
        },
        "MIT",
        "Y. Park et al., J. Chem. Theory Comput. 20, 4857 (2024)",
        _sevennet,
    ),
    "chgnet": FoundationModel(
        "chgnet",
        {
            "0.3.0": Checkpoint("PBE", "pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar"),
            "r2scan": Checkpoint(
                "r2SCAN",
                "pretrained/r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
            ),
        },
        "modified BSD",
        "B. Deng et al., Nat. Mach. Intell. 5, 1031 (2023)",
        _chgnet,
    ),
}
"""What is known, by the name that options of calculators and models have for it."""


def _path(package: str, file: str) -> Path | None:
    """Return where a file of a package is; None where there is none."""
    spec = util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / file
    return path if path.is_file() else None


@cache
def _hash(path: Path | None) -> str | None:
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
