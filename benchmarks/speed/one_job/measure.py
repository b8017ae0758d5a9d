"""Wall time of an iteration by three jobs and by one, on a cluster of SLURM of one node.

    python benchmarks/speed/one_job/measure.py [ROUNDS]

PostgreSQL, RabbitMQ, SLURM and a daemon of two workers are begun for it, as the tests do (it needs
their Debian packages). Campaigns of C on Cu(100) with labels of EMT and a budget of five run one at
a time, by three jobs an iteration and by one in turns; labels are jobs of their own in both.
Nobody else waits in this queue: each job less saves the waiting time of a real one on top. Results
are ``results.json`` beside this file.
"""

import json
import sys
import tempfile
from pathlib import Path
from statistics import median

from ase.build import add_adsorbate, fcc100
from ase.constraints import FixAtoms
from ase.io import write

HERE = Path(__file__).parent
sys.path += [str(HERE.parents[2] / "tests"), str(HERE.parents[2] / "tests" / "services")]

LABELS = 5
WAYS = {"three jobs": (), "one job": ("--one-job",)}


def main(rounds: int) -> None:
    """Run the campaigns and print a row each."""
    from services.test_cluster import a_site, launch

    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="mlal-cluster-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with a_site(folder) as site:
            write(folder / "slab.traj", slab())
            for _ in range(rounds):
                for way, options in WAYS.items():
                    pk = launch(
                        site, folder / "slab.traj", "--labels", "emt", "--fmax", "0.0001",
                        "--max-labels", LABELS, *options,
                    )  # fmt: skip
                    site.wait(pk, 1200)
                    found[way].append(json.loads(site.ask(COUNT.format(pk=pk))))
                    print(way, found[way][-1], flush=True)
    (HERE / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    for way, rows in found.items():
        seconds = median(row["seconds"] / row["iterations"] for row in rows)
        jobs = median((row["jobs"] - 1) / row["iterations"] for row in rows)
        print(f"{way}: {seconds:.1f} s and {jobs:g} jobs an iteration, median of {len(rows)}")


COUNT = """
import json
from aiida.orm import CalcJobNode, load_node
node = load_node({pk})
jobs = [one for one in node.called_descendants if isinstance(one, CalcJobNode)]
rows = node.outputs.curve["rows"]
print(json.dumps({{
    "seconds": (node.mtime - node.ctime).total_seconds(),
    "jobs": len(jobs),
    "labels": rows[-1]["labels"],
    "iterations": len(rows),
}}))
"""


def slab():
    """Return C on Cu(100), its lowest layer fixed."""
    atoms = fcc100("Cu", (2, 2, 3), a=3.6, vacuum=5.0)
    add_adsorbate(atoms, "C", 1.2, "hollow", offset=0.1)
    atoms.pbc = True
    atoms.set_constraint(FixAtoms([atom.index for atom in atoms if atom.tag == 3]))
    return atoms


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
