"""Relax C on Cu(100) and learn on the way, with labels from ASE's EMT.

The relaxation stops where the potential is not sure, that step is labelled, and the same relaxation
goes on with the next potential.

Run with ``verdi run 07_online_relax.py``, after ``aiida-mlal setup`` made the code
``mlal@localhost``.
"""

from aiida.engine import run_get_node
from aiida.orm import StructureData, load_code
from aiida.plugins import WorkflowFactory
from ase.build import add_adsorbate, fcc100

OnlineWorkChain = WorkflowFactory("mlal.online")

atoms = fcc100("Cu", (1, 1, 3), vacuum=5.0)
add_adsorbate(atoms, "C", 1.2, "hollow")
atoms.pbc = (True, True, False)
bottom = [atom.index for atom in atoms if atom.tag == 3]

builder = OnlineWorkChain.get_builder_from_protocol(
    load_code("mlal@localhost"),
    StructureData(ase=atoms),
    protocol="fast",
    labels="emt",
    fixed=bottom,
)
results, node = run_get_node(builder)

for name, selection in results["selections"].items():
    print(f"{name}: {selection.selected[0]['reason']}")
print(f"campaign {node.pk}: {'converged' if node.is_finished_ok else node.exit_message}")
print(f"{len(results['dataset'])} labels, relaxed structure {results['structure'].pk}")
