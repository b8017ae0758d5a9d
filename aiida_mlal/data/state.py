"""Simulations that are not over, as a node."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from aiida.orm.pydantic import OrmMetadataField

from aiida_mlal.data.content import ContentData
from aiida_mlal.ml.simulation.state import Checkpoint


class StateData(ContentData):
    """Where simulations go on that were interrupted, in one safetensors file.

    Parameters
    ----------
    content
        The bytes of the file, as ``Checkpoint.to_bytes`` returns them.
    """

    FILE: ClassVar[str] = "state.safetensors"

    class AttributesModel(ContentData.AttributesModel):
        """Attributes that can be queried."""

        run: int = OrmMetadataField(description="The run that is next, from 0", read_only=True)
        step: int = OrmMetadataField(description="The step that it goes on from", read_only=True)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint in the file."""
        return Checkpoint.from_bytes(self.content)

    @classmethod
    def _summarise(cls, content: bytes) -> Mapping[str, Any]:
        checkpoint = Checkpoint.from_bytes(content)
        return {"run": checkpoint.run, "step": checkpoint.step}
