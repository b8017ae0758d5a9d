"""Ledger of a labelling: the outcome of each structure, however the process ended."""

import base64
import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from aiida_mlal.ml.configurations import UNLABELLED, Configurations
from aiida_mlal.ml.frames import ATTEMPTS
from aiida_mlal.ml.journal import Journal, read
from aiida_mlal.ml.labelling.outcome import unlabelled

ATTEMPTS_EACH = 2
"""So many processes may end while they compute a structure before it is given up."""


class Ledger:
    """Outcomes of structures, in a journal if there is one.

    Before a structure is computed a record says that it is begun, afterwards one has its outcome.
    A process that came to its end in between, as one that was killed, leaves a structure that was
    begun and has no outcome. It may be the cause or not, so that it is computed again after all
    others. When a process has ended in it for the second time, and computed nothing else before,
    the structure is the cause, and ``failed``.

    Parameters
    ----------
    structures
        Those that are labelled. Their column ``attempts`` counts processes that ended before.
    journal
        Where the records go. Outcomes that are in it are taken from there.
    about
        What makes the labels. A journal is gone on with only where that is the same.

    Attributes
    ----------
    found_before
        How many outcomes the journal had.

    Raises
    ------
    ValueError
        If the journal is of other structures, or of labels that are made otherwise.
    """

    def __init__(
        self,
        structures: Configurations,
        journal: Journal | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.structures = structures
        self._journal, self._is_open = journal, False
        made_by = {**(about or {}), "structures": _hash(structures)}
        self._about = json.loads(json.dumps(made_by, default=str))
        self._outcomes: dict[int, Configurations] = {}
        self._attempts = ATTEMPTS.of(structures).copy()
        self._begun: int | None = None
        self._is_first = True
        if journal is not None and journal.records:
            if _made_by(journal.records) != self._about:
                raise ValueError(
                    f"{journal.path} has the labels of another labelling that came to no end, of "
                    "other structures or by another method: go on with that one, write to another "
                    "file, or delete it"
                )
            self._recall(journal.records)
        self.found_before = len(self._outcomes)

    @classmethod
    def left_in(cls, content: bytes, structures: Configurations) -> "Ledger":
        """Return the ledger of a process that is over, from the content of its journal."""
        ledger = cls(structures)
        ledger._recall(read(content))
        return ledger

    @property
    def left(self) -> list[int]:
        """The structures without an outcome; those last in which a process ended."""
        rest = [i for i in range(len(self.structures)) if i not in self._outcomes]
        return sorted(rest, key=lambda i: self._attempts[i])

    @property
    def n_done(self) -> int:
        """Number of structures with an outcome."""
        return len(self._outcomes)

    @property
    def configurations(self) -> Configurations:
        """All structures in their order, those without an outcome ``unlabelled``."""
        frames = []
        for i, one in enumerate(self.structures):
            if i in self._outcomes:
                frames.append(self._outcomes[i])
                continue
            rest = unlabelled(one, "", UNLABELLED)
            count = int(self._attempts[i])
            frames.append(rest.with_columns({ATTEMPTS: count}) if count else rest)
        return Configurations.concatenate(frames)

    def begin(self, i: int) -> None:
        """Note that a structure is computed; ``OSError`` where there is no room for a label."""
        if self._journal is not None:
            one = self.structures[i]
            self._journal.reserve(2 * (len(one.to_bytes()) + 64 * len(one.numbers)))
            self._append({"begun": i})
        self._begun = i

    def end(self, i: int, outcome: Configurations) -> None:
        """Note the outcome of a structure."""
        self._outcomes[i] = outcome = outcome.without(ATTEMPTS)
        self._begun, self._is_first = None, False
        if self._journal is not None:
            content = base64.b64encode(outcome.to_bytes()).decode()
            self._append({"ended": i, "outcome": content})

    def abandon(self) -> None:
        """Note that the process ends in the structure that is begun."""
        if self._begun is not None:
            i, self._begun = self._begun, None
            self._attempts[i] += 1
            if self._attempts[i] >= ATTEMPTS_EACH and self._is_first:
                reason = (
                    f"{self._attempts[i]} processes ended while they computed it, the last one "
                    "before it had computed anything else"
                )
                self._outcomes[i] = unlabelled(self.structures[i], reason).without(ATTEMPTS)

    def release(self) -> None:
        """Note that the structure that is begun is left by the wish of a user."""
        if self._begun is not None:
            i, self._begun = self._begun, None
            if self._journal is not None:
                self._append({"released": i})

    def _append(self, record: Mapping[str, Any]) -> None:
        assert self._journal is not None
        if not self._is_open:
            self._is_open = True
            self._journal.append({"labelling": self._about})
        self._journal.append(record)

    def _recall(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Take what processes noted that are over."""
        for record in records:
            if "labelling" in record:  # the next process begins
                self.abandon()
                self._is_first = True
            elif "begun" in record:
                self._begun = record["begun"]
            elif "released" in record:
                self._begun = None
            else:
                i = record["ended"]
                if not 0 <= i < len(self.structures):
                    raise ValueError(f"expected {len(self.structures)} structures, got number {i}")
                outcome = Configurations.from_bytes(base64.b64decode(record["outcome"]))
                if outcome.keys != self.structures[i].keys:
                    raise ValueError("its structures are not those that were to be labelled")
                self._outcomes[i] = outcome
                self._begun, self._is_first = None, False
        self.abandon()
        self._is_first = True


def about(content: bytes) -> dict[str, Any]:
    """Read from a journal what makes its labels: ``description`` and ``fingerprint``."""
    return _made_by(read(content))


def _made_by(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the note of the first process about what makes the labels; empty without one."""
    return next((record["labelling"] for record in records if "labelling" in record), {})


def _hash(structures: Configurations) -> str:
    return sha256("-".join(structures.keys).encode()).hexdigest()[:16]
