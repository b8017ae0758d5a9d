"""Teach a Gaussian process the molecular dynamics of CO on Cu(100), with labels from ASE's EMT.

Each run stops where the potential is not sure; its last frame and four others are labelled, and it
begins again, until the label at the end of a run of half a picosecond agrees with the prediction or
30 structures are labelled. That nothing interrupts a run isn't enough: one label says little about
how wrong a potential is elsewhere.

Run with ``verdi run 06_md_co_cu100.py``, after ``aiida-mlal setup`` made the code
``mlal@localhost``.
"""

import numpy as np
from aiida.engine import run_get_node
from aiida.orm import StructureData, load_code
from aiida.plugins import WorkflowFactory
from ase import Atoms
from ase.build import fcc100

OfflineWorkChain = WorkflowFactory("mlal.offline")

atoms = fcc100("Cu", (3, 3, 3), vacuum=6.0)
bottom = np.flatnonzero(atoms.get_tags() == 3).tolist()
# EMT splits the molecule: C and O in hollow sites beside each other
atoms += Atoms("CO", atoms.positions[22] + np.array([[1.28, 1.28, 0.9], [1.28, 3.83, 1.2]]))
atoms.pbc = (True, True, False)

builder = OfflineWorkChain.get_builder_from_protocol(
    load_code("mlal@localhost"),
    StructureData(ase=atoms),
    recipe="gp",
    labels="emt",
    fixed=bottom,
    overrides={
        "simulation": {
            "name": "md",
            "temperature": 300.0,
            "steps": 250,
            "timestep": 2.0,
            "every": 5,
            "guard": {"break": 0.5, "every": 5},
        },
        "start": {"name": "given"},
        "query": {"name": "combined", "of": [{"name": "final"}, {"name": "random", "n": 4}]},
        "stop": [{"name": "agreement", "force": 0.05}, {"name": "labels", "n": 30}],
    },
)
results, node = run_get_node(builder)

for row in results["curve"]["rows"]:
    wrong = row["errors"].get("force_mae", np.nan)  # of what was labelled, before it was learned
    print(f"{row['labels']:3d} labels, {row['steps_min']} steps, forces wrong by {wrong:.3f} eV/Å")
print(f"campaign {node.pk}: {'converged' if node.is_finished_ok else node.exit_message}")
