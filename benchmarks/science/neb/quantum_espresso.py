"""The inversion of ammonia with pw.x: directly, by the recipe ``neb``, and by neb.x.

    python benchmarks/science/neb/quantum_espresso.py direct|learned|neb.x ...

Cheap settings: a cell of 6 Å, cutoffs of 25 and 150 Ry, PBE. Both ends are the same pyramid,
nitrogen below and above its hydrogen atoms, not relaxed. ``direct`` is a climbing band of ASE of
five images with BFGS, ``neb.x`` that of Quantum ESPRESSO by ``NebBaseWorkChain``, whose ends move
as well; all go to 0.05 eV/Å. ``learned`` and ``neb.x`` use the default profile, which
``aiida-mlal setup --default --pseudos FOLDER`` makes; FOLDER has the files named below. Rows are
written to ``quantum_espresso.md`` beside this file.
"""

import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
from ase import Atoms
from ase.calculators.espresso import Espresso, EspressoProfile
from run import FMAX, direct, keep

IMAGES = 5
PSEUDOS = "/usr/share/espresso/pseudo"
NAMES = {"N": "N.pbe-kjpaw.UPF", "H": "H.pbe-kjpaw.UPF"}
PARAMETERS = {
    "CONTROL": {"calculation": "scf", "tprnfor": True},
    "SYSTEM": {"ecutwfc": 25.0, "ecutrho": 150.0, "occupations": "fixed"},
    "ELECTRONS": {"conv_thr": 1e-7, "mixing_beta": 0.5},
}
HEADS = ["| way | calls or labels | barrier, eV | back | seconds |", "|---|---|---|---|---|"]


def ends() -> list[Atoms]:
    """Return ammonia with nitrogen below its hydrogen atoms, and above them."""
    angles = 2 * np.pi * np.arange(3) / 3
    ring = 0.95 * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    found = []
    for side in (-1, 1):
        atoms = Atoms("NH3", [[0, 0, 0.4 * side], *ring], cell=[6.0] * 3, pbc=True)
        atoms.positions += 3.0
        found.append(atoms)
    return found


def by_ase() -> str:
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        inner = Espresso(
            profile=EspressoProfile("pw.x", PSEUDOS),
            directory=folder,
            input_data={name.lower(): dict(values) for name, values in PARAMETERS.items()},
            pseudopotentials=NAMES,
        )
        calls, barrier, _ = direct(ends(), inner, IMAGES)
    return f"climbing band of ASE, BFGS | {calls} | {barrier:.4f} | |"


def learned() -> str:
    from aiida.engine import run_get_node
    from aiida.orm import Dict, KpointsData, load_code
    from aiida.plugins import WorkflowFactory

    from aiida_mlal.data.dataset import DatasetData

    builder = WorkflowFactory("mlal.offline").get_builder_from_protocol(
        {"mlal": load_code("mlal@localhost"), "label": load_code("pw@localhost")},
        DatasetData.from_ase(ends()),
        labels="quantumespresso",
        recipe="neb",
        overrides={
            "label": {
                "pseudo_family": "mlal",
                "pw": {
                    "parameters": PARAMETERS,
                    "metadata": {"options": {"withmpi": False}},
                },
            }
        },
    )
    builder.label["pw"]["parameters"] = Dict(PARAMETERS)  # without smearing, tight enough
    builder.label["pw"]["settings"] = Dict({"gamma_only": True})
    builder.label.pop("kpoints_distance", None)
    builder.label["kpoints"] = KpointsData()
    builder.label["kpoints"].set_kpoints_mesh([1, 1, 1])
    results, node = run_get_node(builder)
    if not node.is_finished_ok:
        raise SystemExit(f"campaign {node.pk}: {node.exit_message}")
    (path,) = results["paths"]["paths"]
    print(path)
    modes = path["modes"]
    told = f"{modes['n_imaginary']} imaginary: {np.round(modes['imaginary_per_cm'])}/cm"
    return (
        f"recipe `neb`, balanced ({told}) | {len(results['dataset'])} "
        f"| {path['labelled_barrier']:.4f} | {path['labelled_barrier_back']:.4f} |"
    )


def by_neb_x() -> str:
    from aiida.engine import run_get_node
    from aiida.orm import (
        Dict,
        InstalledCode,
        KpointsData,
        StructureData,
        TrajectoryData,
        load_computer,
    )
    from aiida.plugins import WorkflowFactory
    from aiida_pseudo.groups.family import PseudoPotentialFamily

    builder = WorkflowFactory("quantumespresso.neb.base").get_builder()
    builder.neb.code = InstalledCode(
        label="neb",
        computer=load_computer("localhost"),
        filepath_executable="/usr/bin/neb.x",
        default_calc_job_plugin="quantumespresso.neb",
        prepend_text="export OMP_NUM_THREADS=1",
    ).store()
    structures = [StructureData(ase=atoms) for atoms in ends()]
    builder.neb.images = TrajectoryData(structures)
    builder.neb.parameters = Dict(
        {
            "PATH": {
                "num_of_images": IMAGES,
                "ci_scheme": "auto",
                "opt_scheme": "broyden",
                "first_last_opt": True,
                "path_thr": FMAX,
                "nstep_path": 60,
            }
        }
    )
    builder.neb.pw.parameters = Dict(PARAMETERS)
    family = PseudoPotentialFamily.collection.get(label="mlal")
    builder.neb.pw.pseudos = family.get_pseudos(structure=structures[0])
    builder.neb.settings = Dict({"gamma_only": True})
    builder.neb.metadata.options.withmpi = False
    builder.neb.metadata.options.resources = {"num_machines": 1}
    builder.kpoints = KpointsData()
    builder.kpoints.set_kpoints_mesh([1, 1, 1])
    results, node = run_get_node(builder)
    if not node.is_finished_ok:
        raise SystemExit(f"neb.x {node.pk}: {node.exit_message}")
    files = node.called[-1].outputs.retrieved.base.repository
    calls = sum(
        files.get_object_content(f"aiida_{i + 1}/PW.out").count("!    total energy")
        for i in range(IMAGES)
    )
    told = results["output_parameters"].get_dict()
    print({key: value for key, value in told.items() if not key.startswith("pw_output")})
    barriers = [told[f"{way}_activation_energy"] for way in ("forward", "backward")]
    return f"`neb.x`, Broyden | {calls} | {barriers[0]:.4f} | {barriers[1]:.4f} |"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        if name != "direct":
            from aiida import load_profile

            load_profile()
        begin = perf_counter()
        told = {"direct": by_ase, "learned": learned, "neb.x": by_neb_x}[name]()
        row = f"| {told} {perf_counter() - begin:.0f} |"
        print(row, flush=True)
        keep(Path(__file__).parent / "quantum_espresso.md", HEADS, row)
