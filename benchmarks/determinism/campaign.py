"""Hashes of all data of a campaign by AiiDA, with cold and warm caches, on one thread and two.

``python campaign.py`` runs the demo (protocol ``fast``) in a profile of its own for each setting,
and writes ``campaign.txt``: the number of data nodes, and a hash of their contents in the order in
which they were made. Lines of one thread, the default, must be equal; with two, sums of matrix
products have other last digits, so that hashes may differ, and only numbers of nodes must not.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

SETTINGS = {
    "cold cache, 1 thread": ("cold", 1),
    "warm cache, 1 thread": ("cold", 1),
    "warm cache, 2 threads": ("cold", 2),
    "cold cache, 2 threads": ("other", 2),
}
HASHES = """
import hashlib, sys
from pathlib import Path
from aiida_mlal.cli import demo, profile
demo.use_folder(Path(sys.argv[1]))
profile.load_profile(demo.PROFILE)
from aiida.orm import QueryBuilder
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.potential import PotentialData
from aiida_mlal.data.selection import SelectionData
for kind in (DatasetData, PotentialData, SelectionData):
    query = QueryBuilder().append(kind, project="*").order_by({kind: "id"})
    digest = hashlib.sha256()
    for (node,) in query.iterall():
        if kind is DatasetData:  # its file has the UUIDs of nodes that labelled, too
            digest.update(node.configurations.to_bytes())
            continue
        for name in sorted(node.base.repository.list_object_names()):
            digest.update(node.base.repository.get_object_content(name, mode="rb"))
    print(f"{query.count()} {kind.__name__} {digest.hexdigest()[:12]}")
"""


def main() -> None:
    binaries = Path(sys.executable).parent
    lines, counts, hashes = [], set(), set()
    with tempfile.TemporaryDirectory() as folder:
        for k, (name, (cache, threads)) in enumerate(SETTINGS.items()):
            home = Path(folder) / f"campaign{k}"
            environment = {
                **os.environ,
                "AIIDA_PATH": str(home),
                "NUMBA_CACHE_DIR": str(Path(folder) / cache),
                "OMP_NUM_THREADS": str(threads),
                "MKL_NUM_THREADS": str(threads),
            }
            (home / ".aiida").mkdir(parents=True)
            command = [str(binaries / "aiida-mlal"), "demo", "--protocol", "fast"]
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
            found = subprocess.run(
                [sys.executable, "-c", HASHES, str(home)],
                check=True,
                env=environment,
                capture_output=True,
                text=True,
            )
            kinds = found.stdout.splitlines()
            lines.append(f"{name:23s} {'  '.join(kinds)}")
            print(lines[-1], flush=True)
            counts.add(tuple(kind.split()[0] for kind in kinds))
            if threads == 1:
                hashes.add(tuple(kinds))
    (Path(__file__).parent / "campaign.txt").write_text("\n".join(lines) + "\n")
    if len(hashes) > 1 or len(counts) > 1:
        raise SystemExit("the campaigns differ")


if __name__ == "__main__":
    main()
