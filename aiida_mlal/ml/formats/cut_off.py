"""Outputs of codes that end before the code does: what can be read of them, and what is said."""

from collections.abc import Callable
from xml.parsers import expat

from aiida_mlal.ml.formats.table import PW


def readable_vasprun(text: str) -> str:
    """Return a ``vasprun.xml`` up to its last energy, where its end is missing.

    Before the energy come forces and stress. A reader that knows ends which are missing then takes
    a calculation as a whole or not at all.
    """
    last = text.rfind(_ENERGY)
    return text if _END in text or last < 0 else text[: last + len(_ENERGY)]


def of_vasprun(text: str, n_labelled: int) -> list[str]:
    """Say where a ``vasprun.xml`` ends or is damaged, if it is, and how much was read."""
    begun = text.count("<calculation")
    if begun and n_labelled == begun and text.rstrip().endswith(_END):
        return []
    error = _xml_error(text)
    if error is None:
        return [] if begun else ["VASP wrote no calculation into it, with energy and forces"]
    read = f"{n_labelled} of {begun} calculations have energy and forces"
    if not n_labelled:
        read = f"none of {begun} calculations has energy and forces, nor the initial structure"
    if error.code in _CUT:
        return [f"it ends before VASP does, which goes on or was stopped: {read}"]
    return [
        f"its XML is damaged in line {error.lineno}, as where several runs, or the images of a "
        f"NEB, write one file: {read} (each image has labels in the OUTCAR of its own folder)"
    ]


def of_outcar(text: str, n_labelled: int) -> list[str]:
    """Say in which ionic step an OUTCAR ends, if it has not its energy and forces."""
    steps, rest = text.count(DELIMITER), text.rpartition(DELIMITER)[2]
    ended = "General timing" in rest or (steps and "Iteration" not in rest)
    if ended and steps == n_labelled:
        return []
    return [
        "it ends before VASP does, which goes on or was stopped: energy and forces of ionic step "
        f"{n_labelled + 1} are wanted, {n_labelled} have them"
    ]


def of_pw(text: str, n_labelled: int) -> list[str]:
    """Say that pw.x did not come to its end, if it didn't."""
    if "JOB DONE" in text.rpartition("Program PWSCF")[2]:
        return []
    read = f"{n_labelled} structures have results"
    if n_labelled:
        read += ", the last one perhaps not all of them"
    return [f"it ends before pw.x says JOB DONE, which goes on or was stopped: {read}"]


OF_FORMAT: dict[str, Callable[[str, int], list[str]]] = {
    "vasp-xml": of_vasprun,
    "vasp-out": of_outcar,
    PW: of_pw,
}
"""What judges an output, by ASE's name of its format, and the number of structures with labels."""

DELIMITER = "FREE ENERGIE OF THE ION-ELECTRON SYSTEM"
"""What is behind an ionic step in an OUTCAR."""

_END, _ENERGY = "</modeling>", "</energy>"
_CUT = tuple(
    expat.errors.codes[message]
    for message in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
    )
)


def _xml_error(text: str) -> expat.ExpatError | None:
    try:
        expat.ParserCreate().Parse(text, True)
    except expat.ExpatError as error:
        return error
    return None
