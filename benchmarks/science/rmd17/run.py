"""Ethanol of rMD17: errors of a Gaussian-moment network that learned from 1000 structures.

``python run.py [EPOCHS] [SPLIT]`` trains one network by ``mlal train`` in a temporary folder, and
adds a row to results.json and table.md. Of the 1000 training structures of the split, 50 are the
validation set; errors are those of the 1000 test structures of the split. The loss and the linear
decay of learning rates are those of V. Zaverkin et al., J. Chem. Theory Comput. 17, 6658 (2021),
who train for 1000 epochs in batches of 32. Since here there may be fewer, batches are of 8, and
learning rates smaller.

Data: A. S. Christensen and O. A. von Lilienfeld, Mach. Learn.: Sci. Technol. 1, 045018 (2020).
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from aiida_mlal.ml import load_potential
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.tasks.runner import execute

HERE = Path(__file__).parent
SHARED = Path(os.environ.get("AIIDA_MLAL_SHARED", HERE.parents[2] / ".." / "shared"))
MODEL = {"architecture": "gmnn", "cutoff": 5.0, "hidden": [256, 128], "layers": "ntk"}
TRAINING = {
    "optimizer": {
        "name": "adam",
        "batch_size": 8,
        "amsgrad": False,
        "rates": {"descriptor": 0.01, "network": 0.01, "shift": 0.01, "scale": 0.001},
        "schedule": {"name": "linear"},
    },
    "loss": {"energy": 1.0, "force": 4.0, "scaling": "molecules"},
    "criterion": "mae",
    "patience": None,
    "precision": "single",
}

PUBLISHED = {
    "GAP": (3.5, 18.1),
    "ANI": (2.5, 13.4),
    "ACE": (1.2, 7.3),
    "FCHL": (0.9, 6.2),
    "NequIP": (0.4, 2.8),
    "MACE": (0.4, 2.1),
}
"""1000 structures of ethanol in table 2 of I. Batatia et al., NeurIPS 2022 (arXiv:2206.07697)."""


def read(data: dict[str, np.ndarray], rows: np.ndarray) -> Configurations:
    frames = [Atoms(numbers=data["Z"], positions=positions) for positions in data["R"][rows]]
    found = Configurations.from_ase(frames)
    found = found.with_labels(data["E"][rows], data["F"][rows].reshape(-1, 3))
    return found.with_info(status=["ok"] * len(rows))


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "MAE of energies of molecules and of components of forces, 1000 test structures",
        "",
        "| split | epochs | CPU s | energy, meV | force, meV/Å |",
        "|" + "---|" * 5,
    ]
    for row in rows:
        cells = [row["split"], row["epochs"], row["cpu_s"], row["energy_meV"], row["force_meV"]]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += [
        "",
        "Table 2 of I. Batatia et al., NeurIPS 2022 (arXiv:2206.07697), where errors come from",
        "several papers; of these models ANI, a Behler-Parrinello network, is the nearest in kind.",
        "",
        "| model | energy, meV | force, meV/Å |",
        "|---|---|---|",
        *(f"| {name} | {energy} | {force} |" for name, (energy, force) in PUBLISHED.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    split = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    data = dict(np.load(SHARED / "data" / "rmd17" / "rmd17_ethanol.npz"))
    chosen, test = data[f"train{split}"], read(data, data[f"test{split}"])
    training = {**TRAINING, "epochs": epochs}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        read(data, chosen[:950]).save("dataset.safetensors")
        read(data, chosen[950:]).save("validation.safetensors")
        task = {"task": "train", "model": MODEL, "training": training, "seed": split}
        begin = time.process_time()
        result = execute({**task, "validation": "validation.safetensors"})
        seconds = time.process_time() - begin
        if result["status"] != "ok":
            raise SystemExit(result["message"])
        said = load_potential("potential.safetensors").predict(test)
    row = {
        "split": split,
        "epochs": epochs,
        "cpu_s": round(seconds),
        "energy_meV": round(1e3 * float(np.abs(said.energies - test.energies).mean()), 2),
        "force_meV": round(1e3 * float(np.abs(said.forces - test.forces).mean()), 2),
        "best_epoch": result["curves"][0]["best"] + 1,
        "validation": result["curves"][0]["validation"],
    }
    print(json.dumps(row))
    path = HERE / "results.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    rows.append(row)
    path.write_text(json.dumps(rows) + "\n")
    (HERE / "table.md").write_text(table(rows))


if __name__ == "__main__":
    main()
