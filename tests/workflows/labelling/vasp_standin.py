"""A program that reads the input of VASP and writes its output, with energies of EMT.

VASP is not free, so that its place is taken where labels of many structures are wanted: it reads
INCAR, POSCAR, POTCAR and KPOINTS as they are written for VASP, refuses what VASP refuses, and
writes ``vasprun.xml``, ``OUTCAR`` and ``CONTCAR``. The free energy of the electrons differs from
the energy extrapolated to zero smearing. With ``NELM`` below 5 the electrons do not converge.
"""

import re
import sys
from pathlib import Path

import numpy as np
from ase.calculators.emt import EMT
from ase.io import read, write
from ase.units import GPa

SMEARING = 0.02
"""Energy in eV an atom by which the free energy lies below that of no smearing, twice."""

STEPS = 5
"""Electronic steps to convergence."""


def main() -> None:
    incar = dict(re.findall(r"^\s*(\w+)\s*=\s*(.*?)\s*$", Path("INCAR").read_text(), re.MULTILINE))
    incar = {tag.upper(): value for tag, value in incar.items()}
    assert Path("KPOINTS").read_text().split()
    species = [
        line.split()[1]
        for line in Path("POTCAR").read_text().splitlines()
        if "TITEL" in line
        for line in [line.partition("=")[2]]
    ]
    atoms = read("POSCAR", format="vasp")
    groups = [s for i, s in enumerate(atoms.symbols) if i == 0 or atoms.symbols[i - 1] != s]
    if [name.split("_")[0] for name in species] != groups:
        sys.exit(f"POTCAR has {species}, POSCAR {groups}")
    if np.linalg.det(atoms.cell.array) < 0:
        sys.exit("the triple product of the basis vectors is negative")
    atoms.calc = EMT()
    free = atoms.get_potential_energy()
    forces = atoms.get_forces()
    stress = -atoms.get_stress(voigt=False) / (0.1 * GPa)
    nelm = int(incar.get("NELM", 60))
    steps = min(STEPS, nelm)
    _write_vasprun(atoms, free, forces, stress, steps, nelm)
    _write_outcar(atoms, steps, nelm, incar.get("MAGMOM"), incar.get("NELECT"))
    write("CONTCAR", atoms, format="vasp", vasp5=True)
    print(" running on    1 total cores\n DAV:   1  writing wavefunctions")


def _rows(values: np.ndarray) -> str:
    return "\n".join("<v> " + " ".join(f"{x:.10f}" for x in row) + " </v>" for row in values)


def _structure(atoms, name: str = "") -> str:
    label = f' name="{name}"' if name else ""
    return (
        f'<structure{label}><crystal><varray name="basis">{_rows(atoms.cell.array)}</varray>'
        f'<i name="volume"> {atoms.get_volume():.8f} </i>'
        f'<varray name="rec_basis">{_rows(atoms.cell.reciprocal().array)}</varray></crystal>'
        f'<varray name="positions">{_rows(atoms.get_scaled_positions(wrap=False))}</varray>'
        "</structure>"
    )


def _energy(free: float, n_atoms: int) -> str:
    return (
        f'<energy><i name="e_fr_energy"> {free:.8f} </i>'
        f'<i name="e_wo_entrp"> {free + 2 * SMEARING * n_atoms:.8f} </i>'
        f'<i name="e_0_energy"> {free + SMEARING * n_atoms:.8f} </i></energy>'
    )


def _write_vasprun(atoms, free, forces, stress, steps: int, nelm: int) -> None:
    kinds = sorted(set(atoms.symbols), key=list(atoms.symbols).index)
    names = "".join(f"<rc><c>{s} </c><c> {kinds.index(s) + 1}</c></rc>" for s in atoms.symbols)
    types = "".join(
        f"<rc><c> {list(atoms.symbols).count(s)}</c><c>{s} </c><c> 1.0</c><c> 11.0</c>"
        f"<c> PAW_PBE {s} </c></rc>"
        for s in kinds
    )
    energy = _energy(free, len(atoms))
    Path("vasprun.xml").write_text(
        f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator>
  <i name="program" type="string">vasp </i>
  <i name="version" type="string">6.3.0  </i>
 </generator>
 <incar><i type="int" name="NELM"> {nelm}</i></incar>
 <kpoints>
  <varray name="kpointlist"><v> 0.0 0.0 0.0 </v></varray>
  <varray name="weights"><v> 1.0 </v></varray>
 </kpoints>
 <parameters>
  <separator name="electronic"><separator name="electronic spin"><i type="int" name="ISPIN">1</i>
   </separator><separator name="electronic convergence"><i type="int" name="NELM">{nelm}</i>
   </separator></separator>
  <separator name="ionic"><i type="int" name="NSW">0</i><i type="int" name="IBRION">-1</i>
   <i type="int" name="ISIF">2</i><i name="PSTRESS">0.0</i></separator>
 </parameters>
 <atominfo>
  <atoms> {len(atoms)} </atoms>
  <types> {len(kinds)} </types>
  <array name="atoms"><dimension dim="1">ion</dimension><field type="string">element</field>
   <field type="int">atomtype</field><set>{names}</set></array>
  <array name="atomtypes"><dimension dim="1">type</dimension><field type="int">atomspertype</field>
   <field type="string">element</field><field>mass</field><field>valence</field>
   <field type="string">pseudopotential</field><set>{types}</set></array>
 </atominfo>
 {_structure(atoms, "initialpos")}
 <calculation>
  {"".join(f"<scstep>{energy}</scstep>" for _ in range(steps))}
  {_structure(atoms)}
  <varray name="forces">{_rows(forces)}</varray>
  <varray name="stress">{_rows(stress)}</varray>
  {energy}
  <dos><i name="efermi"> 1.0 </i></dos>
 </calculation>
 {_structure(atoms, "finalpos")}
</modeling>
"""
    )


def _write_outcar(atoms, steps: int, nelm: int, magmom: str | None, nelect: str | None) -> None:
    lines = [" vasp.6.3.0 20Jan22", f"   NELM   = {nelm};   NELMIN=  2", "   NSW    = 0"]
    if nelect is not None:
        lines.append(f"   NELECT = {float(nelect):.4f}    total number of electrons")
    for step in range(1, steps + 1):
        lines.append(f"--------- Iteration      1({step:4d})  ---------")
    if steps < nelm:
        lines.append("------------------------ aborting loop because EDIFF is reached ------")
    if magmom is not None:
        moments = [float(x) for x in magmom.split()]
        assert len(moments) == len(atoms)
        lines.append(f" number of electron  11.0 magnetization  {sum(moments):.4f}")
        lines += ["", " magnetization (x)", "", "# of ion       s       p       d       tot"]
        lines.append("------------------------------------------")
        lines += [
            f"{i:5d}   0.0  0.0  {m * 0.9:.3f}  {m * 0.9:.3f}" for i, m in enumerate(moments, 1)
        ]
        lines.append("--------------------------------------------------")
        lines.append(f"tot    0.0  0.0  {sum(moments):.3f}  {sum(moments):.3f}")
    lines += [
        "",
        " General timing and accounting informations for this job:",
        " =====",
        "                  Total CPU time used (sec):        1.000",
        "                         Elapsed time (sec):        1.000",
        "                   Maximum memory used (kb):       1000.",
    ]
    Path("OUTCAR").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
