"""Choose from a pool which structures are worth a label, and see the errors become smaller.

Run with ``verdi run 04_pool.py``, after ``aiida-mlal setup`` made the code ``mlal@localhost``.
"""

import numpy as np
from aiida.engine import run_get_node
from aiida.orm import load_code
from aiida.plugins import DataFactory, WorkflowFactory
from ase.build import bulk
from ase.calculators.emt import EMT

PoolWorkChain = WorkflowFactory("mlal.pool")
DatasetData = DataFactory("mlal.dataset")

rng = np.random.default_rng(0)
structures = []
for _ in range(80):
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell * rng.uniform(0.97, 1.05), scale_atoms=True)
    atoms.rattle(rng.uniform(0.02, 0.12), rng=rng)
    structures.append(atoms)

pool, test = structures[:60], structures[60:]
for atoms in test:
    atoms.calc = EMT()
    atoms.get_forces()

builder = PoolWorkChain.get_builder_from_protocol(
    load_code("mlal@localhost"),
    DatasetData.from_ase(pool),
    protocol="fast",
    labels="emt",
    test=DatasetData.from_ase(test),
    overrides={
        "first_query": {"name": "random", "n": 8},
        "query": {"name": "uncertainty", "n": 6},
        "uncertainty": {"name": "force_std"},
        "training": {"epochs": 40},  # few, to be fast
        "stop": [{"name": "size", "n": 20}],
    },
)
results, node = run_get_node(builder)

for row in results["curve"]["rows"]:
    error, foresight = row["test"]["force_rmse"], row["uncertainty"]["spearman"]
    print(
        f"{row['trained_on']:3d} labels: force error {error:.3f} eV/Å on the test set, "
        f"rank correlation with the uncertainty {foresight:.2f}"
    )
for iteration, selection in sorted(results["selections"].items()):
    print(f"{iteration}: structures {selection.indices}")
print(f"campaign {node.pk}: {'enough' if node.is_finished_ok else node.exit_message}")
