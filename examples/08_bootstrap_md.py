"""Teach a moment tensor potential to run molecular dynamics of hot aluminium.

Whatever it extrapolates to on the way is labelled by ASE's EMT, and all runs begin again, until
none meets anything unknown. Run with ``verdi run 08_bootstrap_md.py``, after
``aiida-mlal setup`` made the code ``mlal@localhost``.
"""

from aiida.engine import run_get_node
from aiida.orm import load_code
from aiida.plugins import DataFactory, WorkflowFactory
from ase.build import bulk

DatasetData = DataFactory("mlal.dataset")
OfflineWorkChain = WorkflowFactory("mlal.offline")

structures = []
for lattice in (4.0, 4.1, 4.2):
    atoms = bulk("Al", a=lattice, cubic=True) * (2, 2, 2)
    atoms.rattle(0.1, seed=len(structures))
    structures.append(atoms)

builder = OfflineWorkChain.get_builder_from_protocol(
    load_code("mlal@localhost"),
    DatasetData.from_ase(structures),
    recipe="md",
    protocol="fast",
    labels="emt",
    overrides={
        "model": {"level": 6, "radial_basis_size": 4},  # a small one, to be fast
        "simulation": {"temperature": 900.0, "steps": 300},
    },
)
results, node = run_get_node(builder)

for row in results["curve"]["rows"]:
    survived = row["runs"] - row["interrupted"]
    print(
        f"{row['labels']:3d} labels, {survived} of {row['runs']} runs survived, "
        f"the shortest {row['steps_min']} steps"
    )
print(f"campaign {node.pk}: {'converged' if node.is_finished_ok else node.exit_message}")
print(f"active set and potential: {results['potential']}")
