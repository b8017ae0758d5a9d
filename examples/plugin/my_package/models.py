"""A model."""

from dataclasses import asdict, dataclass

import torch

from aiida_mlal.ml.models.base import Potential


@dataclass(frozen=True)
class SoftSpheresOptions:
    """Options of ``SoftSpheres``: the cutoff in Å."""

    cutoff: float = 4.0


class SoftSpheres(Potential):
    """Atoms that push each other away, and an energy of each element: in eV."""

    Options = SoftSpheresOptions

    def __init__(self, elements, options):
        super().__init__(elements, options.cutoff)
        self.options = options
        self.strength = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.shifts = torch.nn.Parameter(torch.zeros(len(self.elements), dtype=torch.float64))

    def atomic_energies(self, graph):
        overlap = (1 - graph.distances / self.cutoff).clamp(min=0)
        pushed = graph.sum_over_neighbours(overlap**3)
        return self.strength * pushed + self.shifts[self.species(graph.numbers)]

    def config(self):
        return {
            "architecture": "soft_spheres",
            "elements": list(self.elements),
            "options": asdict(self.options),
        }

    @classmethod
    def from_config(cls, config):
        return cls(config["elements"], SoftSpheresOptions(**config["options"]))
