"""Training that is restarted where that may help."""

from typing import ClassVar

from aiida.engine import ProcessHandlerReport, process_handler
from aiida.orm import CalcJobNode, Dict, Int

from aiida_mlal.calculations.train import TrainCalculation
from aiida_mlal.ml import parts
from aiida_mlal.ml.options import build
from aiida_mlal.ml.training.options import TrainingOptions
from aiida_mlal.workflows.restart import TaskBaseWorkChain


class TrainBaseWorkChain(TaskBaseWorkChain):
    """Trains a potential.

    A training that diverges begins again with other first weights and a lower learning rate; one
    that was interrupted goes on from its weights, for the epochs that are left.
    """

    NAMESPACE: ClassVar[str] = "train"
    ATTEMPTS: ClassVar[int] = 3
    SLOWER: ClassVar[float] = 0.3
    _process_class = TrainCalculation

    @process_handler(priority=500, exit_codes=[TrainCalculation.exit_codes.ERROR_DIVERGED])
    def handle_diverged(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Begin again more carefully, a few times."""
        self.ctx.divergences = self.ctx.get("divergences", 0) + 1
        if self.ctx.divergences >= self.ATTEMPTS:
            return self.give_up("ERROR_DIVERGED", node)
        inputs = self.ctx.inputs
        inputs.seed = Int(inputs.seed.value + 1000)
        training = inputs.training.get_dict()
        optimizer = dict(build(TrainingOptions, training).optimizer)
        rate = getattr(parts.make("optimizers", optimizer), "learning_rate", None)
        if rate is not None:
            optimizer["learning_rate"] = self.SLOWER * rate
            inputs.training = Dict({**training, "optimizer": optimizer})
        self.report(
            f"training<{node.pk}> diverged: seed {inputs.seed.value}, learning rate "
            f"{optimizer.get('learning_rate')}"
        )
        return ProcessHandlerReport(True)

    def go_on_from(self, node: CalcJobNode) -> bool:
        """Begin with the weights that the training got to."""
        if "potential" not in node.outputs:
            return False
        inputs = self.ctx.inputs
        inputs.initial = node.outputs.potential
        training = inputs.training.get_dict()
        done = node.outputs.results.get_dict().get("epochs", 0)
        left = max(1, build(TrainingOptions, training).epochs - done)
        inputs.training = Dict({**training, "epochs": left})
        self.report(f"training<{node.pk}> goes on for {left} epochs")
        return True
