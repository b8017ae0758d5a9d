"""The members of a committee, as potentials of their own."""

from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.sum import Sum


def separate(potential: Potential) -> list[Potential]:
    """Return each member of a committee; one of a sum with a prior has the prior too."""
    if len(potential.members) > 1:
        return potential.members
    n = max(len(term.members) for term in potential.terms)
    if n == 1:
        return [potential]
    return [
        Sum([term.members[i] if len(term.members) > 1 else term for term in potential.terms])
        for i in range(n)
    ]
