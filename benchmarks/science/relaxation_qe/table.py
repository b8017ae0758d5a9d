"""Write ``table.md`` from what ``direct.py`` and ``offline.py`` found.

python benchmarks/science/relaxation_qe/table.py
"""

import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def main() -> None:
    direct, offline = (
        json.loads((HERE / f"{name}.json").read_text()) for name in ("direct", "offline")
    )
    last = direct["steps"][-1]
    moved = np.abs(np.array(offline["positions"]) - np.array(direct["positions"]))
    rows = [
        ("direct BFGS", direct["labels"], last["fmax"], last["energy"], last["seconds"]),
        *[
            (f"`mlal.offline`, {what}", offline["labels"], offline["fmax"], energy, seconds)
            for what, energy, seconds in (
                ("label at its end", offline["energy"], offline["seconds"]),
                ("prediction there", offline["predicted_energy"], offline["seconds"]),
            )
        ],
    ]
    lines = [
        "# C on Cu(100), pw.x (PBE, 25/150 Ry, 2x2x1 k-points), to 0.05 eV/Å",
        "",
        "| | labels | largest force (eV/Å) | energy (eV) | less direct (eV) | seconds |",
        "|---|---|---|---|---|---|",
        *[
            f"| {name} | {labels} | {fmax:.3f} | {energy:.4f} | {energy - last['energy']:+.4f} "
            f"| {seconds:.0f} |"
            for name, labels, fmax, energy, seconds in rows
        ],
        "",
        f"Structures differ by {moved.sum(axis=1).mean():.4f} Å in the mean over atoms (as table 3 "
        f"of Shuaibi et al. defines it), by {np.linalg.norm(moved, axis=1).max():.4f} Å at most.",
    ]
    (HERE / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
