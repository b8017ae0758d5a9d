"""An optimizer."""

from dataclasses import dataclass

from aiida_mlal.ml.training.optimizers import Optimizer


@dataclass(frozen=True)
class GradientDescent(Optimizer):
    """Steps of fixed size against the gradient."""

    learning_rate: float = 5.0

    def run(self, problem, epochs, seed):
        import torch

        optimizer = torch.optim.SGD(problem.parameters, lr=self.learning_rate)
        for _ in range(epochs):
            optimizer.zero_grad()
            problem.loss().backward()
            optimizer.step()
            yield float(problem.loss().detach())  # of the weights as they are now
