"""Every model on a GPU against the CPU: the same numbers, and how many structures a second.

    python benchmarks/gpu/run.py [--device cuda] [--minutes 4] [--out FOLDER]

It takes some minutes, needs no other file, and writes ``results.json`` and ``table.md`` beside this
file, or in the folder ``--out``. Models are the architectures of the package, a sum with a prior
and an ensemble, in double and single precision. For each: the largest differences of energies,
forces and stresses between the devices; predictions and training in structures per second; the
loss after the same few epochs on both. At the end a Gaussian-moment network is trained by the
protocol of V. Zaverkin et al., J. Chem. Theory Comput. 17, 6658 (2021), for as many of its epochs
as the minutes left allow: on ethanol of rMD17 where AIIDA_MLAL_SHARED or ../shared has it, on
copper with labels of EMT otherwise. ``--device cpu`` tries the script itself.
"""

import argparse
import copy
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, fcc100
from ase.calculators.emt import EMT

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.options import build
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.training.options import TrainingOptions

HERE = Path(__file__).parent
SHARED = Path(os.environ.get("AIIDA_MLAL_SHARED", HERE.parents[1] / ".." / "shared"))

BPNN = {"architecture": "bpnn", "cutoff": 5.0}
GMNN = {"architecture": "gmnn", "cutoff": 5.0, "hidden": [256, 128]}
MTP = {"architecture": "mtp", "level": 16, "cutoff": 5.0, "min_dist": 1.5}
MODELS: dict[str, dict[str, Any]] = {
    "morse": {"architecture": "morse", "cutoff": 5.0},
    "zbl": {"architecture": "zbl"},
    "bpnn": BPNN,
    "bpnn on morse, ensemble of 3": {**BPNN, "prior": {"architecture": "morse"}, "ensemble": 3},
    "gmnn": GMNN,
    "mtp": MTP,
}
OPTIMIZERS = {
    "bpnn": {"name": "levenberg_marquardt"},
    "gmnn": {"name": "adam", "batch_size": 8},
    "mtp": {"name": "lbfgs"},
}
PAPER = {
    "optimizer": {
        "name": "adam",
        "batch_size": 32,
        "amsgrad": False,
        "rates": {"descriptor": 0.02, "network": 0.03, "shift": 0.05, "scale": 0.001},
        "schedule": {"name": "linear"},
    },
    "loss": {"energy": 1.0, "force": 4.0, "scaling": "molecules"},
    "criterion": "mae",
    "patience": None,
    "precision": "single",
}
PAPER_EPOCHS = 1000
DTYPES = {"double": torch.float64, "single": torch.float32}


def labelled(n: int, seed: int) -> Configurations:
    """Return cells and slabs of copper, gold and both, with labels of EMT."""
    rng, frames = np.random.default_rng(seed), []
    for k in range(n):
        if k % 2:
            atoms = bulk("Cu", cubic=True, a=3.6 + 0.6 * rng.random()) * (2, 2, 2)
        else:
            atoms = fcc100("Cu", (3, 3, 3), a=3.6 + 0.3 * rng.random(), vacuum=6)
            atoms.pbc = True, True, False
        atoms.numbers[rng.random(len(atoms)) < 0.3] = 79
        atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
        atoms.calc = EMT()
        if atoms.pbc.all():
            atoms.get_stress()
        else:
            atoms.get_forces()
        frames.append(atoms)
    return Configurations.from_ase(frames)


def ethanol() -> tuple[Configurations, Configurations] | None:
    """Return the 1000 training and 1000 test structures of the first split of rMD17, if there."""
    path = SHARED / "data" / "rmd17" / "rmd17_ethanol.npz"
    if not path.exists():
        return None
    data = np.load(path)

    def part(rows: np.ndarray) -> Configurations:
        frames = [Atoms(numbers=data["Z"], positions=r) for r in data["R"][rows]]
        found = Configurations.from_ase(frames)
        return found.with_labels(data["E"][rows], data["F"][rows].reshape(-1, 3))

    return part(data["train1"]), part(data["test1"])


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def rate(potential: Potential, structures: Configurations, device: str, seconds: float) -> float:
    """Return energies, forces and stresses of how many structures a second, graphs not counted."""
    graph = potential.graph(structures)
    with torch.no_grad():
        potential(graph)
        wait(device)
        rounds, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < seconds:
            potential(graph)
            wait(device)
            rounds += 1
    return rounds * len(structures) / (time.perf_counter() - begin)


def trained(model: dict[str, Any], train: Configurations, device: str, epochs: int) -> dict:
    """Return loss and speed of a training of a few epochs."""
    potential = ModelOptions.parse(model).build(list(train.elements), 0)
    options = {
        "epochs": epochs,
        "patience": None,
        "device": device,
        "optimizer": OPTIMIZERS[model["architecture"]],
    }
    fit(copy.deepcopy(potential), train[:4], build(TrainingOptions, {**options, "epochs": 1}), 0)
    begin = time.perf_counter()
    record = fit(potential, train, build(TrainingOptions, options), 0)
    seconds = time.perf_counter() - begin
    done = sum(len(curve.train) for curve in record.curves)
    return {
        "loss": [curve.train[-1] for curve in record.curves],
        "structures_per_s": done * len(train) / seconds,
    }


def compared(name: str, device: str, seconds: float) -> dict[str, Any]:
    """Return how a model on the device compares with the same one on the CPU."""
    model, structures = MODELS[name], labelled(16, 1)
    row: dict[str, Any] = {"model": name}
    for precision, dtype in DTYPES.items():
        here = ModelOptions.parse(model).build(list(structures.elements), 0).to(dtype)
        there = copy.deepcopy(here).to(device)
        ours, theirs = here.predict(structures), there.predict(structures)
        row[precision] = {
            "energy_eV_per_atom": _largest((theirs.energies - ours.energies) / ours.counts),
            "force_eV_per_A": _largest(theirs.forces - ours.forces),
            "stress_eV_per_A3": _largest(theirs.stresses - ours.stresses),
            "structures_per_s": {
                "cpu": rate(here, structures, "cpu", seconds),
                device: rate(there, structures, device, seconds),
            },
        }
    if model["architecture"] in OPTIMIZERS:
        train = labelled(32, 2)
        row["training"] = {where: trained(model, train, where, 5) for where in {"cpu", device}}
    return row


def paper(device: str, minutes: float) -> dict[str, Any]:
    """Train a Gaussian-moment network by the published protocol, as far as the time allows."""
    data = ethanol()
    train, test = data or (labelled(1000, 3), labelled(200, 4))
    options = {**PAPER, "device": device, "epochs": 2, "validation": 0.05}
    potential = ModelOptions.parse(GMNN).build(list(train.elements), 1)
    begin = time.perf_counter()
    fit(copy.deepcopy(potential), train, build(TrainingOptions, options), 1)
    an_epoch = (time.perf_counter() - begin) / 2
    epochs = max(1, min(PAPER_EPOCHS, int(60 * minutes / an_epoch)))
    begin = time.perf_counter()
    fit(potential, train, build(TrainingOptions, {**options, "epochs": epochs}), 1)
    seconds = time.perf_counter() - begin
    said = potential.predict(test)
    return {
        "data": "ethanol of rMD17" if data else "copper and gold with EMT",
        "epochs": epochs,
        "of": PAPER_EPOCHS,
        "seconds": seconds,
        "structures_per_s": epochs * 0.95 * len(train) / seconds,
        "energy_mae_meV": 1e3 * float(np.abs(said.energies - test.energies).mean()),
        "force_mae_meV_per_A": 1e3 * float(np.nanmean(np.abs(said.forces - test.forces))),
    }


def table(found: dict[str, Any]) -> str:
    device = found["device"]
    lines = [
        f"{found['name']}, torch {found['torch']}",
        "",
        "| model | precision | energy, eV/atom | force, eV/Å | stress, eV/Å³ | CPU, structures/s "
        f"| {device}, structures/s |",
        "|" + "---|" * 7,
    ]
    for row in found["models"]:
        for precision in DTYPES:
            one = row[precision]
            speeds = one["structures_per_s"]
            lines.append(
                f"| {row['model']} | {precision} | {one['energy_eV_per_atom']:.1e} "
                f"| {one['force_eV_per_A']:.1e} | {one['stress_eV_per_A3']:.1e} "
                f"| {speeds['cpu']:.0f} | {speeds[device]:.0f} |"
            )
    lines += [
        "",
        f"| training | loss, CPU | loss, {device} | CPU, structures/s | {device}, structures/s |",
        "|" + "---|" * 5,
    ]
    for row in found["models"]:
        if "training" in row:
            cpu, there = row["training"]["cpu"], row["training"][device]
            losses = [" ".join(f"{loss:.6g}" for loss in one["loss"]) for one in (cpu, there)]
            speeds = [f"{one['structures_per_s']:.0f}" for one in (cpu, there)]
            lines.append(f"| {' | '.join([row['model'], *losses, *speeds])} |")
    gmnn = found["gmnn"]
    lines += [
        "",
        f"Gaussian-moment network by the published protocol, {gmnn['data']}: {gmnn['epochs']} of "
        f"{gmnn['of']} epochs in {gmnn['seconds']:.0f} s ({gmnn['structures_per_s']:.0f} "
        f"structures/s), MAE {gmnn['energy_mae_meV']:.2f} meV, "
        f"{gmnn['force_mae_meV_per_A']:.2f} meV/Å.",
    ]
    return "\n".join(lines) + "\n"


def _largest(differences: np.ndarray) -> float:
    known = np.abs(differences[np.isfinite(differences)])
    return float(known.max(initial=0.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--out", type=Path, default=HERE)
    given = parser.parse_args()
    begin = time.perf_counter()
    name = torch.cuda.get_device_name() if given.device == "cuda" else platform.processor()
    found = {"device": given.device, "name": name, "torch": torch.__version__, "models": []}
    each = 60 * given.minutes / 2 / len(MODELS) / 8  # half of the time for comparisons
    for model in MODELS:
        found["models"].append(compared(model, given.device, each))
        print(json.dumps(found["models"][-1]), flush=True)
    left = given.minutes - (time.perf_counter() - begin) / 60
    found["gmnn"] = paper(given.device, max(left, 0.2))
    (given.out / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    (given.out / "table.md").write_text(table(found))
    print(table(found))


if __name__ == "__main__":
    main()
