"""The same as ``run.py`` within AiiDA, on a smaller scale: what ``mlal.pool`` costs and keeps.

    python benchmarks/science/ethanol/campaign.py DATA [--epochs 60] [--size 225]

Uses the default profile, which ``aiida-mlal setup --default`` makes. Writes ``campaign.json``
beside this file: errors, where the time went, the size of the archive, and how many nodes lie on
the way from the last potential back to each selection.
"""

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path
from time import process_time

import numpy as np
from aiida import load_profile
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.orm import Node, load_code
from aiida.plugins import WorkflowFactory
from run import PROTOCOLS, load

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.report.archive import ancestry, export
from aiida_mlal.report.numbers import collect

HERE = Path(__file__).resolve().parent
SCALED = PROTOCOLS["scaled"]


def main() -> None:
    """Run the campaign and measure it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--size", type=int, default=225)
    given = parser.parse_args()
    load_profile()
    structures = load(given.data)
    order = np.random.default_rng(0).permutation(len(structures))
    training = {**SCALED.training, "epochs": given.epochs, "precision": "single"}
    builder = WorkflowFactory("mlal.pool").get_builder_from_protocol(
        load_code("mlal@localhost"),
        DatasetData(structures[np.sort(order[1000:])]),
        test=DatasetData(structures[np.sort(order[:1000])]),
        overrides={
            "model": SCALED.model,
            "training": {**training, "patience": None},
            "uncertainty": {"name": "oed"},
            "query": {"name": "oed"},
            "growth": SCALED.growth,
            "first_query": {"name": "random", "n": SCALED.first},
            "validation": {"n": SCALED.n_validation, "redraw": True},
            "stop": [{"name": "size", "n": given.size}],
        },
    )
    begin = process_time()
    results, node = run_get_node(builder)
    own = process_time() - begin
    if not node.is_finished_ok:
        raise SystemExit(f"{node.exit_status}: {node.exit_message}")
    report = collect(node)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "campaign.aiida"
        meant = ancestry(node)
        export(meant, path)
        size = path.stat().st_size
    found = {
        "rows": results["curve"].get_dict()["rows"],
        "wall_seconds": report.wall,
        "cpu_seconds_of_aiida": own,
        "seconds_in_no_job": report.overhead,
        "timings": [
            {"process": t.process, "count": t.count, "wall": t.wall, "computing": t.computing}
            for t in report.timings
        ],
        "archive_bytes": size,
        "bytes_of_labels_given": len(builder.candidates.content) + len(builder.test.content),
        "nodes": len(meant.files),
        "kinds": dict(Counter(type(n).__name__ for n in before(results["potential"]).values())),
        "steps_to_selections": {
            name: way(results["potential"], selection)
            for name, selection in sorted(results["selections"].items())
        },
    }
    (HERE / "campaign.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({k: v for k, v in found.items() if k != "rows"}, indent=1))


def before(node: Node) -> dict[str, Node]:
    """Return all nodes that a node came from."""
    found: dict[str, Node] = {}
    waiting = [node]
    while waiting:
        one = waiting.pop()
        for other in _origins(one):
            if other.uuid not in found:
                found[other.uuid] = other
                waiting.append(other)
    return found


def way(node: Node, origin: Node) -> list[str]:
    """Return the shortest way back from a node to the process that made another one."""
    ways: dict[str, list[str]] = {node.uuid: []}
    waiting = [node]
    while waiting:
        one = waiting.pop(0)
        if one.uuid == origin.creator.uuid:
            return ways[one.uuid]
        for other in _origins(one):
            if other.uuid not in ways:
                ways[other.uuid] = [*ways[one.uuid], _name(other)]
                waiting.append(other)
    raise SystemExit(f"no way leads from {node} to {origin}")


def _origins(node: Node) -> list[Node]:
    return node.base.links.get_incoming(
        link_type=(LinkType.CREATE, LinkType.INPUT_CALC)
    ).all_nodes()


def _name(node: Node) -> str:
    return node.process_label if hasattr(node, "process_label") else type(node).__name__


if __name__ == "__main__":
    main()
