"""Training that is restarted where that may help."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from aiida.engine import ProcessHandlerReport, calcfunction, process_handler
from aiida.orm import CalcJobNode, Data, Dict, Int

from aiida_mlal.calculations.train import TrainCalculation
from aiida_mlal.ml import plugins
from aiida_mlal.ml.training.options import TrainingOptions
from aiida_mlal.workflows.restart import TaskBaseWorkChain

SLOWER = 0.3
"""Factor on the learning rate of a training that diverged."""

NEXT_SEED = 1000
"""Distance to the next seed: members of an ensemble have those in between."""


class TrainBaseWorkChain(TaskBaseWorkChain):
    """Trains a potential.

    A training that diverges begins again with other first weights and a lower learning rate; one
    that was interrupted goes on from its weights, for the epochs that are left.
    """

    NAMESPACE: ClassVar[str] = "train"
    ATTEMPTS: ClassVar[int] = 3
    _process_class = TrainCalculation

    @process_handler(priority=500, exit_codes=[TrainCalculation.exit_codes.ERROR_DIVERGED])
    def handle_diverged(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Begin again more carefully, a few times."""
        self.ctx.divergences = self.ctx.get("divergences", 0) + 1
        if self.ctx.divergences >= self.ATTEMPTS:
            return self.give_up("ERROR_DIVERGED", node)
        inputs = self.ctx.inputs
        changed: Any = more_carefully(  # type: ignore[call-arg]
            model=inputs.model,
            training=inputs.training,
            seed=inputs.seed,
            metadata={"call_link_label": f"more_carefully_{self.ctx.iteration:02d}"},
        )
        inputs.seed, inputs.training = changed["seed"], changed["training"]
        self.report(f"training<{node.pk}> diverged: begin again with seed {inputs.seed.value}")
        return ProcessHandlerReport(True)

    def doubts(self, results: Mapping[str, Any]) -> Sequence[str]:
        """Return in what a training went badly, or that it was begun afresh."""
        return list(results.get("warnings", []))

    def go_on_from(self, node: CalcJobNode) -> bool:
        """Begin with the weights that the training got to."""
        if "potential" not in node.outputs:
            return False
        inputs = self.ctx.inputs
        inputs.initial = node.outputs.potential
        inputs.training = epochs_left(  # type: ignore[call-arg]
            model=inputs.model,
            training=inputs.training,
            results=node.outputs.results,
            metadata={"call_link_label": f"epochs_left_{self.ctx.iteration:02d}"},
        )
        self.report(f"training<{node.pk}> goes on for {inputs.training['epochs']} epochs")
        return True


@calcfunction
def more_carefully(model: Dict, training: Dict, seed: Int) -> dict[str, Data]:
    """Return options with smaller steps, where they have a size, and another seed."""
    options = training.get_dict()
    optimizer = dict(_training(model, options).optimizer)
    rate = getattr(plugins.make("optimizers", optimizer), "learning_rate", None)
    if rate is not None:
        optimizer["learning_rate"] = SLOWER * rate
        options["optimizer"] = optimizer
    return {"training": Dict(options), "seed": Int(seed.value + NEXT_SEED)}


@calcfunction
def epochs_left(model: Dict, training: Dict, results: Dict) -> Dict:
    """Return options without the epochs that are done."""
    options = training.get_dict()
    epochs = _training(model, options).epochs - results.get_dict().get("epochs", 0)
    return Dict({**options, "epochs": max(1, epochs)})


def _training(model: Dict, options: Mapping[str, Any]) -> TrainingOptions:
    from aiida_mlal.ml.models.factory import ModelOptions  # which needs torch

    return ModelOptions.parse(model.get_dict()).training(options)
