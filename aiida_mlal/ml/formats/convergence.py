"""Which structures of the output of a code have labels that did not converge."""

import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise

from aiida_mlal.ml.formats.cut_off import DELIMITER
from aiida_mlal.ml.formats.table import PW

NELM = 60
"""Electronic steps of VASP, unless its input says otherwise."""


def of_vasprun(text: str) -> list[bool]:
    """Return for each ``calculation`` whether it ended before all NELM electronic steps.

    Those of the response to fields and displacements, which are behind the structure, don't count.
    """
    nelm = _nelm(text, r'name="NELM"\s*>\s*(\d+)')
    parts = [part.partition("<structure")[0] for part in text.split("<calculation")[1:]]
    return [part.count("<scstep") < nelm for part in parts]


def of_outcar(text: str) -> list[bool]:
    """Return for each ionic step of an OUTCAR whether its electrons converged.

    VASP 6 says so. Before, it says that EDIFF was reached also where all NELM steps were used: the
    last of them counts as VASP itself judges, by the changes of the total energy and of that of
    the band structure, which both have to be below EDIFF.
    """
    version = re.search(r"vasp\.(\d)", text)
    speaks = version is not None and int(version[1]) >= 6
    nelm = _nelm(text, r"NELM\s*=\s*(\d+)")
    given = re.search(r"EDIFF\s*=\s*(\S+)\s+stopping-criterion", text)
    ediff = _real(given[1], 0.0) if given else 0.0
    converged = []
    for part in text.split(DELIMITER)[:-1]:
        reached = speaks and "aborting loop because EDIFF is reached" in part
        steps = [_whole(n, 0) for n in re.findall(r"Iteration\s+\d+\(\s*(\d+)\)", part)]
        stopped = "EDIFF was not reached" in part
        if not stopped and max(steps, default=0) >= nelm:
            stopped = not all(change < ediff for change in _last_changes(part))
        converged.append(reached or not stopped)
    return converged


def of_pw(text: str) -> list[bool]:
    """Return for each structure with results in an output of pw.x whether it converged.

    With ``scf_must_converge = .false.`` pw.x says "convergence has been achieved" in any case:
    the estimated accuracy has to be below the threshold that it began with.
    """
    lines = text.splitlines()
    starts = [i for i, x in enumerate(lines) if any(word in x for word in _PW_STRUCTURES)]
    reached, threshold = [], math.inf
    for start, end in pairwise([*starts, len(lines)]):
        accuracy, converged, results = 0.0, True, False
        for line in lines[start + 1 : end]:
            if "scf convergence threshold" in line:
                threshold = _real(line.partition("=")[2], threshold)
            elif "estimated scf accuracy" in line:
                accuracy = _real(line.partition("<")[2].replace("Ry", ""), accuracy)
            elif PW_STOPPED in line:
                converged = False
            results = results or any(word in line for word in _PW_RESULTS)
        if results:
            reached.append(converged and accuracy <= threshold)
    return reached


def readable_pw(text: str) -> str:
    """Return an output of pw.x in which ASE looks for no bands where the SCF ended without them."""
    return _PW_NO_BANDS.sub(
        r"\1     Number of k-points >= 100: set verbosity='high' to print the bands.", text
    )


PW_STOPPED = "convergence NOT achieved"
"""What pw.x says of an SCF that used all its steps."""

OF_FORMAT: dict[str, Callable[[str], Sequence[bool]]] = {
    "vasp-xml": of_vasprun,
    "vasp-out": of_outcar,
    PW: of_pw,
}
"""What judges an output, by ASE's name of its format."""

SILENT = {"extxyz", "traj", "json", "db", "mlip-cfg"}
"""Formats of ASE that hold labels of any code, and say nothing of convergence."""

_PW_NO_BANDS = re.compile(
    rf"^(.*End of self-consistent calculation.*\n\s*\n).*{PW_STOPPED}.*$", re.MULTILINE
)
_PW_STRUCTURES = ("Program PWSCF", "ATOMIC_POSITIONS")
_PW_RESULTS = (
    "!    total energy", "Forces acting on atoms", "total   stress", "Magnetic moment per site",
    "End of self-consistent calculation", "End of band structure calculation",
)  # fmt: skip


def _last_changes(part: str) -> tuple[float, float]:
    """Return the two last changes of energy in eV that VASP compares with EDIFF.

    They are infinite where the last iteration doesn't have them.
    """
    last = part.rpartition("Iteration")[2]
    found = re.search(r"total energy-change \(2\. order\)\s*:\s*(\S+)\s*\(\s*(\S+?)\s*\)", last)
    if found is None:
        return math.inf, math.inf
    return abs(_real(found[1], math.inf)), abs(_real(found[2], math.inf))


def _nelm(text: str, pattern: str) -> int:
    match = re.search(pattern, text)
    return _whole(match[1], NELM) if match else NELM


def _whole(text: str, otherwise: int) -> int:
    return int(text) if re.fullmatch(r"\d{1,9}", text) else otherwise


def _real(text: str, otherwise: float) -> float:
    try:
        return float(text)
    except ValueError:
        return otherwise
