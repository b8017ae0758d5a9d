"""Direct relaxations of what a campaign relaxed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from aiida.orm import Dict, ProcessNode

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.labelling.calculators import CalculatorOptions
from aiida_mlal.ml.minima import is_same_minimum
from aiida_mlal.ml.options import build
from aiida_mlal.ml.simulation.vibrations import modes
from aiida_mlal.ml.stops import OracleForce
from aiida_mlal.report import graph
from aiida_mlal.report.direct import OPTIMIZERS, DirectRelaxation, Minimum, read, relax


def direct_relaxation(node: ProcessNode, how: str) -> DirectRelaxation:
    """Return the direct relaxation in a file, or run one by an optimiser and the oracle.

    It says whether the first simulation of the campaign ended in the same minimum.

    Raises
    ------
    ValueError
        If ``how`` is neither, or the oracle cannot be run here.
    """
    cell = graph.moving_cell(node)
    if Path(how).exists():
        return _compared(node, read(Path(how), cell))
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
    fmax, smax_GPa = _tolerances(node)
    found = relax(start, options.build(), how, fmax, cell=cell, smax_GPa=smax_GPa)
    return _compared(node, found)


def _tolerances(node: ProcessNode) -> tuple[float, float]:
    """Return the labelled force (eV/Å) and stress (GPa) below which a structure is relaxed."""
    return (
        graph.tolerance(node) or OracleForce.fmax,
        graph.stress_tolerance(node) or OracleForce.smax_GPa,
    )


def _compared(node: ProcessNode, direct: DirectRelaxation) -> DirectRelaxation:
    """Add the minimum of a campaign, if both got to one, in place of the structure."""
    bare, relaxed = replace(direct, end=None), getattr(node.outputs, "relaxed", None)
    if relaxed is None or direct.end is None or not direct.is_relaxed(*_tolerances(node)):
        return bare
    cell, end = graph.moving_cell(node), relaxed.configurations[0]
    fmax, smax_GPa = _tolerances(node)
    if not (end.max_forces[0] < fmax and cell.largest(end.stresses)[0] < smax_GPa):
        return bare
    if not np.array_equal(end.numbers, direct.end.numbers):
        return bare
    (energy, *_), (of_direct, *_) = (
        cell.coordinates(one.to_ase()[0], direct.end.to_ase()[0]) for one in (end, direct.end)
    )
    same = is_same_minimum(direct.end, end, cell)
    curvature = None if same else _lowest_curvature(node, end)
    return replace(bare, minimum=Minimum(energy - of_direct, same, curvature))


def _lowest_curvature(node: ProcessNode, end: Configurations) -> float | None:
    """Return what the potential of a campaign says of the softest mode of atoms, in eV/Å²."""
    from aiida_mlal.ml.calculator import MLCalculator

    atoms = end.to_ase()[0]
    atoms.calc = MLCalculator(node.outputs.potential.load())
    lowest: float | None = modes(atoms, end.fixed).as_dict()["lowest_eigenvalue"]
    return lowest


def _calculator(process: ProcessNode) -> Dict | None:
    """Return the ASE calculator that a labelling process was given, whatever wraps it."""
    for label, node in graph.find_inputs(process).items():
        if label.rpartition("__")[2] == "calculator" and isinstance(node, Dict):
            return node
    return None
