"""The structures of which a network says something else when nodes are left out."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from aiida_mlal.ml import plugins
from aiida_mlal.ml.selection.base import Choice, Query, Strategy, measured

if TYPE_CHECKING:
    from aiida_mlal.ml.models.factory import ModelOptions


@dataclass(frozen=True)
class Dropout(Strategy):
    """Choose the structures of largest variance under Monte Carlo dropout of the last layer.

    Attributes
    ----------
    uncertainty
        Of what: ``dropout_energy`` or ``dropout_force``. The rate makes no difference to the
        order.
    """

    uncertainty: Literal["dropout_energy", "dropout_force"] = "dropout_energy"

    def check_model(self, model: "ModelOptions") -> None:
        """Let the measure judge the model."""
        plugins.make("uncertainties", {"name": self.uncertainty}).check_model(model)

    def _choose(self, query: Query, n: int) -> list[Choice]:
        return measured(query, n, self.uncertainty, "dropout")
