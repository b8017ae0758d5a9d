"""What makes the predictions of a potential for some structures doubtful."""

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.uncertainty.domain import Domain


def doubts(potential: Potential, structures: Configurations) -> str:
    """Return the warnings of a potential, of its terms or members, and of the domain it learned.

    Separated by semicolons; empty if there are none.
    """
    parts = [part for part in potential.modules() if isinstance(part, Potential)]
    said = [part.warnings(structures) for part in parts]
    domain = Domain.stored(potential)
    if domain is not None:
        said.append(domain.warnings(structures))
    return "; ".join(dict.fromkeys(filter(None, said)))
