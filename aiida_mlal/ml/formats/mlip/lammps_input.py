"""Lines of an input of LAMMPS that choose a potential in a file of MLIP.

No release of LAMMPS reads these files: it takes a build with one of three sources, each of which
has a syntax of its own. I. S. Novikov et al., Mach. Learn.: Sci. Technol. 2, 025002 (2021), section
3.3; E. Podryabinkin et al., J. Chem. Phys. 159, 084112 (2023).
"""

from collections.abc import Sequence
from pathlib import PurePath

from ase.data import atomic_masses, atomic_numbers

SAVED = "preselected.cfg"
"""Where such builds write structures that they extrapolate to, as in the manual of MLIP."""


SAVE, BREAK = 2.1, 10.0
"""Grades from which a structure is saved, and a simulation stopped: the usual ones of MLIP."""


def lines(file: str, elements: Sequence[str], has_active_set: bool) -> str:
    """Return the lines for all three, the ones of MLIP's interface in force.

    Parameters
    ----------
    file
        The potential, a file ``.mtp`` or ``.almtp``.
    elements
        Of the types 1, 2, ... of LAMMPS: the order in which the file numbers them.
    has_active_set
        Whether the file can tell extrapolation grades.
    """
    name = PurePath(file).name
    types = " ".join(str(k) for k in range(len(elements)))
    mlip, upstream, kokkos = f"pair_style mlip load_from={name}", "mtp", f"mtp {name}"
    if has_active_set:
        control = "extrapolation_control"
        mlip += (
            f" {control}=true {control}:threshold_save={SAVE:g}"
            f" {control}:threshold_break={BREAK:g} {control}:save_extrapolative_to={SAVED}"
        )
        upstream = "mtp/extrapolation"
        kokkos = f"{upstream} {name} {SAVED} {SAVE:g} {BREAK:g}"
    numbers = [atomic_numbers[element] for element in elements]
    return "\n".join(
        [
            f"# {name}: moment tensor potential, types of atoms are {' '.join(elements)}",
            "units metal",
            "atom_style atomic",
            *(f"mass {k} {atomic_masses[z]:g}" for k, z in enumerate(numbers, start=1)),
            "# LAMMPS with MLIP's own interface (interface-lammps-mlip-3)",
            mlip,
            "pair_coeff * *",
            "# LAMMPS with ML-MTP (pull request 5023 of lammps/lammps, not in a release)",
            f"# pair_style {upstream}",
            f"# pair_coeff * * {name} {types}",
            "# LAMMPS with lammps-mtp-kokkos",
            f"# pair_style {kokkos}",
            "# pair_coeff * *",
            "",
        ]
    )
