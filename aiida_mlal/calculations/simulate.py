"""Run a simulation with a potential."""

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida.engine import ProcessSpec
from aiida.engine.processes.calcjobs.calcjob import CalcJobProcessSpec
from aiida.orm import Bool, Dict, to_aiida_type

from aiida_mlal.calculations.base import TaskCalculation, plain
from aiida_mlal.data.content import ContentData
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.potential import PotentialData
from aiida_mlal.data.state import StateData


class SimulateCalculation(TaskCalculation):
    """Runs a simulation from each of some structures: whichever the options name.

    A simulation that its guard stops, or that did not converge, is a result and no failure: how
    each run ended is in ``results``.
    """

    NAME: ClassVar[str] = "simulate"
    PARSER: ClassVar[str] = "mlal.simulate"
    POTENTIAL: ClassVar[str] = "potential.safetensors"
    STRUCTURES: ClassVar[str] = "structures.safetensors"
    BEGUN: ClassVar[str] = "begun.safetensors"

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare inputs and outputs."""
        super().define(spec)
        declare_inputs(spec)
        spec.output(
            "trajectory",
            valid_type=DatasetData,
            help="Frames of all runs, without labels: predictions are in `info` and `arrays`. "
            "After a `state` only those from there on.",
        )
        spec.output(
            "state",
            valid_type=StateData,
            required=False,
            help="Where to go on, if the simulations were interrupted, or it was to be kept.",
        )
        spec.output("results", valid_type=Dict, help="How each run ended.")
        spec.default_output_node = "results"

    @classmethod
    def task_options(cls, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the simulation and names of files."""
        names = {"potential": cls.POTENTIAL, "dataset": cls.STRUCTURES}
        if "state" in inputs:
            names["begun"] = cls.BEGUN
        return {**plain(inputs, "simulation", "keep_state"), **names}

    @classmethod
    def files(cls, inputs: Mapping[str, Any]) -> dict[str, ContentData]:
        """Return the potential, the structures, and the state to go on from."""
        names = {"potential": cls.POTENTIAL, "structures": cls.STRUCTURES, "state": cls.BEGUN}
        return {file: inputs[name] for name, file in names.items() if name in inputs}


def declare_inputs(spec: ProcessSpec) -> None:
    """Declare the inputs of simulations, whichever process runs them."""
    spec.input("potential", valid_type=PotentialData, help="Moves the atoms.")
    spec.input(
        "structures",
        valid_type=DatasetData,
        help="Where to begin, one run for each; fixed atoms stay where they are.",
    )
    spec.input(
        "simulation",
        valid_type=Dict,
        serializer=to_aiida_type,
        help='Name and options, such as `{"name": "relax", "fmax": 0.03, '
        '"guard": {"break": 0.5}}`.',
    )
    spec.input(
        "state",
        valid_type=StateData,
        required=False,
        help="Where the same simulations go on that were interrupted, or run by another potential.",
    )
    spec.input(
        "keep_state",
        valid_type=Bool,
        serializer=to_aiida_type,
        required=False,
        help="Whether the state of a single run is an output when it is over too.",
    )
