"""Input of pw.x for one structure, the part that determines its label, and convergence."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols
from ase.units import Bohr, Rydberg

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.labelling.electrons import ROUNDING, charge_of, has_moments
from aiida_mlal.ml.labelling.fingerprint import Method
from aiida_mlal.ml.labelling.outcome import NotConverged
from aiida_mlal.ml.labelling.vacuum import heights, vacuum
from aiida_mlal.ml.simulation.cell import MovingCell

CONV_THR = 1e-6
"""Default of ``ELECTRONS.conv_thr`` in Ry."""

ROOM = 5.0
"""How much farther than between atoms the Coulomb interaction must reach, in Å, if it is cut off.

Electrons are beyond the outermost atoms. The force on a surface atom of Al(111) is wrong by 0.01
eV/Å with 5 Å, by 0.1 with 4, by 0.7 with 3, and by some 30 eV/Å with 1 Å.
"""

MARTYNA_TUCKERMAN = ("martyna-tuckerman", "m-t", "mt")
"""Names of the ``assume_isolated`` that cuts the Coulomb interaction off in all directions."""

MOST_STEPS = 300
"""Steps after which pw.x gives up a relaxation."""

FREE = {"full": "all", "shape": "shape", "volume": "volume", "axes": "xyz"}
"""``CELL.cell_dofree`` for what moves of a cell."""

KBAR = 10.0
"""In a GPa."""

MAX_KINDS = 10
"""Most kinds of atoms that pw.x is built for."""

RYDBERGS = 2.0
"""In a Hartree, in which the XML output has the error of the energy."""

EIGENVALUES = re.compile(r"c_bands:\s*(\d+)\s+eigenvalues not converged")
"""A line of pw.x for each k-point some of whose eigenvalues are not converged."""

ERROR = re.compile(r"^ *Error in routine +(.*?) *:?\n(.*?)^ *%{10}", re.MULTILINE | re.DOTALL)
"""The routine of pw.x in which it stopped, and what it says there, in a frame of percent signs."""

SUFFIXES = "123456789"
"""What may follow the symbol of an element in the name of a kind; letters could be elements."""

IDLE = {
    "CONTROL": {
        "calculation", "disk_io", "dt", "etot_conv_thr", "forc_conv_thr", "iprint", "lkpoint_dir",
        "max_seconds", "nstep", "outdir", "prefix", "pseudo_dir", "restart_mode", "title",
        "tprnfor", "tstress", "verbosity", "wf_collect", "wfcdir",
    },
    "SYSTEM": {"nat", "nbnd", "ntyp"},
    "ELECTRONS": {
        "adaptive_thr", "conv_thr_init", "conv_thr_multi", "diago_cg_maxiter",
        "diago_david_ndim", "diago_full_acc", "diago_gs_nblock", "diago_ppcg_maxiter",
        "diago_rmm_conv", "diago_rmm_ndim", "diago_thr_init", "diagonalization",
        "electron_maxstep", "exx_maxstep", "mixing_beta", "mixing_mode", "mixing_ndim",
        "scf_must_converge", "startingpot", "startingwfc",
    },
    "IONS": None,
    "CELL": None,
}  # fmt: skip
"""Parameters that do not decide the energy of a converged calculation; None for all."""

DEFAULTS: dict[str, dict[str, Any]] = {
    "SYSTEM": {
        "assume_isolated": "none", "ibrav": 0, "lspinorb": False, "noinv": False,
        "noncolin": False, "nosym": False, "nosym_evc": False, "nspin": 1, "tot_charge": 0.0,
    },
    "ELECTRONS": {"conv_thr": CONV_THR},
}  # fmt: skip
"""Values that parameters have where nobody gives them."""

IDLE_SETTINGS = {
    "ADDITIONAL_RETRIEVE_LIST", "CMDLINE", "FIXED_COORDS", "GAMMA_ONLY", "NO_BANDS", "PARSER",
    "PARSER_OPTIONS", "PREPEND_NAMELISTS",
}  # fmt: skip


class Input(NamedTuple):
    """What pw.x is given for one structure.

    Attributes
    ----------
    parameters
        Namelists in capitals, keys in small letters.
    kinds
        Name of the kind of each atom.
    origins
        For each kind the one that its pseudopotential is of.
    """

    parameters: dict[str, dict[str, Any]]
    kinds: list[str]
    origins: dict[str, str]


def prepare(
    one: Configurations,
    parameters: Mapping[str, Any],
    valences: Mapping[str, float],
    conv_thr_per_atom: float | None = None,
    periodicity: Mapping[str, Any] | None = None,
) -> Input:
    """Return the input of one structure, which does not depend on any other structure.

    Parameters
    ----------
    parameters
        Namelists, which say what is the same for all structures.
    valences
        Number of valence electrons by kind: an element, or an element and a tag (``Fe1``).
    conv_thr_per_atom, periodicity
        What is decided where ``parameters`` say nothing: the threshold of the energy in Ry for
        each atom, and namelists by number of periodic directions, as ``{"2D": {...}}``.

    Raises
    ------
    ValueError
        If pw.x cannot compute the structure with these parameters.
    """
    given = namelists(parameters)
    rules = namelists((periodicity or {}).get(f"{int(one.pbc.sum())}D", {}))
    merged = {key: {**rules.get(key, {}), **given.get(key, {})} for key in {*given, *rules}}
    system, electrons = merged.setdefault("SYSTEM", {}), merged.setdefault("ELECTRONS", {})
    if conv_thr_per_atom is not None:
        electrons.setdefault("conv_thr", conv_thr_per_atom * len(one.numbers))
    isolated = str(system.get("assume_isolated", "")).lower()
    flat = isolated == "2d"
    if flat and one.pbc.sum() == 2 and one.pbc[0, 2]:
        raise ValueError(
            "SYSTEM.assume_isolated '2D' wants the vacuum along the third lattice vector, and the "
            f"structure is periodic along {np.flatnonzero(one.pbc[0]).tolist()}"
        )
    if flat:
        _check_room(one, "2D", [2])
    if isolated in MARTYNA_TUCKERMAN:
        _check_room(one, isolated, range(3))
    _set_charge(system, charge_of(one))
    named = set(valences).union(*(v for v in system.values() if isinstance(v, Mapping)))
    kinds = _named_kinds(one, named)
    origins: dict[str, str] = {}
    moments = _moments(one) if is_magnetic(parameters) else None
    magnetisation: dict[str, tuple[float, ...]] = {}
    if moments is not None:
        kinds, origins, magnetisation = _split(kinds, moments)
    origins = {kind: origins.get(kind, kind) for kind in kinds}
    if len(origins) > MAX_KINDS:
        raise ValueError(
            f"the atoms are of {len(origins)} kinds, elements with moments or tags of their own, "
            f"and pw.x knows {MAX_KINDS} at most"
        )
    pseudos = {
        kind: origin if origin in valences else element_of(origin)
        for kind, origin in origins.items()
    }
    if missing := sorted(set(pseudos.values()) - set(valences)):
        raise ValueError(f"there is no pseudopotential for {missing}")
    for key, values in list(system.items()):
        if isinstance(values, Mapping):
            system[key] = {k: _value(values, o) for k, o in origins.items() if _has(values, o)}
            if not system[key]:
                del system[key]
    if moments is not None:
        shares = {kind: valences[origin] for kind, origin in pseudos.items()}
        system |= _starting(magnetisation, shares, bool(system.get("noncolin")))
    return Input(merged, kinds, pseudos)


def relaxing(
    parameters: Mapping[str, Any], cell: MovingCell, fmax: float, smax_GPa: float
) -> dict[str, dict[str, Any]]:
    """Return parameters of a single structure as those of a relaxation by pw.x itself.

    Parameters
    ----------
    parameters
        Namelists, as ``prepare`` returns them.
    cell
        What of the cell moves.
    fmax
        Force in eV/Å that no free atom exceeds at the end; pw.x compares components.
    smax_GPa
        The same of the stress that moves the cell; pw.x compares the pressure.
    """
    merged = namelists(parameters)
    merged["CONTROL"] = {
        **merged.get("CONTROL", {}),
        "calculation": "vc-relax" if cell else "relax",
        "forc_conv_thr": fmax / np.sqrt(3) / (Rydberg / Bohr),
        "nstep": MOST_STEPS,
    }
    if cell:
        merged["CELL"] = {
            **merged.get("CELL", {}),
            "cell_dofree": FREE[cell.moves],
            "press": cell.pressure_GPa * KBAR,
            "press_conv_thr": smax_GPa * KBAR,
        }
    return merged


def check_convergence(results: Mapping[str, Any], conv_thr: float) -> None:
    """Raise ``NotConverged`` unless a self-consistent cycle converged.

    pw.x says that it converged also where it was told not to care, so that its estimate of the
    error is compared as well.

    Parameters
    ----------
    results
        The ``output_parameters`` of ``aiida-quantumespresso``.
    conv_thr
        In Ry.

    Raises
    ------
    ValueError
        If the output does not say whether it converged.
    """
    cycle = results.get("convergence_info", {}).get("scf_conv", {})
    if cycle.get("convergence_achieved") is False:
        raise NotConverged("pw.x says that the electrons did not converge")
    error = cycle.get("scf_error")
    if error is None:
        raise ValueError("the output of pw.x does not say how well the electrons converged")
    if not RYDBERGS * error <= conv_thr:
        raise NotConverged(
            f"the energy of the electrons has an error of {RYDBERGS * error:.2g} Ry, more than "
            f"conv_thr, {conv_thr:.2g} Ry"
        )


def unconverged_eigenvalues(output: str) -> str:
    """Find the warning of pw.x about eigenvalues in its last iteration, if there is one.

    The energy may be converged none the less: pw.x itself stops where more than a quarter of the
    bands, and more than five, did not converge.
    """
    counts = EIGENVALUES.findall(output[output.rfind("iteration #") :])
    if not counts:
        return ""
    return f"pw.x: up to {max(map(int, counts))} eigenvalues of a k-point not converged"


def error_message(output: str) -> str:
    """Return the last error message in the output of pw.x; empty if there is none."""
    errors = ERROR.findall(output)
    if not errors:
        return ""
    routine, text = errors[-1]
    return f"pw.x: {routine}: {' '.join(text.split())}"


def method(description: Mapping[str, Any]) -> Method:
    """Return the part of a description that determines labels, in canonical form.

    Left out are how the result is reached and how much is written, and what is a default.
    Pseudopotentials, and parameters by kind of atom, belong to elements.
    """
    given = namelists(description["parameters"])
    elements: dict[str, dict[str, Any]] = {}
    for kind, pseudo in description["pseudos"].items():
        _of_element(elements, kind)[f"pseudos.{kind}"] = pseudo["md5"]
    parameters = _deciding(given, elements)
    per_atom = description.get("conv_thr_per_atom")
    if "conv_thr" in given.get("ELECTRONS", {}):
        per_atom = None
    rules = {}
    for key, values in (description.get("periodicity") or {}).items():
        new = {
            name: {k: v for k, v in keys.items() if k not in given.get(name, {})}
            for name, keys in namelists(values).items()
        }
        rules[key.upper()] = _deciding(new, elements, f"{key.upper()}.")
    settings = {k.upper(): v for k, v in description.get("settings", {}).items()}
    common = {
        "code": description["process"],
        "parameters": parameters,
        "conv_thr_per_atom": per_atom,
        "periodicity": {key: values for key, values in rules.items() if values},
        "kpoints": description["kpoints"],
        "settings": {k: v for k, v in settings.items() if k not in IDLE_SETTINGS},
    }
    return Method(common, elements)


def namelists(parameters: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return parameters with their namelists in capitals and their keys in small letters."""
    return {
        name.upper(): {key.lower(): value for key, value in values.items()}
        for name, values in parameters.items()
    }


def namelist(parameters: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the parameters of one namelist, keys in small letters."""
    return namelists(parameters).get(name, {})


def is_magnetic(parameters: Mapping[str, Any]) -> bool:
    """Whether parameters ask for a spin-polarised or noncollinear calculation."""
    system = namelist(parameters, "SYSTEM")
    return system.get("nspin", 1) != 1 or bool(system.get("noncolin"))


def element_of(kind: str) -> str:
    """Return the symbol that the name of a kind begins with."""
    return kind[:2] if kind[:2] in chemical_symbols else kind[:1]


def _check_room(one: Configurations, isolated: str, axes: Iterable[int]) -> None:
    """Raise ``ValueError`` if the Coulomb interaction would be cut off within a structure.

    It is at half the height of the cell: T. Sohier, M. Calandra and F. Mauri, Phys. Rev. B 96,
    075448 (2017); along each lattice vector: G. J. Martyna and M. E. Tuckerman, J. Chem. Phys. 110,
    2810 (1999).

    Parameters
    ----------
    isolated
        The ``assume_isolated`` that cuts it off.
    axes
        Lattice vectors along which it does.
    """
    height, gap = heights(one), vacuum(one)
    for axis in axes:
        thickness = height[axis] - gap[axis]
        least = 2.0 * (thickness + ROOM)
        if height[axis] < least:
            raise ValueError(
                f"SYSTEM.assume_isolated {isolated!r} cuts the Coulomb interaction off at half the "
                f"height of the cell along lattice vector {axis}, {height[axis] / 2:.3g} Å, and "
                f"there are atoms {thickness:.3g} Å apart, with electrons beyond: expected a "
                f"height of {least:.3g} Å or more, by vacuum, got {height[axis]:.3g} Å; or choose "
                "another assume_isolated in pw.parameters, such as 'none'"
            )


def _named_kinds(one: Configurations, named: set[str]) -> list[str]:
    """Return elements, and the tag too where parameters or pseudopotentials tell it apart."""
    tags = one.arrays.get("tags", np.zeros(len(one.numbers), int)).tolist()
    symbols = [chemical_symbols[z] for z in one.numbers]
    return [f"{s}{t}" if f"{s}{t}" in named else s for s, t in zip(symbols, tags)]


def _moments(one: Configurations) -> list[tuple[float, ...]] | None:
    """Return the initial moment of each atom in Bohr magnetons, if any is given."""
    if not has_moments(one):
        return None
    values = one.arrays["initial_magmoms"].reshape(len(one.numbers), -1)
    return [tuple(row) for row in (values.round(2) + 0.0).tolist()]


def _set_charge(system: dict[str, Any], charge: float) -> None:
    """Take the sum of the initial charges of atoms, in elementary charges, as that of the cell."""
    asked, whole = system.get("tot_charge"), round(charge)
    if asked is None and abs(charge - whole) < ROUNDING:
        if whole:
            system["tot_charge"] = whole
        return
    if asked is None or (abs(charge) > ROUNDING and abs(asked - charge) > ROUNDING):
        raise ValueError(
            f"the initial charges of the atoms are {charge:g} together, and SYSTEM.tot_charge is "
            f"{'not given' if asked is None else f'{asked:g}'}: give the charge of the cell there, "
            "or leave those of the atoms out"
        )


def _split(
    kinds: list[str], moments: list[tuple[float, ...]]
) -> tuple[list[str], dict[str, str], dict[str, tuple[float, ...]]]:
    """Return kinds of which each has one moment, what they were before, and their moments."""
    names: dict[tuple[str, tuple[float, ...]], str] = {}
    for pair in zip(kinds, moments):
        if pair in names:
            continue
        kind = pair[0]
        alone = len({moment for other, moment in zip(kinds, moments) if other == kind}) == 1
        taken = {*names.values(), *kinds}
        free = [f"{element_of(kind)}{s}" for s in SUFFIXES if f"{element_of(kind)}{s}" not in taken]
        if not (alone or free):
            raise ValueError(f"{element_of(kind)} has too many different initial moments for pw.x")
        names[pair] = kind if alone else free[0]
    names_of_kinds = [names[pair] for pair in zip(kinds, moments)]
    return (
        names_of_kinds,
        {name: kind for (kind, _), name in names.items()},
        {name: moment for (_, moment), name in names.items()},
    )


def _starting(
    moments: Mapping[str, tuple[float, ...]],
    valences: Mapping[str, float],
    noncollinear: bool,
) -> dict[str, dict[str, float]]:
    """Return moments as pw.x wants them: shares of the valence electrons, and angles in degrees."""
    starting: dict[str, dict[str, float]] = {"starting_magnetization": {}}
    if noncollinear:
        starting |= {"angle1": {}, "angle2": {}}
    for kind, moment in moments.items():
        vector = np.array(moment if len(moment) == 3 else (0.0, 0.0, moment[0]))
        if not noncollinear:
            if vector[:2].any():
                raise ValueError(
                    f"the initial moment {list(moment)} is not along z: it needs SYSTEM.noncolin"
                )
            size = vector[2]
        else:
            size = np.linalg.norm(vector)
            starting["angle1"][kind] = float(
                np.degrees(np.arctan2(np.hypot(*vector[:2]), vector[2]))
            )
            starting["angle2"][kind] = float(np.degrees(np.arctan2(vector[1], vector[0])))
        starting["starting_magnetization"][kind] = float(
            np.clip(size / valences[kind], -0.999, 0.999)
        )
    return starting


def _has(values: Mapping[str, Any], kind: str) -> bool:
    return kind in values or element_of(kind) in values


def _value(values: Mapping[str, Any], kind: str) -> Any:
    """Return the value of a kind, or else of its element."""
    return values[kind] if kind in values else values[element_of(kind)]


def _deciding(
    parameters: Mapping[str, Mapping[str, Any]], elements: dict[str, dict[str, Any]], of: str = ""
) -> dict[str, dict[str, Any]]:
    """Return the parameters that decide labels; those by kind of atom go to ``elements``."""
    deciding = {}
    for name, values in parameters.items():
        idle, usual = IDLE.get(name, set()), DEFAULTS.get(name, {})
        if idle is None:
            continue
        kept = {}
        for key, value in values.items():
            if key in idle or (key in usual and usual[key] == value):
                continue
            if isinstance(value, Mapping):
                for kind, one in value.items():
                    _of_element(elements, kind)[f"{of}{name}.{key}.{kind}"] = one
            else:
                kept[key] = value
        if kept:
            deciding[name] = kept
    return deciding


def _of_element(elements: dict[str, dict[str, Any]], kind: str) -> dict[str, Any]:
    return elements.setdefault(element_of(kind), {})
