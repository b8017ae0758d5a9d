"""Kill the daemon in each phase of an online campaign, and compare with one left in peace.

    python benchmarks/determinism/kill_daemon.py [PHASE ...]

A profile with a broker of its own (ZeroMQ) is made in a temporary folder. The campaign relaxes C on
Cu(100) by the protocol ``fast`` of ``mlal.online``, in two iterations; a label takes three seconds
and is counted by the calculator. While the last job of a phase runs, the supervisor, the broker
and the worker get SIGKILL. The daemon is started again five seconds later. How many jobs began is
counted by the jobs themselves. Numbers are written to kill_daemon.md, with the largest difference
between forces that the last potentials predict for what the campaign in peace has labelled.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
TESTS = HERE.parents[1] / "tests"
PHASES = {"train": 1, "simulate": 1, "select": 1, "label.ase": 2}
"""Kinds of jobs, and which of each is interrupted."""

SECONDS = 3.0
SUBMIT = "submit"


def command(*words: str) -> str:
    done = subprocess.run([str(BIN / words[0]), *words[1:]], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{words}: {done.stdout}{done.stderr}")
    return done.stdout


def submitted(code: str, counts: Path) -> Any:
    """Begin the campaign in a process that has met no broker before, and return its node."""
    from aiida.orm import load_node

    return load_node(command("python", __file__, SUBMIT, code, str(counts)).split()[-1])


def begin(code: str, counts: str) -> str:
    """Begin the campaign, and return the identifier of its node."""
    from aiida import load_profile
    from aiida.engine import submit
    from aiida.orm import StructureData, load_code
    from aiida.plugins import WorkflowFactory
    from ase.build import add_adsorbate, fcc100

    load_profile()
    atoms = fcc100("Cu", (1, 1, 3), a=3.6, vacuum=5.0)
    add_adsorbate(atoms, "C", 1.6, "hollow")
    atoms.pbc = (True, True, False)
    options = {"seconds": SECONDS, "counts": counts}
    builder = WorkflowFactory("mlal.online").get_builder_from_protocol(
        load_code(code),
        StructureData(ase=atoms),
        "fast",
        {"stop": [{"name": "iterations", "n": 2}]},
        labels={"name": "slow", "factory": "slow_emt:SlowEMT", "options": options},
        fixed=[0],
    )
    return str(submit(builder).uuid)


def jobs(node: Any, phase: str | None = None) -> list[Any]:
    """Return the jobs that a campaign has called so far."""
    from aiida.orm import CalcJobNode

    found = [one for one in node.called_descendants if isinstance(one, CalcJobNode)]
    end = "" if phase is None else f":mlal.{phase}"
    return sorted((one for one in found if one.process_type.endswith(end)), key=lambda one: one.pk)


def kill_everything() -> int:
    """Kill what belongs to the daemon of this profile, and return how many processes it was."""
    here = os.environ["AIIDA_PATH"].encode()
    mine = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes()
            ours = here in (entry / "environ").read_bytes()
        except (OSError, ValueError):
            continue
        if entry.name.isdecimal() and ours and b"verdi" in words and b"daemon" in words:
            mine.append(int(entry.name))
    for pid in mine:
        os.kill(pid, signal.SIGKILL)
    return len(mine)


def begin_again() -> None:
    """Start the daemon, and once more where its worker looks for the broker that was killed."""
    command("verdi", "daemon", "start", "1")
    time.sleep(8.0)
    (status,) = Path(os.environ["AIIDA_PATH"]).glob(".aiida/broker/*/broker.status")
    if not json.loads(status.read_text())["task_subscribers"]:
        print("the worker found no broker: the daemon is started once more", flush=True)
        subprocess.run([str(BIN / "verdi"), "daemon", "stop"], capture_output=True)
        command("verdi", "daemon", "start", "1")


def wait(node: Any, seconds: float = 1000.0) -> None:
    end = time.monotonic() + seconds
    while not node.is_terminated:
        if time.monotonic() > end:
            raise SystemExit(f"campaign {node.pk} is not over: {node.process_state}")
        time.sleep(1.0)


def told(name: str, node: Any, folder: Path, before: str, whole: Any) -> str:
    from aiida_mlal.ml.configurations import Configurations

    def frames(one: Any) -> Configurations:
        found: Configurations = one.outputs.dataset.configurations
        return found

    def forces(one: Any) -> Any:
        return one.outputs.potential.load().predict(frames(whole)).forces

    done = jobs(node)
    asked, begun = ((folder / f"{what}_{name}").read_text().split() for what in ("counts", "begun"))
    steps = [job.outputs.results["runs"][0]["steps"] for job in jobs(node, "simulate")]
    mine, theirs = frames(node).positions, frames(whole).positions
    apart = abs(mine - theirs).max() if mine.shape == theirs.shape else float("nan")
    wrong = abs(forces(node) - forces(whole)).max()
    return (
        f"| {name} | {before} | {node.exit_status} | {len(frames(node))} | {len(asked)} "
        f"| {len(done)} | {len(begun)} | {', '.join(map(str, steps))} | {apart:.1e} | {wrong:.1e} |"
    )


def main(folder: Path) -> None:
    import warm  # jobs that need no second to begin
    from aiida import load_profile
    from aiida.orm import InstalledCode, load_computer

    command("aiida-mlal", "setup", "--default", "--name", "kill")
    load_profile()
    rows = [
        "| killed in | labels before | exit status | labels | asked of the calculator | jobs "
        "| begun | at step | labelled structures differ, Å | forces predicted differ, eV/Å |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    command("verdi", "daemon", "start", "1")
    whole, program = None, str(warm.start(folder)[1])
    for phase in ("never", *(sys.argv[1:] or PHASES)):
        counts = folder / f"counts_{phase}"
        code = InstalledCode(
            label=f"warm_{phase}".replace(".", "_"),
            computer=load_computer("localhost"),
            filepath_executable=program,
            default_calc_job_plugin="mlal.train",
            prepend_text=f'export OMP_NUM_THREADS=1\necho "$PWD" >> {folder}/begun_{phase}',
        )
        node, before = submitted(code.store().uuid, counts), ""
        if phase != "never":
            while True:
                some = jobs(node, phase)[PHASES[phase] :]
                running = [job for job in some if job.get_job_id() is not None]
                if running and not running[0].is_terminated:
                    break
                if node.is_terminated:
                    raise SystemExit(f"campaign {node.pk} was over before {phase}")
                time.sleep(0.1)
            before = str(len(counts.read_text().split()))
            print(phase, "killed", kill_everything(), "processes", flush=True)
            time.sleep(5.0)
            begin_again()
        wait(node)
        whole = whole or node
        rows.append(told(phase, node, folder, before, whole))
        print(rows[-1], flush=True)
        if not sys.argv[1:]:
            (HERE / "kill_daemon.md").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    if SUBMIT in sys.argv:
        print(begin(*sys.argv[2:]))
        raise SystemExit
    sys.path += [str(TESTS), str(TESTS / "services")]
    with tempfile.TemporaryDirectory() as name:
        os.environ |= {
            "AIIDA_PATH": name,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(TESTS / "services"),
            "MLAL_ALLOWED_FACTORIES": "slow_emt",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        try:
            main(Path(name))
        finally:
            subprocess.run([str(BIN / "verdi"), "daemon", "stop"], capture_output=True)
