"""The structures that the members of a committee disagree about most."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from aiida_mlal.ml import plugins
from aiida_mlal.ml.selection.base import Choice, Query, Strategy, measured

if TYPE_CHECKING:
    from aiida_mlal.ml.models.factory import ModelOptions


@dataclass(frozen=True)
class QueryByCommittee(Strategy):
    """Choose the structures of largest disagreement, as the committee sees them now.

    Attributes
    ----------
    uncertainty
        How members disagree: ``force_std``, ``force_var`` or ``energy_std``.
    """

    uncertainty: Literal["force_std", "force_var", "energy_std"] = "force_std"

    def check_model(self, model: "ModelOptions") -> None:
        """Let the measure judge the model."""
        plugins.make("uncertainties", {"name": self.uncertainty}).check_model(model)

    def _choose(self, query: Query, n: int) -> list[Choice]:
        return measured(query, n, self.uncertainty, "qbc")
