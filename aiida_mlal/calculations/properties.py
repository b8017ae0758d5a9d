"""Compute properties of structures with a potential, or with an ASE calculator."""

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida.engine.processes.calcjobs.calcjob import CalcJobProcessSpec
from aiida.orm import ArrayData, Dict, List, to_aiida_type

from aiida_mlal.calculations.base import TaskCalculation, plain
from aiida_mlal.data.content import ContentData
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.potential import PotentialData


class PropertiesCalculation(TaskCalculation):
    """Computes lattice and elastic constants, phonons and other properties of structures.

    With a potential and a calculator, those of the calculator stand beside as a reference.
    """

    NAME: ClassVar[str] = "properties"
    PARSER: ClassVar[str] = "mlal.properties"
    POTENTIAL: ClassVar[str] = "potential.safetensors"
    STRUCTURES: ClassVar[str] = "structures.safetensors"

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare inputs and outputs."""
        super().define(spec)
        spec.input(
            "potential",
            valid_type=PotentialData,
            required=False,
            help="Of a committee each member computes all, so that numbers have an interval.",
        )
        spec.input("structures", valid_type=DatasetData, help="Crystals; they are relaxed first.")
        spec.input(
            "properties",
            valid_type=List,
            serializer=to_aiida_type,
            required=False,
            help='Names and options, such as `[{"name": "lattice"}, {"name": "elastic", "strain": '
            "0.01}]`; by default lattice, equation_of_state and elastic.",
        )
        spec.input(
            "calculator",
            valid_type=Dict,
            serializer=to_aiida_type,
            required=False,
            help='Name and options of a calculator, such as `{"name": "emt"}`: beside the '
            "potential, or without one.",
        )
        spec.input(
            "relaxation",
            valid_type=Dict,
            serializer=to_aiida_type,
            required=False,
            help='When structures are relaxed, such as `{"fmax": 0.001, "cell": "fixed"}`.',
        )
        spec.output(
            "structures",
            valid_type=DatasetData,
            help="All structures that were computed, energies, forces and stresses as predictions; "
            "`purpose` in `info` says what for.",
        )
        spec.output(
            "curves",
            valid_type=ArrayData,
            required=False,
            help="Arrays for figures, by `s<structure>_<property>_<curve>`; those of all members "
            "along the first axis.",
        )
        spec.output("results", valid_type=Dict, help="The numbers of each structure.")
        spec.default_output_node = "results"

    @classmethod
    def task_options(cls, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return properties, calculator, relaxation and names of files."""
        files = {
            "potential": cls.POTENTIAL if "potential" in inputs else None,
            "dataset": cls.STRUCTURES,
        }
        return {**plain(inputs, "properties", "calculator", "relaxation"), **files}

    @classmethod
    def files(cls, inputs: Mapping[str, Any]) -> dict[str, ContentData]:
        """Return the structures, and the potential if there is one."""
        names = {"potential": cls.POTENTIAL, "structures": cls.STRUCTURES}
        return {file: inputs[name] for name, file in names.items() if name in inputs}
