"""Train, simulate and choose in one job: where jobs wait long, an iteration waits once."""

from collections.abc import Mapping
from typing import Any

from aiida.engine.processes.calcjobs.calcjob import CalcJobProcessSpec

from aiida_mlal.calculations.base import MlalCalculation, TaskCalculation
from aiida_mlal.calculations.select import SelectCalculation
from aiida_mlal.calculations.simulate import SimulateCalculation
from aiida_mlal.calculations.train import TrainCalculation
from aiida_mlal.data.content import ContentData
from aiida_mlal.data.potential import PotentialData
from aiida_mlal.ml import plugins
from aiida_mlal.ml.options import within
from aiida_mlal.ml.tasks.base import TASK
from aiida_mlal.ml.tasks.simulate import Simulate
from aiida_mlal.ml.tasks.train import Train

STEPS: dict[str, type[TaskCalculation]] = {
    "train": TrainCalculation,
    "simulate": SimulateCalculation,
    "select": SelectCalculation,
}
"""The steps in their order; each has a namespace of ports, and a folder in that of the job."""

MADE = {"train": (), "simulate": ("potential",), "select": ("potential", "pool")}
"""Inputs of each step that are made in the job."""

TRAINED, GIVEN = f"train/{Train.OUTPUT}", f"simulate/{SimulateCalculation.POTENTIAL}"
"""Where the potential is."""

TRAJECTORY = f"simulate/{Simulate.OUTPUT}"


class IterateCalculation(MlalCalculation):
    """Trains a potential, simulates with it, and chooses which frames are labelled.

    Each step has the inputs and outputs of its own calculation, but for what an earlier one makes.
    """

    PARSER = "mlal.iterate"

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare inputs and outputs."""
        super().define(spec)
        for step, calculation in STEPS.items():
            optional = {"required": False, "populate_defaults": False} if step == "train" else {}
            spec.expose_inputs(
                calculation,
                namespace=step,
                exclude=("code", "metadata", *MADE[step]),
                namespace_options={"validator": None, **optional},
            )
            spec.expose_outputs(
                calculation,
                namespace=step,
                exclude=("remote_folder", "remote_stash", "retrieved"),
                namespace_options={"required": False},
            )
        spec.input(
            "potential",
            valid_type=PotentialData,
            required=False,
            help="Simulates where none is trained.",
        )

    @classmethod
    def tasks(cls, inputs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the tasks of the steps, which read what earlier ones made."""
        if ("train" in inputs) == ("potential" in inputs):
            raise ValueError("expected either inputs of 'train' or a 'potential'")
        potential = f"../{TRAINED if 'train' in inputs else GIVEN}"
        made: dict[str, dict[str, str]] = {
            "train": {},
            "simulate": {"potential": potential},
            "select": {"pool": f"../{TRAJECTORY}"},
        }
        query = inputs["select"]["query"].get_dict()
        if plugins.make("strategies", query, "select.query").wants_potential:
            made["select"]["potential"] = potential
        tasks = {}
        for step, calculation in STEPS.items():
            if step in inputs:
                with within(step):
                    tasks[f"{step}/{TASK}"] = calculation.task(inputs[step], **made[step])
        return tasks

    @classmethod
    def files(cls, inputs: Mapping[str, Any]) -> dict[str, ContentData]:
        """Return the files of the steps, and the potential where none is trained."""
        files = {} if "train" in inputs else {GIVEN: inputs["potential"]}
        for step, calculation in STEPS.items():
            if step in inputs:
                given = calculation.files(inputs[step])
                files |= {f"{step}/{name}": node for name, node in given.items()}
        return files
