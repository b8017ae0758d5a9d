"""Compute properties of structures with a potential, and beside it with a calculator of ASE."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from aiida_mlal.ml import load_potential, plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats.describe import untaught
from aiida_mlal.ml.formats.files import check_target, load, write
from aiida_mlal.ml.labelling.calculators import CalculatorOptions
from aiida_mlal.ml.options import build, within
from aiida_mlal.ml.properties.base import Found, Property
from aiida_mlal.ml.properties.compute import EQUILIBRIUM, Row, compute, curves, together
from aiida_mlal.ml.properties.evaluator import Evaluator, Relaxation
from aiida_mlal.ml.tasks.base import Progress, Task, write_json

USUAL: tuple[Mapping[str, Any], ...] = (
    {"name": "lattice"},
    {"name": "equation_of_state"},
    {"name": "elastic"},
)


@dataclass(frozen=True)
class Properties(Task):
    """Compute properties.

    Attributes
    ----------
    properties
        Name and options of each, such as ``{"name": "elastic", "strain": 0.01}``.
    potential
        File of the potential. Of a committee each member computes all, and their mean has an
        interval.
    calculator
        Name and options of a calculator of ASE, whose properties stand beside those of the
        potential as a reference; or alone, without a potential.
    dataset
        File of the structures.
    relaxation
        Criteria of relaxations, and what of the cell is relaxed at the beginning.
    elements
        Of the types 0, 1, ... in files that only number them.
    output
        File of all structures that were computed, with energies, forces and stresses as
        predictions; a file beside it, of the same name and ``.curves.json``, has the curves.
    """

    OUTPUT: ClassVar[str] = "properties.safetensors"
    SUFFIX: ClassVar[str] = ".curves.json"
    LEFT: ClassVar[tuple[str, ...]] = (f"properties{SUFFIX}",)

    properties: tuple[Mapping[str, Any], ...] = USUAL
    potential: str | None = "potential.safetensors"
    calculator: Mapping[str, Any] | None = None
    dataset: str = "structures.safetensors"
    relaxation: Relaxation = field(default_factory=Relaxation)
    output: str = OUTPUT
    elements: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Let the properties and the calculator judge their options."""
        if self.potential is None and self.calculator is None:
            raise ValueError("expected a potential, a calculator, or both, got none")
        if self.calculator is not None:
            build(CalculatorOptions, self.calculator, "calculator")
        self._parts()

    def run(self) -> dict[str, Any]:
        """Compute all properties by each member, and put them together."""
        check_target(self.output)
        parts = self._parts()
        structures, said, calculators = self._read()
        found: dict[str, list[dict[str, list[Found]]]] = {source: [] for source in calculators}
        frames: list[Configurations] = []
        progress = Progress("properties", "done", "total")
        total = len(parts) * sum(map(len, calculators.values()))
        done = 0
        try:
            for source, members in calculators.items():
                for i, calculator in enumerate(members):
                    evaluator = Evaluator(calculator, self.relaxation)
                    found[source].append({})
                    try:
                        for name, column in compute(parts, structures.to_ase(), evaluator):
                            found[source][i][name] = column
                            done += 1
                            progress(source=source, member=i, computed=name, done=done, total=total)
                    finally:
                        frames.append(_frames(evaluator.frames, source, i))
        except BaseException as error:
            if any(found.values()):
                results = self._keep(structures, found, frames, said)
                setattr(error, "result", results)  # noqa: B010
            raise
        results = self._keep(structures, found, frames, said)
        if not any(_has_numbers(row) for row in results["structures"]):
            raise ValueError(f"nothing could be computed: {results['message']}")
        return results

    def _parts(self) -> dict[str, Property]:
        parts: dict[str, Property] = {}
        for i, options in enumerate(self.properties):
            part = plugins.make("properties", options, f"properties[{i}]")
            name = str(options["name"])
            if name in parts:
                raise ValueError(f"properties[{i}]: {name!r} is asked for twice")
            parts[name] = part
        if not parts:
            raise ValueError(f"properties: choose from {plugins.names('properties')}, got none")
        return parts

    def _read(
        self,
    ) -> tuple[Configurations, list[str], dict[str, Sequence[BaseCalculator]]]:
        """Read the structures, and build what computes them."""
        calculators: dict[str, Sequence[BaseCalculator]] = {}
        types = None
        if self.potential is not None:
            from aiida_mlal.ml.calculator import MLCalculator
            from aiida_mlal.ml.formats import potentials
            from aiida_mlal.ml.properties.members import separate

            potential = load_potential(self.potential, self.elements)
            types = potentials.types(potential)
            calculators["potential"] = [MLCalculator(one) for one in separate(potential)]
        contents = load(self.dataset, self.elements, types, named=True)
        structures = contents.configurations
        contents.check_any(self.dataset, "to compute properties of")
        with within(self.dataset):
            if structures.fixed.any():
                i = int(structures.owner[structures.fixed.any(axis=1)][0])
                raise ValueError(
                    f"{structures.called(i)} has fixed atoms, and properties are those of free ones"
                )
            if self.potential is not None:
                potential.check_structures(structures)
            structures.check_atoms()
            if self.calculator is not None:
                options = build(CalculatorOptions, self.calculator, "calculator")
                options.check(structures.elements)
                calculators["calculator"] = [options.build()]
        said = [] if self.potential is None else untaught(self.potential)
        return structures, [*contents.warnings, *said], calculators

    def _keep(
        self,
        structures: Configurations,
        found: Mapping[str, list[dict[str, list[Found]]]],
        frames: Sequence[Configurations],
        said: Sequence[str],
    ) -> dict[str, Any]:
        """Write structures and curves, and return the numbers."""
        main = next(source for source in found if found[source])
        beside = found.get("calculator") if main == "potential" else None
        rows: list[dict[str, Any]] = []
        drawn: dict[str, Any] = {}
        for i, formula in enumerate(structures.formulas):
            members = [_row(member, i) for member in found[main]]
            reference = _row(beside[0], i) if beside else None
            rows.append({"formula": formula, **together(members, reference)})
            drawn |= {f"s{i}_{name}": array for name, array in curves(members).items()}
            if reference is not None:
                drawn |= {
                    f"s{i}_reference_{name}": array for name, array in curves([reference]).items()
                }
        write_json(f"{Path(self.output).with_suffix('')}{self.SUFFIX}", drawn)
        lost = write(Configurations.concatenate(list(frames)), self.output)
        about = [
            f"structure {i}, {sentence}" for i, row in enumerate(rows) for sentence in _said(row)
        ]
        message = "; ".join([*said, *lost, *about])
        return {"message": message, "computed_by": main, "structures": rows}


def _row(columns: Mapping[str, Sequence[Found]], i: int) -> Row:
    return {name: column[i] for name, column in columns.items()}


def _frames(frames: Sequence[Atoms], source: str, member: int) -> Configurations:
    """Return structures with what was computed of them as predictions."""
    computed = Configurations.from_ase(frames)
    purposes = [atoms.info["purpose"] for atoms in frames]
    kept = computed.bare.with_predictions(computed)
    n = len(frames)
    return kept.with_info(purpose=purposes, source=[source] * n, member=np.full(n, member))


def _said(row: Mapping[str, Any]) -> Iterator[str]:
    for name, part in row.items():
        if isinstance(part, Mapping):
            yield from (f"{name}: {sentence}" for sentence in part.get("warnings", ()))


def _has_numbers(row: Mapping[str, Any]) -> bool:
    parts = [part for name, part in row.items() if name not in ("formula", EQUILIBRIUM)]
    return any(set(part) - {"warnings"} for part in parts)
