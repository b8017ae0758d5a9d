"""The same relaxation with labels from Quantum ESPRESSO: only the labels change.

Run with ``verdi run 02_relax_qe.py``, after ``aiida-mlal setup --pseudos FOLDER`` made the codes
``mlal@localhost`` and ``pw@localhost`` and the pseudopotential family ``mlal``. The cutoffs and
k-points are good for a try only: each label takes about a minute.
"""

from aiida.engine import run_get_node
from aiida.orm import StructureData, load_code
from aiida.plugins import WorkflowFactory
from ase.build import add_adsorbate, fcc100

OfflineWorkChain = WorkflowFactory("mlal.offline")

atoms = fcc100("Cu", (2, 2, 3), vacuum=3.0)
add_adsorbate(atoms, "C", 3.0, "hollow")
atoms.pbc = True
bottom = [atom.index for atom in atoms if atom.tag == 3]

label = {
    "pseudo_family": "mlal",
    "kpoints_distance": 0.6,
    "pw": {
        "parameters": {"SYSTEM": {"ecutwfc": 25.0, "ecutrho": 150.0, "degauss": 0.03}},
        "metadata": {"options": {"withmpi": False}},
    },
}
builder = OfflineWorkChain.get_builder_from_protocol(
    {"mlal": load_code("mlal@localhost"), "label": load_code("pw@localhost")},
    StructureData(ase=atoms),
    protocol="fast",
    labels="quantumespresso",
    overrides={"label": label},
    fixed=bottom,
)
results, node = run_get_node(builder)

print(f"campaign {node.pk}: {'converged' if node.is_finished_ok else node.exit_message}")
print(f"labels by {results['dataset'].base.attributes.get('fingerprints')}")
