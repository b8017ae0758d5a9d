"""Which candidates were chosen to be labelled, and why, as a node."""

import json
from collections.abc import Mapping
from dataclasses import fields
from functools import cached_property
from typing import Any, ClassVar

from aiida.orm.pydantic import OrmMetadataField

from aiida_mlal.data.content import ContentData
from aiida_mlal.ml.selection.select import Selection


class SelectionData(ContentData):
    """The decision of a query strategy.

    Parameters
    ----------
    selection
        The decision, as an object or as its JSON values; of these, other keys are left out.
    """

    FILE: ClassVar[str] = "selection.json"

    class AttributesModel(ContentData.AttributesModel):
        """Attributes that can be queried."""

        strategy: dict[str, Any] = OrmMetadataField(description="Name and options", read_only=True)
        filters: dict[str, Any] = OrmMetadataField(description="Limits", read_only=True)
        seed: int = OrmMetadataField(description="Seed of the choice", read_only=True)
        n_selected: int = OrmMetadataField(
            description="Number of chosen structures", read_only=True
        )
        n_rejected: int = OrmMetadataField(
            description="Number of refused structures", read_only=True
        )
        n_pool: int = OrmMetadataField(description="Number of candidates", read_only=True)
        n_train: int = OrmMetadataField(
            description="Number of structures labelled before", read_only=True
        )
        message: str = OrmMetadataField(description="What could not be done", read_only=True)

    def __init__(self, selection: Selection | Mapping[str, Any], **kwargs: Any) -> None:
        if isinstance(selection, Mapping):
            missing = sorted(_REQUIRED - set(selection))
            if missing:
                raise ValueError(f"the selection lacks {missing}")
            selection = Selection(**{key: selection[key] for key in _KEYS if key in selection})
        super().__init__(selection.to_json().encode(), **kwargs)

    @cached_property
    def selection(self) -> Selection:
        """The whole decision."""
        return Selection(**json.loads(self.content))

    @property
    def selected(self) -> list[dict[str, Any]]:
        """The chosen candidates, most wanted first: index, key, score and reason of each."""
        return self.selection.selected

    @property
    def rejected(self) -> list[dict[str, Any]]:
        """The candidates that a filter refused: index, key and reason of each."""
        return self.selection.rejected

    @property
    def indices(self) -> list[int]:
        """Where in the pool the chosen candidates are, most wanted first."""
        return self.selection.indices

    def get_description(self) -> str:
        """Return a line for lists of nodes."""
        attributes = self.base.attributes
        name = attributes.get("strategy")["name"]
        return f"{len(self.selected)} of {attributes.get('n_pool')} chosen by {name}"

    def _prepare_json(self, main_file_name: str = "") -> tuple[bytes, dict[str, bytes]]:
        return self.content, {}

    @classmethod
    def _summarise(cls, content: bytes) -> Mapping[str, Any]:
        try:
            selection = Selection(**json.loads(content))
        except (TypeError, ValueError) as error:
            raise ValueError(f"this is not the JSON of a selection ({error})") from error
        _check(selection)
        return {
            "strategy": dict(selection.strategy),
            "filters": dict(selection.filters),
            "seed": selection.seed,
            "n_selected": len(selection.selected),
            "n_rejected": len(selection.rejected),
            "n_pool": selection.n_pool,
            "n_train": selection.n_train,
            "message": selection.message,
        }


_KEYS = tuple(f.name for f in fields(Selection))
_REQUIRED = {"selected", "rejected", "n_pool", "n_train", "strategy", "seed"}


def _check(selection: Selection) -> None:
    for group, items, wanted in (
        ("selected", selection.selected, {"index", "key", "score", "reason"}),
        ("rejected", selection.rejected, {"index", "key", "reason"}),
    ):
        for item in items:
            missing = sorted(wanted - set(item))
            if missing:
                raise ValueError(f"an entry of {group!r} lacks {missing}: {item}")
    indices = [item["index"] for item in (*selection.selected, *selection.rejected)]
    wrong = [i for i in indices if not isinstance(i, int) or not 0 <= i < selection.n_pool]
    if wrong:
        raise ValueError(f"expected indices into a pool of {selection.n_pool}, got {wrong}")
    if len(set(indices)) != len(indices):
        raise ValueError("a structure of the pool is selected or rejected twice")
    if "name" not in selection.strategy:
        raise ValueError(f"expected the strategy as {{'name': ...}}, got {selection.strategy!r}")
