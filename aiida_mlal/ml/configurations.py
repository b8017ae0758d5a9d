"""Many structures and their labels as one immutable set of flat arrays."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers, chemical_symbols
from ase.stress import full_3x3_to_voigt_6_stress
from jaxtyping import Bool, Float, Int

from aiida_mlal.ml import constraints
from aiida_mlal.ml.arrays import (
    as_array,
    check_width,
    checked,
    frozen,
    is_text,
    says_nothing,
    texts,
    with_bases,
)
from aiida_mlal.ml.ase_properties import (
    ELECTRONIC,
    SITES,
    info_of,
    is_usual,
    kind_of_energy,
    labels_of,
    results_of,
    sites_of,
    usual_site,
)
from aiida_mlal.ml.frames import (
    PREDICTED_ENERGY,
    PREDICTED_FORCES,
    PREDICTED_STRESS,
    STATUS,
    Column,
    find,
)
from aiida_mlal.ml.neighbours import check_lattice, edge_vectors, neighbours
from aiida_mlal.ml.options import within
from aiida_mlal.ml.tensorfile import Outline, pack, read, unpack, write

FORMAT = "aiida-mlal/configurations"
VERSION = 2
"""Of the format of files; others are refused."""

OK, UNLABELLED = "ok", str(STATUS.unknown)
STATUSES = (OK, UNLABELLED, "unconverged", "failed", "unphysical")
"""What became of the label of a structure. Only ``ok`` is learned from."""

FILE_STATUS, NOT_KEPT = "file_status", "constraints_not_kept"
"""Names in ``info`` of a status that is none of ours, and of constraints that are not kept."""

TOGETHER = 0.01
"""Distance of two atoms in Å below which they are at the same place."""


@dataclass(frozen=True, eq=False)
class Configurations:
    """A batch of structures, with labels where there are any.

    Atoms of all structures stand one after the other. A label that is missing is NaN.

    Attributes
    ----------
    numbers
        Atomic number of each atom.
    positions
        Cartesian coordinates in Å.
    counts
        How many atoms each structure has.
    cells
        Lattice vectors as rows, in Å; a row of zeros where there is none.
    pbc
        Along which lattice vectors each structure is periodic.
    fixed
        Cartesian components that a simulation must not move.
    energies
        Potential energy in eV.
    forces
        Forces in eV/Å, without the effect of constraints.
    stresses
        Stress in eV/Å³, positive in tension.
    info, arrays
        More values for each structure (numbers or strings) and each atom (numbers). Those of
        ``SITES`` that are everywhere what ASE assumes are left out.
    """

    numbers: Int[np.ndarray, " atoms"]
    positions: Float[np.ndarray, "atoms 3"]
    counts: Int[np.ndarray, " structures"]
    cells: Float[np.ndarray, "structures 3 3"]
    pbc: Bool[np.ndarray, "structures 3"]
    fixed: Bool[np.ndarray, "atoms 3"]
    energies: Float[np.ndarray, " structures"]
    forces: Float[np.ndarray, "atoms 3"]
    stresses: Float[np.ndarray, "structures 3 3"]
    info: Mapping[str, np.ndarray] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Bring every array to its dtype, check its shape and make it read-only."""
        n, n_atoms = len(self.counts), int(np.sum(self.counts))
        shapes: dict[str, tuple[type, tuple[int, ...]]] = {
            "numbers": (np.int64, (n_atoms,)),
            "positions": (np.float64, (n_atoms, 3)),
            "counts": (np.int64, (n,)),
            "cells": (np.float64, (n, 3, 3)),
            "pbc": (np.bool_, (n, 3)),
            "fixed": (np.bool_, (n_atoms, 3)),
            "energies": (np.float64, (n,)),
            "forces": (np.float64, (n_atoms, 3)),
            "stresses": (np.float64, (n, 3, 3)),
        }
        for name, (dtype, shape) in shapes.items():
            array = frozen(getattr(self, name), dtype)
            if array.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
            object.__setattr__(self, name, array)
        _check_counts(self.counts, self.numbers)
        for name, length in (("info", n), ("arrays", n_atoms)):
            extra = {key: checked(value, key) for key, value in sorted(getattr(self, name).items())}
            for key, value in extra.items():
                if len(value) != length:
                    raise ValueError(f"{name}[{key!r}] must have length {length}, got {len(value)}")
                if name == "arrays" and value.dtype.kind == "U":
                    raise ValueError(f"arrays[{key!r}] must be numbers, got strings")
            if name == "arrays":
                extra = {k: v for k, v in extra.items() if not is_usual(k, v, self.numbers)}
            object.__setattr__(self, name, extra)

    @classmethod
    def empty(cls) -> "Configurations":
        """Return a batch without structures."""
        return cls.from_geometry([], [], [], [], [])

    @classmethod
    def from_geometry(
        cls,
        numbers: Any,
        positions: Any,
        counts: Any,
        cells: Any,
        pbc: Any,
        **others: Any,
    ) -> "Configurations":
        """Return structures whose labels are missing and atoms free, unless given by ``others``."""
        n, n_atoms = len(counts), int(np.sum(counts))
        unlabelled = {k: v for k, v in _blank(n, n_atoms).items() if k != "cells"}
        return cls(
            numbers=np.array(numbers, int).reshape(n_atoms),
            positions=np.array(positions, float).reshape(n_atoms, 3),
            counts=np.array(counts, int),
            cells=np.array(cells, float).reshape(n, 3, 3),
            pbc=np.array(pbc, bool).reshape(n, 3),
            **(unlabelled | others),
        )

    @classmethod
    def from_ase(
        cls, structures: Atoms | Iterable[Atoms], energy: str | None = None
    ) -> "Configurations":
        """Return ASE structures with the results of their calculators and their constraints.

        Constraints that keep atoms from moving along axes are kept; of others, ``info`` has the
        names (``constraints_not_kept``), and no simulation moves such a structure. Of ``info``,
        numbers, texts and arrays of numbers are kept, filled up as by ``concatenate``; a
        ``status`` that is none of ``STATUSES`` is called ``file_status``. Of atoms, those ``SITES``
        are kept that are not everywhere what ASE takes them to be by default. Results of another
        geometry than the present one are left out.

        Parameters
        ----------
        energy
            Which result of the calculators is the energy. By default ``free_energy``, that which
            forces are the derivative of, if all that have an energy have it; else ``energy``.

        Raises
        ------
        ValueError
            For results of a wrong shape, constraints of other atoms, or if structures have
            different kinds of energy only.
        """
        frames = [structures] if isinstance(structures, Atoms) else list(structures)
        results = [results_of(atoms) for atoms in frames]
        energy = energy or kind_of_energy(results)
        labels, kept = [], []
        for i, (atoms, result) in enumerate(zip(frames, results, strict=True)):
            with within(f"structure {i}"):
                labels.append(labels_of(result, energy, len(atoms)))
                kept.append(constraints.of_ase(atoms))
        numbers = _join([a.numbers for a in frames], (0,), int)
        _check_counts(np.array([len(a) for a in frames], int), numbers)
        made = cls(
            numbers=numbers,
            positions=_join([a.positions for a in frames], (0, 3)),
            counts=np.array([len(a) for a in frames], int),
            cells=np.array([a.cell.array for a in frames]).reshape(-1, 3, 3),
            pbc=np.array([a.pbc for a in frames], bool).reshape(-1, 3),
            fixed=_join([fixed for fixed, _ in kept], (0, 3), bool),
            energies=np.array([energy for energy, _, _ in labels]),
            forces=_join([forces for _, forces, _ in labels], (0, 3)),
            stresses=np.array([stress for _, _, stress in labels]).reshape(-1, 3, 3),
            info=info_of([a.info for a in frames]),
            arrays=sites_of(frames),
        )
        made = made.with_own_status()
        if any(names for _, names in kept):
            before = made.info.get(NOT_KEPT, [""] * len(frames))
            said = [", ".join(filter(None, both)) for both in zip(before, (n for _, n in kept))]
            made = made.with_info(**{NOT_KEPT: said})
        return made

    def to_ase(self) -> list[Atoms]:
        """Return the structures as ASE atoms, with labels and constraints.

        What a structure lacks of ``info``, NaN or an empty text, it has not there either.
        """
        return [self._atoms(i) for i in range(len(self))]

    def __len__(self) -> int:
        """Return the number of structures."""
        return len(self.counts)

    def __iter__(self) -> Iterator["Configurations"]:
        """Iterate over the structures, each as a batch of one."""
        return (self[i] for i in range(len(self)))

    def __getitem__(self, which: Any) -> "Configurations":
        """Return some of the structures: an index, a slice, indices or a mask."""
        index = np.atleast_1d(np.arange(len(self))[which])
        atoms = np.concatenate(
            [np.arange(self.offsets[i], self.offsets[i + 1]) for i in index] or [np.zeros(0, int)]
        )
        return Configurations._from_named(
            {
                name: array[atoms if _is_per_atom(name) else index]
                for name, array in self.named.items()
            }
        )

    @staticmethod
    def concatenate(batches: Sequence["Configurations"]) -> "Configurations":
        """Return all structures of several batches.

        A key of ``info`` or ``arrays`` that only some batches have is filled with what stands for
        unknown there (see ``ml.frames``; else NaN or an empty string), for ``status`` with what
        the labels say, and for ``SITES`` with ASE's defaults.
        """
        batches = [batch for batch in batches if len(batch)]
        if not batches:
            return Configurations.empty()
        examples = {k: v for batch in reversed(batches) for k, v in batch.named.items()}
        n = sum(map(len, batches))
        for name, array in ((k, v) for batch in batches for k, v in batch.named.items()):
            if is_text(array):
                check_width(array.dtype.itemsize // 4, n, name)
        return Configurations._from_named(
            {
                name: np.concatenate([batch.filled(name, example) for batch in batches])
                for name, example in examples.items()
            }
        )

    @property
    def named(self) -> dict[str, np.ndarray]:
        """All arrays by their names in files: those of the class, ``info.KEY``, ``arrays.KEY``."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays |= {f"info.{key}": value for key, value in self.info.items()}
        return arrays | {f"arrays.{key}": value for key, value in self.arrays.items()}

    @property
    def telling(self) -> dict[str, np.ndarray]:
        """Those of the ``named`` arrays that ``from_geometry`` would not fill in by itself."""
        arrays, blank = self.named, _blank(len(self), len(self.numbers))
        for name, values in blank.items():
            if np.array_equal(arrays[name], values, equal_nan=values.dtype.kind == "f"):
                del arrays[name]
        return arrays

    def filled(self, name: str, example: np.ndarray) -> np.ndarray:
        """Return one of the ``named`` arrays; where there is none, what stands for unknown.

        Parameters
        ----------
        example
            The array of this name that other structures have.
        """
        named = self.named
        if name in named:
            return named[name]
        group, _, key = name.partition(".")
        column = find(key, per_atom=group == "arrays")
        if column is not None:
            return self.status if column is STATUS else column.of(self)
        if group == "arrays" and key in SITES:
            return usual_site(key, self.numbers)
        length = len(self) if group == "info" else len(self.numbers)
        unknown = "" if example.dtype.kind == "U" else np.nan
        return np.full((length, *example.shape[1:]), unknown)

    @classmethod
    def _from_named(cls, named: Mapping[str, np.ndarray]) -> "Configurations":
        """Return the structures of ``named`` arrays that nobody else has: none is copied."""
        values: dict[str, Any] = {"info": {}, "arrays": {}}
        for name, array in named.items():
            for one in with_bases(array):
                one.setflags(write=False)
            group, _, key = name.partition(".")
            (values[group] if key else values)[key or group] = array
        return cls(**values)

    def with_own_status(self) -> "Configurations":
        """Return the same structures, a ``status`` that is none of ours called ``file_status``.

        Where a status of ours is missing, it is what the labels say.
        """
        if not STATUS.is_in(self):
            return self
        info = dict(self.info)
        status = info.pop(STATUS.name)
        if status.dtype.kind == "U" and set(status.tolist()) <= {*STATUSES, ""}:
            said = np.where(np.isfinite(self.energies), OK, UNLABELLED)
            info[STATUS.name] = np.where(status == "", said, status)
        else:
            info[FILE_STATUS] = status
        return replace(self, info=info)

    def with_info(self, **values: Any) -> "Configurations":
        """Return the same structures with more values for each of them."""
        return replace(self, info={**self.info, **{k: as_array(v, k) for k, v in values.items()}})

    def with_arrays(self, **values: Any) -> "Configurations":
        """Return the same structures with more values for each of their atoms."""
        arrays = {**self.arrays, **{k: np.asarray(v) for k, v in values.items()}}
        return replace(self, arrays=arrays)

    def with_columns(self, columns: Mapping[Column, Any]) -> "Configurations":
        """Return the same structures with these columns, given by their values or a single one."""
        info, arrays = dict(self.info), dict(self.arrays)
        for column, values in columns.items():
            group = arrays if column.per_atom else info
            group[column.name] = column.array(values, column.length(self))
        return replace(self, info=info, arrays=arrays)

    def without(self, *columns: Column) -> "Configurations":
        """Return the same structures without these columns."""
        gone = {(column.name, column.per_atom) for column in columns}
        info = {key: value for key, value in self.info.items() if (key, False) not in gone}
        arrays = {key: value for key, value in self.arrays.items() if (key, True) not in gone}
        return replace(self, info=info, arrays=arrays)

    def with_predictions(self, predicted: "Configurations") -> "Configurations":
        """Return the same structures with the labels of ``predicted`` under other names.

        These are ``predicted_energy``, ``predicted_forces`` and ``predicted_stress``, so that
        they cannot be mistaken for labels.
        """
        return self.with_columns(
            {
                PREDICTED_ENERGY: predicted.energies,
                PREDICTED_FORCES: predicted.forces,
                PREDICTED_STRESS: predicted.stresses,
            }
        )

    def with_labels(
        self, energies: Any, forces: Any, stresses: Any | None = None
    ) -> "Configurations":
        """Return the same structures with new labels; without ``stresses`` these are NaN."""
        if stresses is None:
            stresses = np.full((len(self), 3, 3), np.nan)
        labels = [np.array(values, float) for values in (energies, forces, stresses)]
        return replace(self, energies=labels[0], forces=labels[1], stresses=labels[2])

    @property
    def bare(self) -> "Configurations":
        """The structures without labels, or anything else that could tell of them."""
        return Configurations.from_geometry(
            self.numbers,
            self.positions,
            self.counts,
            self.cells,
            self.pbc,
            fixed=self.fixed,
            info={key: self.info[key] for key in (NOT_KEPT,) if key in self.info},
            arrays=self.sites,
        )

    @property
    def sites(self) -> dict[str, np.ndarray]:
        """Those of the ``arrays`` that belong to the structures themselves."""
        return {name: self.arrays[name] for name in SITES if name in self.arrays}

    @cached_property
    def offsets(self) -> Int[np.ndarray, " structures+1"]:
        """Where the atoms of each structure begin, and after the last one end."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    @cached_property
    def owner(self) -> Int[np.ndarray, " atoms"]:
        """The structure that each atom belongs to."""
        return np.repeat(np.arange(len(self)), self.counts)

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols of all elements, by atomic number."""
        return tuple(chemical_symbols[z] for z in np.unique(self.numbers))

    def composition(self, elements: Sequence[str]) -> Float[np.ndarray, "structures elements"]:
        """Return the number of atoms of each element in each structure."""
        counts = np.zeros((len(self), len(elements)))
        for column, element in enumerate(elements):
            own = self.owner[self.numbers == atomic_numbers[element]]
            counts[:, column] = np.bincount(own, minlength=len(self))
        return counts

    @property
    def formulas(self) -> list[str]:
        """Chemical formula of each structure, in Hill order."""
        known: dict[bytes, str] = {}  # many structures have few compositions
        formulas = []
        for a, b in pairwise(self.offsets.tolist()):
            composition = np.sort(self.numbers[a:b])
            key = composition.tobytes()
            if key not in known:
                known[key] = Atoms(composition).get_chemical_formula()
            formulas.append(known[key])
        return formulas

    @property
    def status(self) -> np.ndarray:
        """What became of the label of each structure, one of ``STATUSES``."""
        if STATUS.is_in(self):
            return STATUS.of(self)
        return np.where(np.isfinite(self.energies), OK, UNLABELLED)

    @property
    def learnable(self) -> "Configurations":
        """Only the structures whose label is good to learn from."""
        return self[self.status == OK]

    @property
    def tried(self) -> "Configurations":
        """Only the structures for which a label was paid, whether or not it is good."""
        return self[self.status != UNLABELLED]

    def called(self, i: int) -> str:
        """Return the name of a structure in messages: its number and formula."""
        return f"structure {i} ({self[i].formulas[0]})"

    def check_cells(self) -> None:
        """Refuse positions and cells that are not finite, and cells without a volume.

        Raises
        ------
        ValueError
            Which names the first structure and what is wrong with it.
        """
        self.check_geometry()
        for i, (cell, pbc) in enumerate(zip(self.cells, self.pbc)):
            with within(self.called(i)):
                check_lattice(cell, pbc)

    def check_atoms(self, among: Bool[np.ndarray, " structures"] | None = None) -> None:
        """Refuse structures without atoms, or with two atoms at the same place, or no proper cell.

        Nothing can be learned from them, and most computations end in numbers that are none.

        Parameters
        ----------
        among
            Mask of those that are looked at; all by default.

        Raises
        ------
        ValueError
            Which names the first structure and what is wrong with it.
        """
        self.check_geometry()
        for i in np.flatnonzero(np.ones(len(self), bool) if among is None else among):
            one = self[int(i)]
            with within(self.called(int(i))):
                if not len(one.numbers):
                    raise ValueError("there are no atoms")
                pairs, shifts = neighbours(one.positions, one.cells[0], one.pbc[0], 1.0)  # is fast
                apart = edge_vectors(one.positions, one.cells[0], pairs, shifts)
                for a, b in pairs.T[np.linalg.norm(apart, axis=1) < TOGETHER][:1].tolist():
                    raise ValueError(f"atoms {a} and {b} are less than {TOGETHER} Å apart")

    def check_geometry(self) -> None:
        """Refuse positions and cells that are not finite.

        Raises
        ------
        ValueError
            Which names the first structure and what is wrong with it.
        """
        lost = ~np.isfinite(self.positions).all(axis=1)
        shapeless = ~np.isfinite(self.cells).all(axis=(1, 2))
        wrong = np.unique([*self.owner[lost], *np.flatnonzero(shapeless)])
        if not len(wrong):
            return
        i = int(wrong[0])
        what = "its cell"
        if not shapeless[i]:
            what = f"the position of atom {int(np.flatnonzero(lost)[0] - self.offsets[i])}"
        raise ValueError(f"{self.called(i)}: {what} is not finite")

    def check_not_empty(self) -> None:
        """Raise ``ValueError`` for a structure without atoms."""
        for i in np.flatnonzero(self.counts == 0)[:1]:
            raise ValueError(f"{self.called(int(i))}: there are no atoms")

    def check_movable(self) -> None:
        """Refuse constraints that a simulation would not keep.

        Raises
        ------
        ValueError
            Which names the first structure and its constraints.
        """
        said = self.info.get(NOT_KEPT, np.zeros(0, "U1"))
        for i in np.flatnonzero(said != "")[:1]:
            raise ValueError(
                f"{self.called(i)}: its constraints {said[i]} would not be "
                "kept while atoms move; those that keep atoms from moving along x, y or z are "
                "(FixAtoms, FixCartesian, FixedPlane, FixedLine, FixScaled)"
            )

    def check_labels(self) -> None:
        """Refuse labels of status ``ok`` that are missing, there in part only, or infinite.

        Raises
        ------
        ValueError
            Which names the first structure and what is wrong with it.
        """
        strange = sorted(set(self.status.tolist()) - set(STATUSES))
        if strange:
            raise ValueError(f"unknown status {strange[0]!r}, choose from {list(STATUSES)}")
        known = np.isfinite(self.forces).any(axis=1)
        forceless = np.bincount(self.owner, weights=known, minlength=len(self)) == 0
        without = forceless & np.isnan(self.stresses).all(axis=(1, 2))
        lost = (self.status == OK) & np.isnan(self.energies) & without
        if lost.any():
            i = int(lost.argmax())
            raise ValueError(
                f"{self.called(i)} has the status 'ok', but neither energy, forces nor stress"
            )
        structures = np.arange(len(self))
        labels = {
            "energy": (self.energies, structures),
            "forces": (self.forces, self.owner),
            "stress": (self.stresses, structures),
        }
        torn = {name: _torn(values, owner, len(self)) for name, (values, owner) in labels.items()}
        wrong = np.flatnonzero((self.status == OK) & np.any(list(torn.values()), axis=0))
        if not len(wrong):
            return
        i = int(wrong[0])
        name = next(name for name in labels if torn[name][i])
        values, owner = labels[name]
        mine = values[owner == i]
        first = mine[~np.isfinite(mine)][0]
        where = f" of atom {_first_row(mine)}" if name == "forces" else ""
        raise ValueError(
            f"{self.called(i)}: the {name}{where} in its label: expected "
            f"finite numbers, got {first}; leave the structure out, or its {name} altogether"
        )

    @property
    def max_forces(self) -> Float[np.ndarray, " structures"]:
        """Largest norm of a force on an atom in each structure, fixed components left out."""
        return self.largest(np.linalg.norm(np.where(self.fixed, 0.0, self.forces), axis=1))

    def largest(self, norms: Float[np.ndarray, " atoms"]) -> Float[np.ndarray, " structures"]:
        """Return the largest of the norms of the atoms of each structure, NaN if one is NaN."""
        largest = np.zeros(len(self))
        with np.errstate(invalid="ignore"):  # numpy warns where it compares NaN
            np.maximum.at(largest, self.owner, norms)
        return largest

    @cached_property
    def keys(self) -> list[str]:
        """A short hash of each structure: equal exactly for equal structures.

        It is that of the geometry, and of initial moments and charges that are not zero.
        """
        numbers, positions, cells, pbc = (
            np.ascontiguousarray(a + 0, a.dtype.newbyteorder("<"))
            for a in (self.numbers, self.positions, self.cells, self.pbc)
        )
        hashes = []
        for i, (start, end) in enumerate(pairwise(self.offsets.tolist())):
            parts = (numbers[start:end], positions[start:end], cells[i], pbc[i])
            content = b"".join(part.tobytes() for part in parts)
            for name in ELECTRONIC:
                values = self.arrays.get(name, np.zeros(0))[start:end]
                if values.any():
                    content += name.encode() + np.ascontiguousarray(values + 0, "<f8").tobytes()
            hashes.append(sha256(content).hexdigest()[:16])
        return hashes

    def slices(self, n_atoms: int) -> Iterator[slice]:
        """Return consecutive structures in parts of about so many atoms, at least one each."""
        part = self.offsets[:-1] // n_atoms
        ends = [*np.unique(part, return_index=True)[1].tolist(), len(self)]
        return (slice(start, end) for start, end in pairwise(ends))

    def to_bytes(self) -> bytes:
        """Return the content as safetensors: the same content always gives the same bytes.

        What ``from_geometry`` would fill in, such as labels where there are none, is left out.
        """
        named = self.telling
        strings = {k.removeprefix("info."): v.tolist() for k, v in named.items() if is_text(v)}
        numbers = {k: v for k, v in named.items() if not is_text(v)}
        return pack(FORMAT, {"version": VERSION, "strings": strings}, numbers)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Configurations":
        """Read what ``to_bytes`` wrote; anything else raises ``ValueError``."""
        return cls._from_file(*unpack(content, FORMAT, VERSION))

    @classmethod
    def _from_file(
        cls, header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
    ) -> "Configurations":
        missing = sorted({"numbers", "positions", "counts", "pbc"} - set(tensors))
        if missing:
            raise ValueError(f"the file of configurations lacks {missing}")
        for name in ("numbers", "counts"):
            if tensors[name].dtype.kind not in "iu":
                raise ValueError(f"{name}: expected whole numbers, got {tensors[name].dtype}")
        words = header.get("strings", {})
        if not isinstance(words, dict) or not all(isinstance(v, list) for v in words.values()):
            raise ValueError("strings: expected a list of texts for each key of info")
        blank = _blank(len(tensors["counts"]), len(tensors["numbers"]))
        known = {k: v for k, v in tensors.items() if k in _ARRAYS or k.startswith(_GROUPS)}
        said = {f"info.{key}": texts(v, key) for key, v in words.items()}
        return cls._from_named({**blank, **known, **said})

    def save(self, path: str | Path) -> None:
        """Write the configurations to a file."""
        save_together(path, [lambda: self])

    @classmethod
    def load(cls, path: str | Path) -> "Configurations":
        """Read a file written by ``save``; ``ValueError`` where it is something else."""
        with within(str(path)):
            return cls._from_file(*read(path, FORMAT, VERSION))

    def _atoms(self, i: int) -> Atoms:
        a, b = self.offsets[i], self.offsets[i + 1]
        atoms = Atoms(
            numbers=self.numbers[a:b],
            positions=self.positions[a:b],
            cell=self.cells[i],
            pbc=self.pbc[i],
            constraint=constraints.to_ase(self.fixed[a:b]),
            info={
                key: value[i].item() if value.ndim == 1 else value[i].copy()
                for key, value in self.info.items()
                if not says_nothing(value[i].item() if value.ndim == 1 else value[i])
            },
        )
        for key, value in self.arrays.items():
            atoms.set_array(key, value[a:b].copy())
        results: dict[str, Any] = {}
        if np.isfinite(self.energies[i]):
            results["energy"] = float(self.energies[i])
        if np.isfinite(self.forces[a:b]).all():
            results["forces"] = self.forces[a:b].copy()
        if np.isfinite(self.stresses[i]).all():
            results["stress"] = full_3x3_to_voigt_6_stress(self.stresses[i])
        if results:
            atoms.calc = SinglePointCalculator(atoms, **results)
        return atoms


_ARRAYS = tuple(f.name for f in fields(Configurations) if f.name not in ("info", "arrays"))
_PER_ATOM = ("numbers", "positions", "fixed", "forces")
_GROUPS = ("info.", "arrays.")


def _is_per_atom(name: str) -> bool:
    return name in _PER_ATOM or name.startswith("arrays.")


def save_together(path: str | Path, parts: Sequence[Callable[[], Configurations]]) -> None:
    """Write the file of ``Configurations.concatenate``, with one part in memory at a time.

    Parameters
    ----------
    parts
        Each returns its structures whenever it is called, which is three times.
    """
    sizes: list[int] = []
    examples: dict[str, np.ndarray] = {}
    for part in parts:
        structures = part()
        sizes.append(len(structures))
        if sizes[-1]:
            new = {name: np.array(array[:1]) for name, array in structures.telling.items()}
            examples = {**new, **examples}
    kept = [part for part, size in zip(parts, sizes) if size]
    if not kept:
        kept = [*parts[:1]] or [Configurations.empty]
        examples = kept[0]().telling

    def completed() -> Iterator[dict[str, np.ndarray]]:
        for part in kept:
            structures = part()
            yield {name: structures.filled(name, example) for name, example in examples.items()}

    outlines: dict[str, Outline] = {}
    strings: dict[str, list[str]] = {}
    for arrays in completed():
        for name, array in arrays.items():
            if is_text(array):
                check_width(array.dtype.itemsize // 4, sum(sizes), name)
                strings.setdefault(name.removeprefix("info."), []).extend(array.tolist())
                continue
            before = outlines.get(name, Outline(array.dtype, (0, *array.shape[1:])))
            shape = (before.shape[0] + len(array), *array.shape[1:])
            outlines[name] = Outline(np.result_type(before.dtype, array.dtype), shape)
    write(path, FORMAT, {"version": VERSION, "strings": strings}, outlines, completed())


def _check_counts(counts: np.ndarray, numbers: np.ndarray) -> None:
    if counts.min(initial=0) < 0:
        raise ValueError(f"counts must not be negative, got {counts.min()}")
    strange = (numbers < 1) | (numbers >= len(chemical_symbols))
    if strange.any():
        atom = int(strange.argmax())
        owner = int(np.searchsorted(np.cumsum(counts), atom, side="right"))
        atom -= int(counts[:owner].sum())
        raise ValueError(
            f"structure {owner}: atom {atom} has the atomic number {numbers[strange][0]}, which is "
            "that of no element (X, as ASE calls it, is none)"
        )


def _blank(n: int, n_atoms: int) -> dict[str, np.ndarray]:
    """Return default arrays: no cell, no labels, all atoms free to move."""
    return {
        "cells": np.zeros((n, 3, 3)),
        "fixed": np.zeros((n_atoms, 3), bool),
        "energies": np.full(n, np.nan),
        "forces": np.full((n_atoms, 3), np.nan),
        "stresses": np.full((n, 3, 3), np.nan),
    }


def _torn(values: np.ndarray, owner: np.ndarray, n: int) -> Bool[np.ndarray, " n"]:
    """Mask the structures whose values are neither all finite nor all NaN."""
    torn = np.ones(n, bool)
    for fits in (np.isfinite(values), np.isnan(values)):
        misfit = (~fits).any(axis=tuple(range(1, values.ndim)))
        misfits = np.bincount(owner, weights=misfit, minlength=n)
        torn &= misfits > 0
    return torn


def _first_row(values: np.ndarray) -> int:
    """Return the first row with a value that is not finite."""
    return int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])


def _join(arrays: list[np.ndarray], empty: tuple[int, ...], dtype: type = float) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.zeros(empty, dtype)
