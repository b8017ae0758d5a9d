"""Direct relaxations of what a campaign relaxed."""

from pathlib import Path

from aiida.orm import Dict, ProcessNode

from aiida_mlal.ml.labelling.calculators import CalculatorOptions
from aiida_mlal.ml.options import build
from aiida_mlal.ml.stops import OracleForce
from aiida_mlal.report import graph
from aiida_mlal.report.direct import OPTIMIZERS, DirectRelaxation, read, relax


def direct_relaxation(node: ProcessNode, how: str) -> DirectRelaxation:
    """Return the direct relaxation in a file, or run one by an optimiser and the oracle.

    Raises
    ------
    ValueError
        If ``how`` is neither, or the oracle cannot be run here.
    """
    cell = graph.moving_cell(node)
    if Path(how).exists():
        return read(Path(how), cell)
    if how not in OPTIMIZERS:
        raise ValueError(f"expected a file or an optimiser of {list(OPTIMIZERS)}, got {how!r}")
    batches = graph.labelled(node)
    if not batches:
        raise ValueError("the campaign has no label yet to begin a direct relaxation from")
    calculator = _calculator(batches[0].process)
    if calculator is None:
        raise ValueError(
            "the labels do not come from an ASE calculator: give the trajectory of a direct "
            "relaxation as a file"
        )
    options = build(CalculatorOptions, calculator.get_dict(), "calculator")
    start = batches[0].dataset.configurations[0].to_ase()[0]
    return relax(
        start,
        options.build(),
        how,
        graph.tolerance(node) or OracleForce.fmax,
        cell=cell,
        smax_GPa=graph.stress_tolerance(node) or OracleForce.smax_GPa,
    )


def _calculator(process: ProcessNode) -> Dict | None:
    """Return the ASE calculator that a labelling process was given, whatever wraps it."""
    for label, node in graph.find_inputs(process).items():
        if label.rpartition("__")[2] == "calculator" and isinstance(node, Dict):
            return node
    return None
