"""Relax C on Cu(100) by offline active learning with labels from pw.x: beside ``direct.py``.

    python benchmarks/science/relaxation_qe/offline.py

Uses the default profile, which ``aiida-mlal setup --default --pseudos FOLDER`` makes. Writes
``offline.json`` beside this file.
"""

import json
from pathlib import Path
from time import perf_counter

from aiida import load_profile
from aiida.engine import run_get_node
from aiida.orm import KpointsData, StructureData, load_code
from aiida.plugins import WorkflowFactory
from direct import FMAX, KPOINTS, PARAMETERS, slab

HERE = Path(__file__).resolve().parent
load_profile()

atoms = slab()
bottom = [atom.index for atom in atoms if atom.tag == 3]
label = {
    "pseudo_family": "mlal",
    "pw": {"parameters": PARAMETERS, "metadata": {"options": {"withmpi": False}}},
}
OfflineWorkChain = WorkflowFactory("mlal.offline")
builder = OfflineWorkChain.get_builder_from_protocol(
    {"mlal": load_code("mlal@localhost"), "label": load_code("pw@localhost")},
    StructureData(ase=atoms),
    protocol="fast",
    labels="quantumespresso",
    recipe="network",
    overrides={
        "label": label,
        "stop": [{"name": "oracle_force", "fmax": FMAX}, {"name": "iterations", "n": 15}],
    },
    fixed=bottom,
)
kpoints = KpointsData()
kpoints.set_kpoints_mesh(KPOINTS)
builder.label["kpoints"] = kpoints
builder.label.pop("kpoints_distance", None)
begun = perf_counter()
results, node = run_get_node(builder)
seconds = perf_counter() - begun

relaxed = results["relaxed"].configurations
found = {
    "outcome": "converged" if node.is_finished_ok else node.exit_message,
    "labels": len(results["dataset"].configurations),
    "statuses": results["dataset"].configurations.status.tolist(),
    "energy": float(relaxed.energies[0]),
    "predicted_energy": float(relaxed.info["predicted_energy"][0]),
    "fmax": float(relaxed.max_forces[0]),
    "positions": relaxed.positions.tolist(),
    "seconds": seconds,
    "rows": results["curve"].get_dict()["rows"],
}
(HERE / "offline.json").write_text(json.dumps(found, indent=1) + "\n")
print(found["outcome"], found["labels"], "labels", f"{seconds:.0f} s")
