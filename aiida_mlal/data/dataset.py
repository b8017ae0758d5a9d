"""Many structures and their labels as one node."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from aiida.common.exceptions import ValidationError
from aiida.common.log import AIIDA_LOGGER
from aiida.orm.pydantic import OrmMetadataField
from ase import Atoms

from aiida_mlal.data.content import ContentData
from aiida_mlal.ml.configurations import OK, Configurations
from aiida_mlal.ml.frames import FINGERPRINT

_LOGGER = AIIDA_LOGGER.getChild("mlal")


class DatasetData(ContentData):
    """Structures with labels where there are any, and for each the node that labelled it.

    The node that labelled a structure does not count in the hash: data sets of equal content are
    equal for caching, wherever their labels come from.

    Parameters
    ----------
    configurations
        The structures, or the bytes of a file of them, which are kept as they are.
    sources
        For each structure the UUID of the node that labelled it, or an empty string.
    """

    FILE: ClassVar[str] = "dataset.safetensors"
    SOURCES: ClassVar[str] = "sources.json"

    class AttributesModel(ContentData.AttributesModel):
        """Attributes that can be queried."""

        n_structures: int = OrmMetadataField(description="Number of structures", read_only=True)
        n_atoms: int = OrmMetadataField(
            description="Number of atoms of all structures", read_only=True
        )
        n_labelled: int = OrmMetadataField(
            description="Number of structures to learn from", read_only=True
        )
        elements: list[str] = OrmMetadataField(description="Chemical symbols", read_only=True)
        formulas: dict[str, int] = OrmMetadataField(
            description="Number of structures of each formula", read_only=True
        )
        statuses: dict[str, int] = OrmMetadataField(
            description="Number of structures of each status of the label", read_only=True
        )
        fingerprints: dict[str, int] = OrmMetadataField(
            description="Number of labels made by each method", read_only=True
        )

    def __init__(
        self,
        configurations: Configurations | bytes,
        sources: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(configurations, (Configurations, bytes)):
            raise ValueError(f"expected Configurations, got {type(configurations).__name__}")
        if isinstance(configurations, Configurations):
            configurations = configurations.to_bytes()
        super().__init__(configurations, **kwargs)
        if sources is not None and any(sources):
            checked = _checked_sources(sources, len(self))
            self.base.repository.put_object_from_bytes(
                (json.dumps(checked, indent=0) + "\n").encode(), self.SOURCES
            )

    @classmethod
    def from_ase(cls, structures: Atoms | Iterable[Atoms]) -> "DatasetData":
        """Return the node of ASE structures, with what their calculators know as labels."""
        return cls(Configurations.from_ase(structures))

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        elements: Sequence[str] | None = None,
        keys: Mapping[str, str] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> "DatasetData":
        """Return the node of a file of configurations, or of any file that ASE can read.

        Parameters
        ----------
        elements
            Chemical symbols of the types of a file of MLIP or LAMMPS, where it does not name them.
        keys
            What the file calls its labels, such as ``{"energy": "REF_energy"}``; see
            ``aiida_mlal.ml.formats.labels.LabelKeys``.
        tell
            Called with each sentence about the reading, such as what looks like labels and was
            not read; by default these are warnings in the log of AiiDA.

        Raises
        ------
        ValueError
            If the file cannot be read, lacks a key, or only numbers types whose elements are not
            given.
        """
        from aiida_mlal.ml.formats.files import load
        from aiida_mlal.ml.formats.labels import LabelKeys
        from aiida_mlal.ml.options import build

        contents = load(path, elements, keys=build(LabelKeys, keys or {}, "keys"), named=True)
        for warning in contents.warnings:
            (tell or _LOGGER.warning)(warning)
        return cls(contents.configurations)

    @classmethod
    def concatenate(cls, datasets: Sequence["DatasetData"]) -> "DatasetData":
        """Return a new node with the structures of several, one after the other."""
        joined = Configurations.concatenate([node.configurations for node in datasets])
        return cls(joined, [source for node in datasets for source in node.sources])

    def subset(self, which: Iterable[int]) -> "DatasetData":
        """Return a new node with some of the structures, in the order of their indices."""
        index, sources = [int(i) for i in which], self.sources
        return type(self)(self.configurations[index], [sources[i] for i in index])

    @cached_property
    def configurations(self) -> Configurations:
        """The structures and their labels."""
        return Configurations.from_bytes(self.content)

    @property
    def sources(self) -> tuple[str, ...]:
        """For each structure the UUID of the node that labelled it, or an empty string."""
        if self.SOURCES not in self.base.repository.list_object_names():
            return ("",) * len(self)
        return tuple(json.loads(self.base.repository.get_object_content(self.SOURCES, mode="rb")))

    def get_ase(self) -> list[Atoms]:
        """Return the structures as ASE atoms, with labels and constraints."""
        return self.configurations.to_ase()

    def __len__(self) -> int:
        """Return the number of structures."""
        length: int = self.base.attributes.get("n_structures")
        return length

    def __bool__(self) -> bool:
        """Return true, even if there are no structures: the node is there."""
        return True

    def get_description(self) -> str:
        """Return a line for lists of nodes."""
        attributes = self.base.attributes
        elements = "-".join(attributes.get("elements"))
        return f"{len(self)} structures of {elements}, {attributes.get('n_labelled')} labelled"

    def _prepare_safetensors(self, main_file_name: str = "") -> tuple[bytes, dict[str, bytes]]:
        return self.content, {}

    def _prepare_extxyz(self, main_file_name: str = "") -> tuple[bytes, dict[str, bytes]]:
        from ase.io import write

        buffer = StringIO()
        write(buffer, self.get_ase(), format="extxyz")
        return buffer.getvalue().encode(), {}

    @classmethod
    def _summarise(cls, content: bytes) -> Mapping[str, Any]:
        structures = Configurations.from_bytes(content)
        structures.check_labels()
        fingerprints = [f for f in FINGERPRINT.of(structures) if f]
        return {
            "n_structures": len(structures),
            "n_atoms": len(structures.numbers),
            "n_labelled": int((structures.status == OK).sum()),
            "elements": list(structures.elements),
            "formulas": _counts(structures.formulas),
            "statuses": _counts(structures.status),
            "fingerprints": _counts(fingerprints),
        }

    def _validate(self) -> bool:
        super()._validate()
        try:
            _checked_sources(self.sources, len(self))
        except ValueError as error:
            raise ValidationError(str(error)) from error
        return True


def _counts(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(str(word) for word in words).items()))


def _checked_sources(sources: Sequence[str], n: int) -> list[str]:
    if len(sources) != n:
        raise ValueError(f"expected a source for each of {n} structures, got {len(sources)}")
    for source in filter(None, sources):
        try:
            UUID(source)
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"expected the UUID of a node as source, got {source!r}") from error
    return [source or "" for source in sources]
