"""Find the path of O on Cu(100) from hollow to hollow, with labels from ASE's EMT.

Run with ``verdi run 05_neb_o_cu100.py``, after ``aiida-mlal setup`` made the code
``mlal@localhost``.
"""

from aiida.engine import run_get_node
from aiida.orm import load_code
from aiida.plugins import DataFactory, WorkflowFactory
from ase.build import add_adsorbate, fcc100
from ase.constraints import FixAtoms

from aiida_mlal.ml.configurations import Configurations

DatasetData = DataFactory("mlal.dataset")
OfflineWorkChain = WorkflowFactory("mlal.offline")

begin = fcc100("Cu", (2, 2, 2), vacuum=4.0)
add_adsorbate(begin, "O", 0.7, "hollow")
begin.pbc = (True, True, False)
begin.set_constraint(FixAtoms([atom.index for atom in begin if atom.tag > 0]))
end = begin.copy()
end.positions[-1] += end.cell[0] / 2

builder = OfflineWorkChain.get_builder_from_protocol(
    load_code("mlal@localhost"),
    DatasetData(Configurations.from_ase([begin, end])),
    protocol="fast",
    labels="emt",
    recipe="neb",
)
results, node = run_get_node(builder)

for row in results["curve"]["rows"]:
    print(f"{row['labels']:3d} labels: {row['outcome']}, {row['reason']}")
print(f"campaign {node.pk}: {'converged' if node.is_finished_ok else node.exit_message}")
for path in results["paths"]["paths"]:
    print(
        f"barrier {path['labelled_barrier']:.3f} eV, {path['labelled_barrier_back']:.3f} eV back, "
        f"saddle point image {path['saddle']} with {path['modes']['n_imaginary']} imaginary mode"
    )
