"""Relax cells of Cu-Au with a moment tensor potential that begins knowing nothing.

Whatever it extrapolates to on the way is labelled by ASE's EMT, and all relaxations begin again,
until none meets anything unknown. Run with ``verdi run 03_bootstrap_mtp_emt.py``, after
``aiida-mlal setup`` made the code ``mlal@localhost``.
"""

import numpy as np
from aiida.engine import run_get_node
from aiida.orm import load_code
from aiida.plugins import DataFactory, WorkflowFactory
from ase.build import bulk

DatasetData = DataFactory("mlal.dataset")
OfflineWorkChain = WorkflowFactory("mlal.offline")

rng = np.random.default_rng(0)
structures = []
for symbols in ["CuAu", "CuAuAu", "CuCuAu", "CuAuCuAu"]:
    atoms = bulk("Cu", "fcc", a=3.85).repeat((1, 1, symbols.count("u")))
    atoms.symbols = symbols
    atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
    atoms.rattle(0.05, rng=rng)
    structures.append(atoms)

builder = OfflineWorkChain.get_builder_from_protocol(
    load_code("mlal@localhost"),
    DatasetData.from_ase(structures),
    recipe="bootstrap",
    protocol="fast",
    labels="emt",
    overrides={"model": {"level": 4, "radial_basis_size": 4}},  # a very small one, to be fast
)
results, node = run_get_node(builder)

for row in results["curve"]["rows"]:
    print(f"{row['labels']:3d} labels, {row['interrupted']} of {row['runs']} runs interrupted")
print(f"campaign {node.pk}: {'converged' if node.is_finished_ok else node.exit_message}")
relaxed = results["relaxed"].configurations
for formula, energy in zip(relaxed.formulas, relaxed.info["predicted_energy"] / relaxed.counts):
    print(f"{formula:8s} {energy:8.4f} eV/atom")
