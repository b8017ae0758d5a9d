"""What the nodes of this package share: one file, checked when it is made and when it is stored."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, ClassVar

from aiida.common.exceptions import ValidationError
from aiida.orm import Data
from aiida.orm.implementation.utils import clean_value
from aiida.orm.nodes.caching import NodeCaching

from aiida_mlal.ml.text import holdable

LONGEST_TEXT = 10_000
"""Characters of a text in the database."""


class ContentCaching(NodeCaching):
    """Nodes are equal where their files are equal, whatever else is known about them."""

    def get_objects_to_hash(self) -> dict[str, Any]:
        """Return the kind of node and the checksum of its file."""
        return {"node_type": self._node.node_type, "sha256": self._node.sha256}


class ContentData(Data):
    """A node that is one file and a summary of it that can be queried.

    Attributes
    ----------
    FILE
        Name of the file in the repository.
    """

    FILE: ClassVar[str]

    _CLS_NODE_CACHING = ContentCaching

    def __init__(self, content: bytes, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        summary = self._summary(content)
        self.base.repository.put_object_from_bytes(content, self.FILE)
        self.base.attributes.set_many(summary)

    @property
    def content(self) -> bytes:
        """The bytes of the file."""
        content: bytes = self.base.repository.get_object_content(self.FILE, mode="rb")
        return content

    @property
    def sha256(self) -> str:
        """Checksum of the file."""
        checksum: str = self.base.attributes.get("sha256")
        return checksum

    @classmethod
    @abstractmethod
    def _summarise(cls, content: bytes) -> Mapping[str, Any]:
        """Summarise a content by attributes to be queried; ``ValueError`` if it is wrong."""

    @classmethod
    def _summary(cls, content: bytes) -> dict[str, Any]:
        summary = {**cls._summarise(content), "sha256": sha256(content).hexdigest()}
        # rounded as the database will round it, so that a clone of a stored node is not refused
        return {key: clean_value(storable(value)) for key, value in summary.items()}

    def _validate(self) -> bool:
        super()._validate()
        if self.FILE not in self.base.repository.list_object_names():
            raise ValidationError(f"{type(self).__name__} must hold the file {self.FILE}")
        try:
            summary = self._summary(self.content)
        except ValueError as error:
            raise ValidationError(str(error)) from error
        changed = [
            key for key, value in summary.items() if self.base.attributes.get(key, None) != value
        ]
        if changed:
            raise ValidationError(f"the attributes {changed} do not describe {self.FILE}")
        return True


def storable(value: Any) -> Any:
    """Return JSON values as AiiDA, and any database that it writes to, can store them.

    A number that is not finite becomes ``None``; of texts, what no database can hold is escaped and
    what is beyond ``LONGEST_TEXT`` left out.
    """
    if isinstance(value, Mapping):
        return {storable(str(key)): storable(item) for key, item in value.items()}
    if isinstance(value, str):
        return holdable(value if len(value) <= LONGEST_TEXT else f"{value[:LONGEST_TEXT]} ...")
    if isinstance(value, (list, tuple)):
        return [storable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
