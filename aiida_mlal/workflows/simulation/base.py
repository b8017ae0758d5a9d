"""Interface of simulation engines, so that a campaign can use any of them."""

from collections.abc import Mapping
from typing import Any

from aiida.engine import ExitCode
from aiida.orm import Dict

from aiida_mlal.calculations.simulate import declare_inputs
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.potential import PotentialData
from aiida_mlal.data.state import StateData
from aiida_mlal.ml import plugins
from aiida_mlal.ml.simulation.base import Plan, check_results
from aiida_mlal.workflows.interface import ExchangeableWorkChain, Interface

SIMULATION = Interface(
    "simulation",
    "run simulations",
    "simulated",
    "simulate",
    inputs={"potential": PotentialData, "structures": DatasetData, "simulation": Dict},
    outputs={"trajectory": DatasetData, "results": Dict},
)


class SimulationWorkChain(ExchangeableWorkChain):
    """Runs simulations with a potential. A subclass is an engine; ports are the interface.

    How a run ends is a result and no failure: each has a reason in ``results``. An engine that can
    go on from where it was also takes and gives a ``state``.
    """

    @classmethod
    def plan(cls, options: Mapping[str, Any]) -> Plan:
        """Build the plan of the input ``simulation``; ``ValueError`` for wrong options.

        The simulations of the group ``aiida_mlal.simulations`` unless an engine has others.
        """
        made: Plan = plugins.make("simulations", options, "simulation")
        return made

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare the interface."""
        super().define(spec)
        declare_inputs(spec)
        spec.inputs["simulation"].validator = cls._objection
        spec.output(
            "trajectory",
            valid_type=DatasetData,
            help="Frames of all runs, without labels: predictions are in `info` and `arrays`.",
        )
        spec.output("results", valid_type=Dict, help="How each run ended, as `runs`.")
        spec.output("state", valid_type=StateData, required=False, help="Where runs can go on.")
        spec.exit_code(
            411, "ERROR_OTHER_RESULTS", message="The results are not those of the runs: {why}"
        )

    def give(
        self, trajectory: DatasetData, results: Dict, state: StateData | None = None
    ) -> ExitCode | None:
        """Attach the outputs, unless they are not those of runs from the structures.

        Parameters
        ----------
        trajectory
            Frames with the columns of ``ml.frames``: at least ``run``, ``step`` and predictions.
        results
            ``runs`` has for each run the JSON values of ``ml.simulation.base.Run``.
        """
        plan = self.plan(self.inputs.simulation.get_dict())
        groups = plan.groups(self.inputs.structures.configurations)
        try:
            check_results(groups, trajectory.configurations, results.get_dict().get("runs", ()))
        except ValueError as error:
            return self.exit_codes.ERROR_OTHER_RESULTS.format(why=error)
        self.out("trajectory", trajectory)
        self.out("results", results)
        if state is not None:
            self.out("state", state)
        return None

    @classmethod
    def _objection(cls, node: Dict | None, _: Any) -> str | None:
        try:
            cls.plan({} if node is None else node.get_dict())
        except ValueError as error:
            return str(error)
        return None


def plan_of(entry_point: str, options: Mapping[str, Any]) -> Plan:
    """Build the plan of simulations from the options of an engine."""
    ask = getattr(SIMULATION.find(entry_point), "plan", SimulationWorkChain.plan)
    plan: Plan = ask(options)
    return plan
