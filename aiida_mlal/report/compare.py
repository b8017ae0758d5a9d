"""Direct relaxations of what a campaign relaxed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from aiida.common.exceptions import NotExistent
from aiida.engine import ProcessBuilder
from aiida.orm import CalcJobNode, Dict, ProcessNode, load_node

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.labelling.calculators import CalculatorOptions
from aiida_mlal.ml.labelling.vasp import VASPRUN
from aiida_mlal.ml.minima import is_same_minimum
from aiida_mlal.ml.options import build
from aiida_mlal.ml.simulation.vibrations import modes
from aiida_mlal.ml.stops import OracleForce
from aiida_mlal.report import graph
from aiida_mlal.report.direct import (
    OPTIMIZERS,
    DirectRelaxation,
    Minimum,
    read,
    relax,
    summary,
)


def direct_relaxation(node: ProcessNode, how: str) -> DirectRelaxation:
    """Return a direct relaxation: of a file, of a process, or run now by an optimiser of ASE.

    It says whether the first simulation of the campaign ended in the same minimum.

    Parameters
    ----------
    how
        A file that ASE can read, the PK or UUID of a process of the code that made the labels, or
        the name of an optimiser.

    Raises
    ------
    ValueError
        If ``how`` is none of these, the process or file has no labelled frames, or the oracle
        cannot be run here.
    """
    first, cell = _first(node), graph.moving_cell(node)
    start, (fmax, smax_GPa) = first.dataset.configurations[0], _tolerances(node)
    if how in OPTIMIZERS:
        calculator = _calculator(first.process)
        if calculator is None:
            raise ValueError(
                "the labels do not come from an ASE calculator: give the PK or the file of a "
                f"direct relaxation; `aiida-mlal launch direct {node.pk}` runs one"
            )
        options = build(CalculatorOptions, calculator.get_dict(), "calculator")
        found = relax(start.to_ase()[0], options.build(), how, fmax, cell=cell, smax_GPa=smax_GPa)
        return _compared(node, found)
    if Path(how).exists():
        name, frames = Path(how).stem, read(Path(how))
    else:
        process = _process(how)
        name, frames = f"direct {process.process_label}", frames_of(process)
    return _compared(node, summary(name, frames, start, cell, fmax, smax_GPa))


def direct_builder(node: ProcessNode) -> ProcessBuilder:
    """Return the process by which the code of a campaign's labels relaxes its first structure.

    Raises
    ------
    ValueError
        If the code has none, or the campaign no label yet.
    """
    first, (fmax, smax_GPa) = _first(node), _tolerances(node)
    labelling: Any = first.process.process_class
    if _calculator(first.process) is not None:
        raise ValueError(
            "the labels come from an ASE calculator, which an optimiser of ASE relaxes: "
            f"`aiida-mlal report {node.pk} --direct BFGS`"
        )
    inputs = first.process.get_builder_restart()._inputs(prune=True)
    start, cell = first.dataset.configurations[0], graph.moving_cell(node)
    builder: ProcessBuilder = labelling.relaxation(inputs, start, cell, fmax, smax_GPa)
    builder["metadata"]["label"] = f"direct relaxation for {node.pk}"
    return builder


def frames_of(process: ProcessNode) -> Configurations:
    """Return each geometry that the jobs of a process labelled, in their order, by ASE's readers.

    Raises
    ------
    ValueError
        If none of its jobs retrieved a file with forces.
    """
    found = []
    jobs = [one for one in (process, *graph.descendants(process)) if isinstance(one, CalcJobNode)]
    for job in jobs:
        if "retrieved" not in job.outputs:
            continue
        files = job.outputs.retrieved.base.repository
        for name in (VASPRUN, job.get_option("output_filename")):
            if name in files.list_object_names():
                with files.as_path(name) as path:
                    found.append(read(path))
                break
    if not found:
        raise ValueError(f"process {process.pk} ({process.process_label}) has no files to read")
    return Configurations.concatenate(found)


def _process(identifier: str) -> ProcessNode:
    try:
        node = load_node(identifier)
    except (NotExistent, ValueError) as error:
        raise ValueError(
            f"expected a file, a PK or UUID, or an optimiser of {list(OPTIMIZERS)}, got "
            f"{identifier!r}"
        ) from error
    if not isinstance(node, ProcessNode) or not node.is_terminated:
        raise ValueError(f"{identifier}: expected a process that has ended, got {node}")
    return node


def _first(node: ProcessNode) -> graph.Batch:
    batches = graph.labelled(node)
    if not batches:
        raise ValueError("the campaign has no label yet to begin a direct relaxation from")
    return batches[0]


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
    """Compute the lowest eigenvalue of the Hessian of the potential of a campaign, in eV/Å²."""
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
