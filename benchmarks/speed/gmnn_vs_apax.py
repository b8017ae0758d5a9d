"""Speed of Gaussian-moment networks beside apax: energies and forces, and training.

The same function in both: 5 radial functions of 7 Gaussians, 360 invariants, layers of 256 and 128
nodes; single and double precision, one core, CPU time, in turns. Neighbours are given for apax.
For ours they are given for the batch of molecules, and looked for where need be, when atoms move
by 0.01 Å, in single structures. In single precision our invariants are in double precision all the
same. Training is a step of AMSGrad for energies and forces in batches of 32, batches made from
arrays in memory: apax's own training step without its input pipeline, ours with what makes a batch.

Run as ``python gmnn_vs_apax.py PYTHON DATA``: the interpreter of an environment with apax, and
``ethanol_1000K.npz``. The processes run on the core that this one is bound to, as by taskset.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.engines.numba import kernels_of
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.neighbours import neighbours
from aiida_mlal.ml.training.optimizers import Adam
from aiida_mlal.ml.training.options import LossOptions
from aiida_mlal.ml.training.problem import Problem

TURNS, SECONDS = 7, 0.4
DTYPES = {"fp32": torch.float32, "fp64": torch.float64}
BATCH = 32
MODELS = {
    "same": {"n_radial": 5, "invariants": "full"},
    "427": {"n_radial": 7, "invariants": "sorted"},
}

Call = Callable[[], object]


def network(frames: list[Atoms], model: str, cutoff: float, dtype: str) -> torch.nn.Module:
    options = {"architecture": "gmnn", "cutoff": cutoff, "hidden": [256, 128], "layers": "ntk"}
    options["descriptor"] = MODELS[model]
    return single(options, sorted(set(frames[0].symbols)), 0).to(DTYPES[dtype])


def batch(frames: list[Atoms], model: str, cutoff: float, dtype: str) -> Call:
    potential = network(frames, model, cutoff, dtype)
    structures, rng = Configurations.from_ase(frames), np.random.default_rng(0)
    graph = potential.graph(structures)
    moved = [graph.take(rng.permutation(len(frames))) for _ in range(8)]
    calls = 0

    def call() -> None:
        nonlocal calls
        with torch.no_grad():
            potential(moved[calls % len(moved)])
        calls += 1

    return call


def step(frames: list[Atoms], model: str, cutoff: float, dtype: str) -> Call:
    atoms, rng = frames[0], np.random.default_rng(0)
    evaluate = kernels_of(network(frames, model, cutoff, dtype), 0.5)
    path = atoms.positions + rng.normal(scale=0.01, size=(16, len(atoms), 3))
    calls = 0

    def call() -> None:
        nonlocal calls
        evaluate(atoms.numbers, path[calls % 16], atoms.cell.array, atoms.pbc)
        calls += 1

    return call


def training(
    frames: list[Atoms], model: str, cutoff: float, dtype: str, labels: dict[str, np.ndarray]
) -> Call:
    potential = network(frames, model, cutoff, dtype)
    kind = DTYPES[dtype]
    targets = Prediction(
        torch.tensor(labels["energy"], dtype=kind),
        torch.tensor(labels["forces"].reshape(-1, 3), dtype=kind),
        torch.full((len(frames), 3, 3), torch.nan, dtype=kind),
    )
    prepared = potential.prepare(potential.graph(Configurations.from_ase(frames)))
    potential.initialise(prepared, targets, 0)
    problem = Problem(potential, prepared, targets, LossOptions(1.0, 4.0, scaling="molecules"))
    epochs = Adam(batch_size=BATCH).run(problem, 10**9, 0)
    return lambda: next(epochs)


def export(frames: list[Atoms], cutoff: float, path: Path, labels: dict[str, np.ndarray]) -> None:
    """Write structures as apax wants them, lists of neighbours padded to the longest."""
    found = [neighbours(a.positions, a.cell.array, a.pbc, cutoff) for a in frames]
    longest = max(pairs.shape[1] for pairs, _ in found)
    idx = np.zeros((len(frames), 2, longest), np.int32)
    offsets = np.zeros((len(frames), longest, 3))
    for k, (atoms, (pairs, shifts)) in enumerate(zip(frames, found)):
        idx[k, :, : pairs.shape[1]] = pairs
        offsets[k, : pairs.shape[1]] = shifts @ atoms.cell.array
    periodic = frames[0].pbc.any()
    places = [a.get_scaled_positions(wrap=False) if periodic else a.positions for a in frames]
    np.savez(
        path,
        positions=np.array(places),
        numbers=np.array([a.numbers for a in frames], np.int32),
        idx=idx,
        offsets=offsets,
        box=np.array([a.cell.array.T if periodic else np.zeros((3, 3)) for a in frames]),
        **labels,
    )


class Peer:
    """The process with apax."""

    def __init__(self, python: str, cases: dict[str, dict]) -> None:
        flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        environment = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}
        self._process = subprocess.Popen(
            [python, Path(__file__).with_name("gmnn_vs_apax_peer.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **environment},
        )
        self.versions = self._ask(cases)

    def seconds(self, name: str, calls: int) -> float:
        return self._ask({"name": name, "calls": calls})

    def _ask(self, request: dict) -> object:
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def seconds(call: Call, calls: int) -> float:
    begin = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - begin) / calls


def main() -> None:
    python, data = sys.argv[1], np.load(sys.argv[2])
    torch.set_num_threads(1)
    ethanol = [Atoms(numbers=data["Z"], positions=r) for r in data["R"][:320]]
    labels = {"energy": data["E"][:320] - data["E"][:320].mean(), "forces": data["F"][:320]}
    slab = fcc100("Cu", (2, 2, 3), vacuum=10)
    add_adsorbate(slab, "C", 3.0, "hollow")
    slab.pbc = True
    mo = bulk("Mo", cubic=True) * (3, 3, 3)
    for atoms in (slab, mo):
        atoms.rattle(0.1, seed=0)
    systems = {
        "ethanol, 100 molecules together": (ethanol[:100], 4.0, batch),
        "C on Cu(100), 13 atoms": ([slab], 5.0, step),
        "bcc Mo, 54 atoms": ([mo], 5.0, step),
        "training, ethanol": (ethanol, 4.0, training),
    }
    found: dict[tuple[str, str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        cases, mine = {}, {}
        for system, (frames, cutoff, make) in systems.items():
            extra = {"labels": labels} if make is training else {}
            path = Path(folder) / f"{len(cases)}.npz"
            export(frames, cutoff, path, labels if make is training else {})
            size = BATCH if make is training else 0
            for dtype in DTYPES:
                case = {"n_basis": 7, "n_radial": 5, "hidden": [256, 128], "dtype": dtype}
                case |= {"cutoff": cutoff, "data": str(path), "batch_size": size}
                cases[f"{system}|{dtype}"] = case
                for model in MODELS:
                    mine[system, dtype, model] = make(frames, model, cutoff, dtype, **extra)
        for call in mine.values():
            call()
        peer = Peer(python, cases)
    for _ in range(TURNS + 1):
        for system in systems:
            for dtype in DTYPES:
                name = f"{system}|{dtype}"
                for model in (*MODELS, "apax"):
                    key = (system, dtype, model)
                    last = found.setdefault(key, [])
                    calls = max(1, round(SECONDS / last[0])) if last else 1
                    if model == "apax":
                        last.append(peer.seconds(name, calls))
                    else:
                        last.append(seconds(mine[key], calls))
    lines = ["CPU time on one core: microseconds per atom; in training structures per second", ""]
    for system, (frames, _, make) in systems.items():
        lines += [system, f"  {'':22s}{'apax':>9s}{'same':>9s}{'apax/same':>11s}{'427':>9s}"]
        for dtype in DTYPES:
            apax, same, other = (
                float(np.median(found[system, dtype, m][1:])) for m in ("apax", "same", "427")
            )
            numbers = (
                [len(frames) / t for t in (apax, same, other)]
                if make is training
                else [1e6 * t / sum(map(len, frames)) for t in (apax, same, other)]
            )
            title = {"fp32": "single precision", "fp64": "double precision"}[dtype]
            lines.append(
                f"  {title:22s}{numbers[0]:9.1f}{numbers[1]:9.1f}{apax / same:11.1f}"
                f"{numbers[2]:9.1f}"
            )
        lines.append("")
    lines.append("427: the index set of the paper, 7 radial functions, not the same function")
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    lines.append(f"{model}, one core; load {load:.1f} per core by this and other work")
    versions = {p: version(p) for p in ("torch", "numba", "numpy")} | peer.versions
    lines.append(", ".join(f"{name} {number}" for name, number in versions.items()))
    print("\n".join(lines))
    Path(__file__).with_suffix(".txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
