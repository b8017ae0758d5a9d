"""Bootstrapping in molecular dynamics, with labels of EMT, without AiiDA.

    python benchmarks/science/md/run.py NAME ...

``al``: 108 atoms of fcc Al at 900 K, with a moment tensor potential of level 8 that knows ten
rattled cells, until a run of 10 ps meets no grade of 10 (I. S. Novikov et al., Mach. Learn.: Sci.
Technol. 2, 025002 (2021), section 5.2). ``co_gp``, ``co_mtp`` and, at 800 K, ``co_mtp_800``: CO on
Cu(100), 3x3x3 with the lowest layer fixed, at 300 K, which know ten rattled structures (M. Shuaibi
et al., Mach. Learn.: Sci. Technol. 2, 025007 (2021), figures 4 and 5), up to a budget of labels.

The steps are those of the recipe ``md``: train on all labels, begin the runs again, label what the
query chooses of what they met. Errors are of 400 frames of a direct run of EMT, 4 ps, which nothing
has learned from. Radial distributions up to 6 Å are compared with those of that run: how much of
the distances is in another bin of 0.1 Å, over all pairs of elements, once for each iteration and
once for a second direct run. A table for each name is written beside this file, and a figure.

``co_mtp_800_break`` breaks at a grade of 10, ``co_mtp_800_ten`` as well, but all ten structures are
run and rows tell of the run that ended first, and ``co_mtp_800_prior`` learns the rest of a prior.
``co_mtp_800_drawn`` is no campaign: it learns from frames of a second direct run.
"""

import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from ase import Atoms, units
from ase.build import bulk, fcc100
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from matplotlib.figure import Figure

from aiida_mlal import protocols
from aiida_mlal.ml import plugins
from aiida_mlal.ml.analysis.rdf import RadialDistribution, radial_distribution
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import UNCERTAINTY
from aiida_mlal.ml.metrics import errors
from aiida_mlal.ml.selection.select import select
from aiida_mlal.ml.uncertainty.active_set import ActiveSet

sys.path.insert(0, str(Path(__file__).parents[1]))
from campaigns import Labels, train

MD = protocols.inputs("md", "fast")
GP = protocols.inputs("gp")


def aluminium() -> list[Atoms]:
    """Return ten cells of 108 atoms, rattled by 0.1 Å."""
    found = []
    for seed in range(10):
        atoms = bulk("Al", cubic=True) * 3
        atoms.rattle(0.1, seed=seed)
        found.append(atoms)
    return found


def co_on_copper() -> list[Atoms]:
    """Return CO on copper as EMT has it: C and O in hollow sites beside each other."""
    atoms = fcc100("Cu", (3, 3, 3), vacuum=6.0)
    atoms += Atoms("CO", atoms.positions[22] + np.array([[1.28, 1.28, 0.9], [1.28, 3.83, 1.2]]))
    atoms.pbc = (True, True, False)
    atoms.set_constraint(FixAtoms(np.flatnonzero(atoms.get_tags() == 3)))
    return [atoms]


def rattled_co() -> list[Atoms]:
    """Return ten of them, the free atoms displaced by 0.1 Å."""
    rng, found = np.random.default_rng(0), []
    for _ in range(10):
        (atoms,) = co_on_copper()
        atoms.set_positions(atoms.positions + rng.normal(0, 0.1, atoms.positions.shape))
        found.append(atoms)
    return found


NAMES = {
    "al": {
        "structures": aluminium,
        "given": {**MD, "model": {**MD["model"], "min_dist": 2.0}},
        "simulation": {"temperature": 900.0, "steps": 5000, "timestep": 2.0, "every": 20,
                       "guard": {"select": 3.0, "break": 10.0, "every": 2}},
        "query": {"name": "maxvol", "n": 10},
        "most": 300,
    },
    "co_gp": {
        "structures": rattled_co,
        "given": GP,
        "simulation": {"temperature": 300.0, "steps": 500, "timestep": 2.0, "every": 10,
                       "guard": {"break": 0.5, "every": 5}},
        "query": {"name": "random", "n": 5},
        "most": 30,
    },
    "co_mtp": {
        "structures": rattled_co,
        "given": {**MD, "model": {**MD["model"], "min_dist": 1.0}},
        "simulation": {"temperature": 300.0, "steps": 1000, "timestep": 2.0, "every": 10,
                       "guard": {"every": 10}},
        "query": {"name": "random", "n": 10},
        "most": 60,
    },
}  # fmt: skip
NAMES["co_mtp_800"] = {
    **NAMES["co_mtp"],
    "simulation": {**NAMES["co_mtp"]["simulation"], "temperature": 800.0},
}
NAMES["co_gp_800"] = {
    **NAMES["co_gp"],
    "simulation": {**NAMES["co_gp"]["simulation"], "temperature": 800.0},
}
NAMES["co_mtp_800_prior"] = {
    **NAMES["co_mtp_800"],
    "given": {
        **NAMES["co_mtp_800"]["given"],
        "model": {
            **NAMES["co_mtp_800"]["given"]["model"],
            "prior": {"architecture": "second_moment"},
        },
    },
}
NAMES["co_mtp_800_break"] = {
    **NAMES["co_mtp_800"],
    "simulation": {
        **NAMES["co_mtp_800"]["simulation"],
        "guard": NAMES["al"]["simulation"]["guard"],
    },
    "query": NAMES["al"]["query"],
}
NAMES["co_mtp_800_ten"] = {**NAMES["co_mtp_800_break"], "runs": 10}

DRAWN = "_drawn"
"""Behind a name: no campaign, but frames of a direct run are learned from."""

Distributions = Mapping[tuple[str, str], RadialDistribution]


def direct(atoms: Atoms, temperature: float, seed: int = 7) -> Configurations:
    """Return 400 frames of a run of EMT, 4 ps after 0.5 ps."""
    atoms = atoms.copy()
    atoms.calc = EMT()
    rng = np.random.default_rng(seed)
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng)
    motion = Langevin(
        atoms, 2 * units.fs, temperature_K=temperature, friction=0.01 / units.fs, rng=rng
    )
    motion.run(250)
    found = []
    for _ in range(400):
        motion.run(5)
        found.append(atoms.copy())
    return Labels(EMT()).add(Configurations.from_ase(found))


def distributions(frames: Configurations) -> Distributions:
    """Return radial distributions; those of a slab in the volume of its cell, vacuum included."""
    return radial_distribution(replace(frames.bare, pbc=np.ones_like(frames.pbc)), n_bins=60)


def misplaced(one: Distributions, other: Distributions) -> float:
    """Return the share of distances that are not where the other distributions have them."""
    apart, whole = 0.0, 0.0
    for pair, there in other.items():
        shells = there.distances**2
        apart += float(np.abs(one[pair].g - there.g) @ shells) / 2
        whole += float(there.g @ shells)
    return apart / whole


def draw(name: str, found: Distributions, other: Distributions) -> None:
    """Draw the distributions of the last run and of the direct one."""
    figure = Figure(figsize=(3 * len(other), 2.6), layout="constrained")
    for axes, (pair, there) in zip(figure.subplots(1, len(other), squeeze=False)[0], other.items()):
        axes.plot(there.distances, there.g, color="black", label="EMT")
        axes.plot(there.distances, found[pair].g, "--", color="tab:red", label="learned")
        axes.set(title="-".join(pair), xlabel="distance (Å)")
    axes.legend()
    figure.savefig(Path(__file__).parent / f"{name}.png", dpi=80)


def drawn(name: str) -> list[str]:
    """Return the rows of a table: potentials from the first structures and frames of a direct run.

    The frames are drawn at random. Grades are those of the frames that errors are of.
    """
    how = NAMES[name]
    structures, temperature = how["structures"](), how["simulation"]["temperature"]
    test, pool = (direct(structures[0], temperature, seed) for seed in (7, 8))
    labels = Labels(EMT())
    begin = labels.add(Configurations.from_ase(structures))
    order = np.random.default_rng(0).permutation(len(pool))
    rows = [
        "| labels | energy MAE, meV/atom | force MAE, eV/Å | largest | frames above a grade of 10 "
        "| largest of the others | least grade of an error above 1 eV/Å |",
        "|---|---|---|---|---|---|---|",
    ]
    for n in (20, 50):
        frames = Configurations.concatenate([begin, pool[np.sort(order[:n])]])
        potential = train(how["given"], frames, frames.elements)
        predicted = potential.predict(test)
        wrong = errors(test, predicted.energies, predicted.forces)
        apart = np.abs(predicted.forces - test.forces).max(axis=1)
        worst = np.array([apart[test.owner == i].max() for i in range(len(test))])
        grades = ActiveSet.stored(potential).grades(potential, test).values
        large = grades[worst > 1.0]
        rows.append(
            f"| {len(frames)} | {1000 * wrong['energy_mae']:.2f} | {wrong['force_mae']:.4f} "
            f"| {worst.max():.2f} | {(grades > 10).sum()} of {len(test)} "
            f"| {worst[grades <= 10].max():.2f} | {large.min() if len(large) else np.nan:.3g} |"
        )
        print(rows[-1], flush=True)
    return rows


def campaign(name: str) -> list[str]:
    """Return the rows of a table, one for each iteration."""
    how = NAMES[name]
    given, structures = how["given"], how["structures"]()
    simulation = plugins.make("simulations", {"name": "md", **how["simulation"]})
    test = direct(structures[0], simulation.temperature)
    there = distributions(test)
    floor = misplaced(distributions(direct(structures[0], simulation.temperature, 8)), there)
    labels = Labels(EMT())
    labels.add(Configurations.from_ase(structures))
    begin = Configurations.from_ase(structures[: how.get("runs", 1)]).bare
    rows = [
        "| labels | steps | ended | largest uncertainty | energy MAE, meV/atom | force MAE, eV/Å "
        "| force RMSE, eV/Å | distances misplaced | CPU s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    print(*rows, sep="\n", flush=True)
    potential, began = None, time.process_time()
    while True:
        potential = train(given, labels.frames, labels.frames.elements, potential)
        result = simulation.run(potential, begin)
        run = min(result.runs, key=lambda one: one.steps)
        predicted = potential.predict(test)
        wrong = errors(test, predicted.energies, predicted.forces)
        here = distributions(result.trajectory)
        most = float(np.nanmax(UNCERTAINTY.of(result.trajectory)))
        rows.append(
            f"| {len(labels)} | {run.steps} | {run.reason} | {most:.3g} | "
            f"{1000 * wrong['energy_mae']:.2f} | {wrong['force_mae']:.3f} | "
            f"{wrong['force_rmse']:.3f} | {misplaced(here, there):.3f} | "
            f"{time.process_time() - began:.0f} |"
        )
        print(rows[-1], flush=True)
        ended = how["query"]["name"] == "maxvol" and run.reason == "completed"
        if ended or len(labels) >= how["most"]:
            draw(name, here, there)
            return [*rows, "", f"A second direct run misplaces {floor:.3f} of the distances."]
        n = min(how["query"]["n"], how["most"] - len(labels))
        query = {**how["query"], "n": n}
        wanted = select(result.trajectory, labels.frames, query, potential=potential)
        if not len(wanted.indices):
            raise SystemExit("nothing is left to be labelled")
        labels.add(wanted.of(result.trajectory))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name in sys.argv[1:]:
        table = drawn(name.removesuffix(DRAWN)) if name.endswith(DRAWN) else campaign(name)
        (Path(__file__).parent / f"{name}.md").write_text("\n".join(table) + "\n")
