"""Labels and iterations of relaxations by ``gp``, where several labels are computed at once.

    python batches.py emt|7net [QUERY] [--labels FILE] [SYSTEM ...]

Of each iteration the query (default ``believer``) chooses one, two or four structures. Cells are
iterations after the first label, and all labels. Rows are written to ``KIND_QUERY.md`` beside this
file where all systems are done.
"""

import argparse
from pathlib import Path

from relax import Relaxed, asked_for, given_by, learned
from systems import systems

SYSTEMS = ("C on Cu(100)", "O on Pt(111)", "N2", "methanol", "vacancy in Al", "Au19")
AT_ONCE = (1, 2, 4)


def cell(found: Relaxed) -> str:
    """Return iterations and labels."""
    return f"{found.iterations}, {found.said}" if found.said != "fails" else "fails"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("emt", "7net"))
    parser.add_argument("query", nargs="?", default="believer")
    parser.add_argument("system", nargs="*", default=SYSTEMS)
    asked, inner = asked_for(parser)
    rows = [
        f"| labels {asked.kind}, {asked.query} | "
        + " | ".join(map("n = {}".format, AT_ONCE))
        + " |",
        "|---" * (1 + len(AT_ONCE)) + "|",
    ]
    known = systems()
    for name in asked.system:
        cells = []
        for n in AT_ONCE:
            given = given_by("gp", known[name])
            given["query"] = {"name": asked.query, "n": n}
            cells.append(cell(learned(known[name], inner, given, lambda line: None)))
        rows.append(f"| {name} | {' | '.join(cells)} |")
        print(rows[-1], flush=True)
    if asked.system == SYSTEMS:
        path = Path(__file__).parent / f"{asked.kind}_{asked.query}.md"
        path.write_text("\n".join(rows) + "\n")
