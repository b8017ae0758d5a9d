"""Relax C on Cu(100) by offline active learning, with labels from ASE's EMT.

Run with ``verdi run 01_relax_emt.py``, after ``aiida-mlal setup`` made the code ``mlal@localhost``.
"""

from aiida.engine import run_get_node
from aiida.orm import StructureData, load_code
from aiida.plugins import WorkflowFactory
from ase.build import add_adsorbate, fcc100

OfflineWorkChain = WorkflowFactory("mlal.offline")

atoms = fcc100("Cu", (2, 2, 3), vacuum=6.0)
add_adsorbate(atoms, "C", 3.0, "hollow")
atoms.pbc = True
bottom = [atom.index for atom in atoms if atom.tag == 3]

builder = OfflineWorkChain.get_builder_from_protocol(
    load_code("mlal@localhost"),
    StructureData(ase=atoms),
    protocol="fast",
    labels="emt",
    fixed=bottom,
)
results, node = run_get_node(builder)

for row in results["curve"]["rows"]:
    print(
        f"{row['labels']:3d} labels, largest force {row['oracle_fmax']:.3f} eV/Å: {row['outcome']}"
    )
print(f"campaign {node.pk}: {'converged' if node.is_finished_ok else node.exit_message}")
print(f"relaxed structure {results['structure'].pk}, potential {results['potential'].pk}")
