"""Input of VASP for one structure, what of it decides its label, and its output."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats.files import load
from aiida_mlal.ml.formats.labels import LabelKeys
from aiida_mlal.ml.frames import MOMENTS
from aiida_mlal.ml.labelling.checks import UNCONVERGED
from aiida_mlal.ml.labelling.electrons import ROUNDING, charge_of, has_moments
from aiida_mlal.ml.labelling.fingerprint import Method
from aiida_mlal.ml.labelling.outcome import NotConverged

VASPRUN = "vasprun.xml"

IDLE = {
    "algo", "amin", "amix", "amix_mag", "bmix", "bmix_mag", "ediffg", "emax", "emin", "ialgo",
    "icharg", "imix", "inimix", "isif", "istart", "kpar", "laechg", "lcharg", "lelf", "lhyperfine",
    "lorbit", "lplane", "lscaaware", "lscalapack", "lscalu", "lvhar", "lvtot", "lwave", "maxmix",
    "mixpre", "nbands", "ncore", "ncore_in_image1", "nedos", "nelm", "nelmdl", "nelmin", "npar",
    "nsim", "nsw", "nwrite", "potim", "rwigs", "smass", "system", "time", "wc",
}  # fmt: skip
"""Tags that do not decide the energy of a converged calculation."""

DEFAULTS: dict[str, Any] = {
    "addgrid": False, "ediff": 1e-4, "ibrion": -1, "ispin": 1, "ismear": 1, "isym": 2,
    "ivdw": 0, "lasph": False, "ldau": False, "lhfcalc": False, "lreal": False, "luse_vdw": False,
    "sigma": 0.2, "symprec": 1e-5,
}  # fmt: skip
"""Values that tags have where nobody gives them."""

NUMBERS = {
    "aexx", "amix", "bmix", "ediff", "ediffg", "enaug", "encut", "hfscreen", "ialgo", "ibrion",
    "icharg", "isif", "ismear", "ispin", "istart", "isym", "ivdw", "kpar", "lmaxmix", "nbands",
    "ncore", "nelm", "nelmdl", "nelmin", "npar", "nsim", "nsw", "nupdown", "potim", "pstress",
    "sigma", "symprec",
}  # fmt: skip
"""Tags whose value is one number."""

OF_STRUCTURES = {
    "magmom": "it comes from initial magnetic moments of its atoms, or 'magmom_mapping' by element",
    "nelect": "it comes from initial charges of its atoms, whose sum is the charge of the cell",
    **dict.fromkeys(("ldaul", "ldauu", "ldauj"), "it comes from 'ldau_mapping' by element"),
    **dict.fromkeys(
        ("m_constr", "pomass", "ropt", "vca", "vdw_alpha", "vdw_c6", "vdw_r0", "zval"),
        "its values are in the order of the atoms or elements of one structure",
    ),
}
"""Tags that no two structures have in common, and what there is instead."""

SELF_CONSISTENT = ("normal", "veryfast", "fast", "conjugate", "all", "damped", "subrot")
"""Values of ALGO with which the electrons are made self-consistent; VASP looks at the beginning."""

NOT_SELF_CONSISTENT = (-1, 2, 3, 90)
"""Values of IALGO that test VASP, keep orbitals, or diagonalise once."""


class Input(NamedTuple):
    """What VASP is given for one structure.

    Attributes
    ----------
    incar
        Tags in small letters.
    order
        Index in the structure of each atom of the POSCAR, where elements stand together.
    """

    incar: dict[str, Any]
    order: np.ndarray


def check_incar(incar: Mapping[str, Any]) -> None:
    """Refuse tags with which VASP would not compute energy and forces of the structure as it is.

    Raises
    ------
    ValueError
        With the tag, what was wanted, and what came.
    """
    given = tags(incar)
    for tag in sorted(NUMBERS & set(given)):
        if isinstance(given[tag], bool) or not isinstance(given[tag], (int, float)):
            raise ValueError(f"{tag.upper()}: expected a number, got {given[tag]!r}")
    if given.get("nsw", 0) > 0 or given.get("ibrion", -1) != -1:
        raise ValueError(
            "to label structures VASP must not move atoms: leave NSW and IBRION out, or give 0 and "
            f"-1; got NSW {given.get('nsw', 0)}, IBRION {given.get('ibrion', -1)}"
        )
    if given.get("pstress", 0.0):
        raise ValueError(
            f"PSTRESS is {given['pstress']}: energies and stresses of labels are without external "
            "pressure, which simulations add by themselves"
        )
    if given.get("icharg", 0) >= 10:
        raise ValueError(f"ICHARG {given['icharg']}: a label wants a self-consistent density")
    for tag, what in (
        ("ml_lmlff", "labels come from electrons, not from a force field"),
        ("lnoncollinear", "moments of structures are collinear here"),
        ("lsorbit", "moments of structures are collinear here"),
        ("images", "a label is of one structure"),
    ):
        if given.get(tag):
            raise ValueError(f"{tag.upper()} is {given[tag]}: {what}")
    algo = str(given.get("algo", "normal")).strip().lower()
    if not algo or not any(one.startswith(algo) for one in SELF_CONSISTENT):
        raise ValueError(
            f"ALGO {given['algo']!r}: a label wants self-consistent electrons, by one of "
            f"{list(SELF_CONSISTENT)}"
        )
    if given.get("ialgo") in NOT_SELF_CONSISTENT:
        raise ValueError(f"IALGO {given['ialgo']}: a label wants self-consistent electrons")
    for tag, instead in OF_STRUCTURES.items():
        if tag in given:
            raise ValueError(f"{tag.upper()} depends on the structure: {instead}")


def prepare(
    one: Configurations,
    incar: Mapping[str, Any],
    valence: Callable[[str], float],
    ediff_per_atom: float | None = None,
) -> Input:
    """Make the input of one structure, which does not depend on any other structure.

    Parameters
    ----------
    incar
        Tags that are the same for all structures.
    valence
        Number of valence electrons of the POTCAR of an element; asked for charged cells only.
    ediff_per_atom
        EDIFF in eV for each atom, where ``incar`` has none.

    Raises
    ------
    ValueError
        If VASP cannot compute the structure with these tags.
    """
    check_incar(incar)
    settings = tags(incar)
    if np.linalg.det(one.cells[0]) < 0:
        raise ValueError(
            "its lattice vectors are left-handed, and VASP wants a right-handed cell: exchange two "
            "of them"
        )
    order = np.argsort(one.numbers, kind="stable")
    if ediff_per_atom is not None:
        settings.setdefault("ediff", ediff_per_atom * len(one.numbers))
    if has_moments(one) and settings.get("ispin", 1) == 2:
        moments = one.arrays["initial_magmoms"].reshape(len(one.numbers), -1)
        if moments.shape[1] == 3 and moments[:, :2].any():
            raise ValueError("its initial moments are not along z: they are collinear here")
        settings["magmom"] = moments[order, -1].tolist()
    charge = charge_of(one)
    if abs(charge) >= ROUNDING:
        if abs(charge - round(charge)) >= ROUNDING:
            raise ValueError(
                f"the initial charges of its atoms are {charge:g} together: expected a whole number"
            )
        electrons = sum(valence(chemical_symbols[z]) for z in one.numbers)
        settings["nelect"] = electrons - round(charge)
    return Input(settings, order)


def read(
    one: Configurations,
    order: np.ndarray,
    vasprun: str,
    moments: np.ndarray | None = None,
    stress: bool = True,
) -> Configurations:
    """Read structure and label of a ``vasprun.xml``, atoms in the order of the structure asked for.

    The energy is the free energy of the electrons ("TOTEN"), whose derivative the forces are. The
    stress of a structure with vacuum is left out.

    Parameters
    ----------
    one
        The structure that was to be computed, of which only the periodicity is taken.
    order
        Index in it of each atom of the POSCAR.
    moments
        Magnetic moment in Bohr magnetons of each atom, in the order of the POSCAR.
    stress
        Whether the whole stress tensor was computed; else what there is of it is left out.

    Raises
    ------
    NotConverged
        If the electrons used all NELM steps.
    ValueError
        If there is not the label of one structure.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / VASPRUN
        path.write_text(vasprun)
        labelled = load(path, keys=LabelKeys(energy="free_energy")).configurations
    if len(labelled) != 1:
        raise ValueError(f"expected the label of one structure from VASP, got {len(labelled)}")
    if labelled.status[0] == UNCONVERGED:
        raise NotConverged("VASP used all NELM electronic steps")
    if len(labelled.numbers) != len(order):
        raise ValueError(f"asked for {len(order)} atoms, got {len(labelled.numbers)}")
    back = np.argsort(order)
    stresses = labelled.stresses if stress and one.pbc.all() else np.full((1, 3, 3), np.nan)
    columns = {} if moments is None else {MOMENTS: moments[back]}
    return Configurations.from_geometry(
        labelled.numbers[back],
        labelled.positions[back],
        [len(order)],
        labelled.cells,
        one.pbc,
        energies=labelled.energies,
        forces=labelled.forces[back],
        stresses=stresses,
    ).with_columns(columns)


def method(description: Mapping[str, Any]) -> Method:
    """Normalise the part of a description that decides labels.

    Left out are tags of how the result is reached and of what is written, and defaults. POTCARs,
    initial moments and Hubbard parameters belong to elements.
    """
    incar = tags(description["incar"])
    magnetic = incar.get("ispin", 1) == 2
    mapping = dict(description.get("magmom_mapping") or {}) if magnetic else {}
    usual = mapping.pop("default", None)
    hubbard = description.get("ldau_mapping") or {}
    elements = {
        element: {
            "potential": potential["sha512"],
            "moment": mapping.get(element),
            "hubbard": [(hubbard.get(key) or {}).get(element) for key in ("mapping", "jmapping")],
        }
        for element, potential in description["potentials"].items()
    }
    deciding = {
        tag: value
        for tag, value in incar.items()
        if tag not in IDLE and not (tag in DEFAULTS and DEFAULTS[tag] == value)
    }
    common = {
        "code": description["process"],
        "incar": deciding,
        "ediff_per_atom": None if "ediff" in incar else description.get("ediff_per_atom"),
        "kpoints": description["kpoints"],
        "moment": usual,
        "hubbard": {key: hubbard[key] for key in ("utype", "felec") if key in hubbard},
    }
    return Method(common, elements)


def gives_stress(incar: Mapping[str, Any]) -> bool:
    """Whether VASP computes the whole stress tensor: ISIF is 2 or more, or left out."""
    return int(tags(incar).get("isif", 2)) >= 2


def tags(incar: Mapping[str, Any]) -> dict[str, Any]:
    """Write tags in small letters, and numbers as numbers; None leaves a tag out.

    In YAML a number like 1e-6 is a text.
    """
    given = {str(tag).lower(): value for tag, value in incar.items() if value is not None}
    return {tag: _number(one) if tag in NUMBERS else one for tag, one in given.items()}


def _number(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        with suppress(ValueError):
            return kind(value)
    return value
