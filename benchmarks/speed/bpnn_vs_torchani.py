"""How long a step of a simulation with a network takes, beside torchani.

Energy and forces after random displacements of 0.01 Å, in one process and one thread, in turns of
five steps, medians of CPU time.

Ours: the default symmetry functions (20 numbers for two elements, 8 for one) and two hidden layers
of 20 nodes, through the ASE calculator; a single network, and what a campaign uses, a committee of
five on a Morse prior with its uncertainty; with kernels, and with torch alone.

Theirs: ANI functions of the same number and cutoff, networks of the same size, called bare,
without their ASE calculator, with the fastest of their pure neighbour lists; their compiled
extensions need a GPU toolkit. Their angular functions have no cutoff between the two neighbours,
so that they sum about twice as many. They look for neighbours at each step, we do when atoms have
moved.

Needs ``pip install --no-deps torchani``. Run as ``OMP_NUM_THREADS=1 python bpnn_vs_torchani.py``.
"""

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import add_adsorbate, fcc100

os.environ.setdefault("TORCHANI_NO_WARN_EXTENSIONS", "1")
from torchani.aev import AEVComputer, ANIAngular, ANIRadial
from torchani.nn import ANINetworks, AtomicNetwork

from aiida_mlal.ml.calculator import MLCalculator
from aiida_mlal.ml.engines.base import EngineName
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.uncertainty.committee import ForceStd

TURN = 5

Step = Callable[[np.ndarray], np.ndarray]
"""Returns the forces for positions."""


def small_slab() -> Atoms:
    atoms = fcc100("Cu", (2, 2, 3), vacuum=10)
    add_adsorbate(atoms, "C", 3.0, "hollow")
    atoms.pbc = True
    return atoms


def large_slab() -> Atoms:
    atoms = fcc100("Cu", (5, 5, 8), vacuum=10)
    atoms.pbc = True
    return atoms


def ours(atoms: Atoms, members: int, prior: bool, engine: EngineName) -> Step:
    options = {"architecture": "bpnn", "ensemble": members}
    if prior:
        options["prior"] = {"architecture": "morse"}
    potential = ModelOptions.parse(options).build(sorted(set(atoms.symbols)), 0)
    moving = atoms.copy()
    moving.calc = MLCalculator(potential, ForceStd() if members > 1 else None, engine=engine)

    def step(positions: np.ndarray) -> np.ndarray:
        moving.positions = positions
        moving.get_potential_energy()
        return moving.get_forces()

    return step


def theirs(atoms: Atoms, neighbours: str, dtype: torch.dtype) -> Step:
    symbols = sorted(set(atoms.symbols))
    describe = AEVComputer(
        radial=ANIRadial(eta=1.0, shifts=[0.9, 2.2, 3.5, 4.8], cutoff=6.0),
        angular=ANIAngular(
            eta=1.0, zeta=4.0, shifts=[1.5, 3.5], sections=[0.785, 2.356], cutoff=5.999
        ),
        num_species=len(symbols),
        strategy="pyaev",
        neighborlist=neighbours,
    ).to(dtype)
    widths = [describe.out_dim, 20, 20, 1]
    networks = ANINetworks(
        {s: AtomicNetwork(widths, activation=torch.nn.Tanh(), bias=True) for s in symbols}
    ).to(dtype)
    species = torch.tensor([[symbols.index(s) for s in atoms.symbols]])
    cell, pbc = torch.tensor(atoms.cell.array, dtype=dtype), torch.tensor(atoms.pbc)

    def step(positions: np.ndarray) -> np.ndarray:
        there = torch.tensor(positions[None], dtype=dtype, requires_grad=True)
        energy = networks(species, describe(species, there, cell, pbc)).sum()
        return -torch.autograd.grad(energy, there)[0][0].numpy()

    return step


def compare(atoms: Atoms, neighbours: str, turns: int) -> dict[str, float]:
    """Return the CPU time of each in microseconds per atom and step."""
    contenders = {
        "one network": ours(atoms, 1, False, "numba"),
        "five and prior": ours(atoms, 5, True, "numba"),
        "torchani, float64": theirs(atoms, neighbours, torch.float64),
        "torchani, float32": theirs(atoms, neighbours, torch.float32),
        "one, by torch": ours(atoms, 1, False, "torch"),
        "five, by torch": ours(atoms, 5, True, "torch"),
    }
    rng, start = np.random.default_rng(0), atoms.positions.copy()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(turns):
        path = start + rng.normal(scale=0.01, size=(TURN, *start.shape))
        for name, step in contenders.items():
            begin = time.process_time()
            for positions in path:
                step(positions)
            seconds[name].append((time.process_time() - begin) / TURN)
    return {name: float(np.median(s[1:])) / len(atoms) * 1e6 for name, s in seconds.items()}


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lines = ["CPU time of energy and forces, microseconds per atom and step", ""]
    for title, atoms, neighbours, turns in (
        ("C on Cu(100) 2x2x3, 13 atoms", small_slab(), "all_pairs", 21),
        ("Cu(100) 5x5x8, 200 atoms", large_slab(), "adaptive", 6),
    ):
        atoms.rattle(0.1, seed=0)
        found = compare(atoms, neighbours, turns)
        lines.append(title)
        lines += [f"  {name:20s}{value:9.1f}" for name, value in found.items()]
        for name in ("one network", "five and prior"):
            ratios = [found[f"torchani, {kind}"] / found[name] for kind in ("float64", "float32")]
            text = "  torchani / {:15s}{:5.0f} in float64,{:5.0f} in float32"
            lines.append(text.format(name, *ratios))
        lines.append("")
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    lines.append(f"{model}, one thread; load {load:.1f} per core by this and other work")
    packages = ("torch", "torchani", "numba", "numpy")
    lines.append(", ".join(f"{name} {version(name)}" for name in packages))
    print("\n".join(lines))
    Path(__file__).with_suffix(".txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
