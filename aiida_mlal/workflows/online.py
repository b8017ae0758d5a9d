"""Online active learning: simulations stop where the potential isn't sure, and go on from there."""

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida.engine import ExitCode
from aiida.engine.processes.ports import PortNamespace
from aiida.orm import Bool, ProcessNode
from aiida.plugins import WorkflowFactory

from aiida_mlal.ml import plugins, stops
from aiida_mlal.ml.simulation.base import MAX_STEPS, first_message
from aiida_mlal.ml.simulation.guard import UNPHYSICAL
from aiida_mlal.workflows import online_calcfunctions
from aiida_mlal.workflows.offline import OfflineWorkChain, validate
from aiida_mlal.workflows.simulation.base import SIMULATION, plan_of


class OnlineWorkChain(OfflineWorkChain):
    """Label the step at which a simulation is not sure, learn from it, and go on from that step.

    The loop is that of offline learning. Each run is a job of its own, so that many run at once,
    and ends where its guard says so: because of the uncertainty, after a number of steps without a
    label, or as it stands still. Where it ended is labelled, for the reason that the selection
    names; the next potential takes over there with momenta, thermostat and what an optimiser has
    learned. A run that reached its aim is verified by a label in the same way, and is over when the
    stops are content with it.
    """

    RECIPES: ClassVar[dict[str, str]] = {
        "online": "online learning",
        "saddle": "saddle point by Gaussian processes",
    }

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs: runs begin nowhere else after the first iteration, and each is a job."""
        super().define(spec)
        for name in ("start", "iterate", "pilot"):
            del spec.inputs[name]
        spec.inputs.validator = validate_online

    def begin(self) -> None:
        """Find out which runs there are."""
        super().begin()
        begin: Any = online_calcfunctions.begin_runs
        outputs = begin(
            structures=self.ctx.structures,
            simulating=self.inputs.simulating,
            simulation=self.inputs.simulation,
            learned=Bool(not {"potential", "first_query"} & set(self.inputs)),
            metadata={"call_link_label": "begin_runs"},
        )
        self.ctx.keep_state = outputs.pop("keep_state")
        self.ctx.runs = self.ctx.active = sorted(outputs)
        for name, structures in outputs.items():
            self.ctx[f"begun_{name}"] = structures

    def simulate(self) -> None:
        """Let all runs go on that are not over."""
        workflow = WorkflowFactory(self.inputs.simulating.value)
        for name in self.ctx.active:
            inputs = {
                **self.inputs.get("simulate", {}),
                "potential": self.ctx.potential,
                "structures": self.ctx[f"begun_{name}"],
                "simulation": self.ctx.simulation,
                "keep_state": self.ctx.keep_state,
            }
            if f"state_{name}" in self.ctx:
                inputs["state"] = self.ctx[f"state_{name}"]
            step = "simulate" if len(self.ctx.runs) == 1 else f"simulate_{name}"
            child = self._launch("simulation", step, workflow, inputs)
            self.to_context(**{f"simulation_{name}": child})

    def take_trajectory(self) -> ExitCode | None:
        """Take where each run stopped, and from where it will go on."""
        for name in self.ctx.active:
            child: ProcessNode = self.ctx[f"simulation_{name}"]
            if not child.is_finished_ok:
                return self._fail("ERROR_SIMULATION_FAILED", child)
            self.ctx[f"trajectory_{name}"] = child.outputs.trajectory
            self.ctx[f"results_{name}"] = child.outputs.results
            # from an unphysical step no run goes on, but from where it went on the last time
            if child.outputs.results["runs"][0]["reason"] != UNPHYSICAL:
                self.ctx[f"state_{name}"] = child.outputs.state
        gather: Any = online_calcfunctions.gather_runs
        outputs = gather(
            metadata={"call_link_label": f"gather_{self.ctx.iteration:02d}"},
            **{
                name: {
                    "trajectory": self.ctx[f"trajectory_{name}"],
                    "results": self.ctx[f"results_{name}"],
                }
                for name in self.ctx.runs
            },
        )
        self.ctx.trajectory, self.ctx.results = outputs["trajectory"], outputs["results"]
        self.ctx.simulated = True
        ends = self.ctx.results["runs"]
        told = ", ".join(f"{run['reason']} at step {run['steps']}" for run in ends)
        self._tell("; ".join(filter(None, [f"runs ended: {told}", first_message(ends)])))
        return None

    def check(self) -> None:
        """Judge whether the campaign goes on, and which runs do."""
        super().check()
        if not self.ctx.going_on:
            return
        chosen = stops.parse(self.inputs.stop.get_list())
        known, frames = self.ctx.dataset.configurations, self.ctx.trajectory.configurations
        runs = self.ctx.results["runs"]
        over = {number for number, run in enumerate(runs) if run["reason"] == MAX_STEPS}
        over |= {*stops.met_runs(chosen, runs, frames, known)}
        self.ctx.active = [name for number, name in enumerate(self.ctx.runs) if number not in over]
        if not self.ctx.active:
            self._give_up("all runs did all their steps, or are verified")
        elif self.ctx.trained:
            self._give_up("no good label came of where the runs stopped")

    def start_moves(self) -> bool:
        """Return False: simulations go on from their states, not from other structures."""
        return False

    def _give_up(self, why: str) -> None:
        self.ctx.going_on = False
        self.ctx.verdict = f"{why}; {self.ctx.verdict}"


def validate_online(inputs: Mapping[str, Any], ports: PortNamespace) -> str | None:
    """Find mistakes: those of offline learning, and runs that nothing stops or that go not on."""
    problem = validate(inputs, ports)
    if problem is not None or not {"simulating", "simulation"} <= inputs.keys():
        return problem
    try:
        _check_runs(inputs)
    except (ValueError, plugins.PluginError) as error:
        return str(error)
    return None


def _check_runs(inputs: Mapping[str, Any]) -> None:
    engine = inputs["simulating"].value
    spec = SIMULATION.find(engine).spec()
    missing = {"state", "keep_state"} - set(spec.inputs) | {"state"} - set(spec.outputs)
    if missing:
        raise ValueError(
            f"simulating: runs of {engine!r} cannot go on, its ports lack {sorted(missing)}"
        )
    for name in ("state", "keep_state"):
        if name in inputs.get("simulate", {}):
            raise ValueError(f"simulate.{name}: what is simulated is chosen by the campaign")
    plan = plan_of(engine, inputs["simulation"].get_dict())
    guard = getattr(plan, "guard", None)
    if guard is None or (guard.break_ is None and guard.pause is None):
        raise ValueError(
            "simulation.guard: nothing stops a run where the potential is not sure: give 'break', "
            "the uncertainty at which it stops for a label, or 'pause', a number of steps"
        )
