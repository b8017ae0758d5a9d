"""Labels, ``info`` and properties of atoms of ASE structures, as arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_masses
from jaxtyping import Float, Int

from aiida_mlal.ml.arrays import texts

SITES = ("initial_charges", "initial_magmoms", "masses", "tags")
"""What ASE knows of atoms beside element and position: ``arrays`` that belong to a structure."""

ELECTRONIC = ("initial_charges", "initial_magmoms")
"""Those of ``SITES`` that tell apart states of equal geometry."""

_ENERGIES = ("energy", "free_energy")


def kind_of_energy(results: Sequence[Mapping[str, Any]]) -> str:
    """Choose the kind of energy of all results: ``free_energy`` if all that have one have it.

    Raises
    ------
    ValueError
        If some have only the one, some only the other.
    """
    known = [set(one) & {"energy", "free_energy"} for one in results]
    for name in ("free_energy", "energy"):
        if all(name in one for one in known if one):
            return name
    first = {name: next(i for i, f in enumerate(known) if f == {name}) for name in _ENERGIES}
    raise ValueError(
        f"structure {first['energy']} has only an energy, structure {first['free_energy']} only a "
        "free_energy: these are different things, and one is wanted for all"
    )


def sites_of(frames: list[Atoms]) -> dict[str, np.ndarray]:
    """Return the ``SITES`` of all atoms of several structures."""
    sites = {}
    for name in SITES:
        parts = [a.arrays.get(name, usual_site(name, a.numbers)) for a in frames]
        if len({p.ndim for p in parts}) > 1:  # moments along z beside others
            parts = [_along_z(p) if p.ndim == 1 else p for p in parts]
        if parts:
            sites[name] = np.concatenate(parts)
    return sites


def usual_site(name: str, numbers: Int[np.ndarray, " atoms"]) -> np.ndarray:
    """Return ASE's default values of one of the ``SITES``."""
    if name == "masses":
        return np.asarray(atomic_masses[numbers])
    return np.zeros(len(numbers), int if name == "tags" else float)


def is_usual(name: str, values: np.ndarray, numbers: Int[np.ndarray, " atoms"]) -> bool:
    """Whether values of one of the ``SITES`` are ASE's default values."""
    if name not in SITES:
        return False
    if name != "masses":
        return not values.any()
    return np.array_equal(values, usual_site(name, numbers))


def results_of(atoms: Atoms) -> Mapping[str, Any]:
    """Return results of the calculator; none if they are of another geometry."""
    if atoms.calc is None or atoms.calc.check_state(atoms):
        return {}
    results: Mapping[str, Any] = atoms.calc.results
    return results


def labels_of(
    results: Mapping[str, Any], energy: str, n_atoms: int
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return energy, forces and stress, NaN where they are missing."""
    forces = results.get("forces")
    if forces is None:
        forces = np.full((n_atoms, 3), np.nan)
    return (
        float(_real(results.get(energy, np.nan), energy, ((),))),
        _real(forces, "forces", ((n_atoms, 3),)),
        _full_stress(results.get("stress")),
    )


def info_of(frames: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Collect the ``info`` of ASE structures: keys whose values are of one kind and shape."""
    joined = {}
    for key in sorted({str(key) for info in frames for key in info}):
        values: list[Any] = [info.get(key) for info in frames]
        there: list[Any] = [value for value in values if _is_plain(value)]
        if not there or len(there) < sum(value is not None for value in values):
            continue
        if any(isinstance(value, str) for value in there):
            if all(np.ndim(value) == 0 for value in there):
                joined[key] = texts(["" if value is None else value for value in values], key)
            continue
        shape = np.shape(there[0])
        if all(np.shape(value) == shape for value in there):
            blank = np.full(shape, np.nan)
            joined[key] = np.array([blank if value is None else value for value in values])
    return joined


def _full_stress(stress: Any) -> np.ndarray:
    if stress is None:
        return np.full((3, 3), np.nan)
    stress = _real(stress, "stress", ((6,), (3, 3), (9,)))
    if stress.size == 9:
        return stress.reshape(3, 3)
    xx, yy, zz, yz, xz, xy = stress
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def _real(values: Any, name: str, shapes: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """Return real numbers of one of some shapes."""
    try:
        array = np.asarray(values)
    except ValueError:  # rows of different lengths
        array = np.zeros(0, object)
    if array.dtype.kind not in "iuf" or array.shape not in shapes:
        wanted = " or ".join(str(shape) for shape in shapes)
        what = "a real number" if shapes == ((),) else f"real numbers of shape {wanted}"
        got = repr(values)[:60] if array.ndim == 0 else f"{array.dtype} of shape {array.shape}"
        raise ValueError(f"{name}: expected {what}, got {got}")
    return array.astype(float)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (str, bool, int, float, np.generic)):
        return not isinstance(value, np.generic) or value.dtype.kind in "biufU"
    try:
        return isinstance(value, (np.ndarray, list)) and np.asarray(value).dtype.kind in "biuf"
    except ValueError:  # rows of different lengths
        return False


def _along_z(values: Float[np.ndarray, " atoms"]) -> Float[np.ndarray, "atoms 3"]:
    return np.stack([0 * values, 0 * values, values], axis=1)
