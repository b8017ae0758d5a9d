"""Campaigns as on a cluster: a daemon with RabbitMQ, a database of PostgreSQL, jobs by SLURM."""

import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from ase.build import add_adsorbate, fcc100
from ase.constraints import FixAtoms
from ase.io import write
from services import servers

BIN = Path(sys.executable).parent

pytestmark = pytest.mark.skipif(
    bool(servers.missing()), reason=f"needs {', '.join(servers.missing())}"
)


class Site:
    """A profile and a cluster, and the command line there."""

    def __init__(self, folder, env):
        self.folder, self.env = folder, env

    def run(self, *command, check=True, seconds=300):
        done = subprocess.run(
            [BIN / command[0], *map(str, command[1:])],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert not (check and done.returncode), f"{command}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def ask(self, code, seconds=300):
        """Return what Python in the profile prints."""
        script = self.folder / "ask.py"
        script.write_text(code)
        return self.run("verdi", "run", script, seconds=seconds).strip().splitlines()[-1]

    def wait(self, pk, seconds=600):
        """Wait until a process is over, and return its exit status and message."""
        said = self.ask(
            "import time\nfrom aiida.orm import load_node\n"
            f"node, end = load_node({pk}), time.monotonic() + {seconds}\n"
            "while not node.is_terminated and time.monotonic() < end:\n    time.sleep(1)\n"
            "print(node.is_terminated, node.exit_status, node.exit_message)\n",
            seconds + 60,
        )
        if not said.startswith("True 0 "):
            print(self.run("verdi", "process", "report", pk))
        if said.startswith("False"):
            pytest.fail(self.run("verdi", "process", "list", "-a"))
        return said.removeprefix("True ")


@pytest.fixture(scope="module")
def site():
    # not in the folder of pytest, which other sessions close to the users of servers
    with tempfile.TemporaryDirectory(prefix="mlal-cluster-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with ExitStack() as stack:
            try:
                made = stack.enter_context(a_site(folder))
            except servers.NotThere as error:
                pytest.skip(str(error))
            yield made


@contextmanager
def a_site(folder):
    with (
        servers.postgres(folder / "postgres") as database,
        servers.rabbitmq(folder / "rabbitmq") as broker,
        servers.slurm(folder / "slurm") as env,
    ):
        env = {
            **env,
            "AIIDA_PATH": str(folder),
            "OMP_NUM_THREADS": "1",
            "PATH": f"{BIN}:{env['PATH']}",
        }
        made = Site(folder, env)
        run = made.run
        run(
            "verdi", "profile", "setup", "core.psql_dos", "-n", "--profile-name", "cluster",
            "--email", "someone@there", "--database-hostname", "127.0.0.1",
            "--database-port", database, "--database-name", "aiida",
            "--database-username", "aiida", "--database-password", "aiida",
            "--repository-uri", f"file://{folder}/repository",
        )  # fmt: skip
        run(
            "verdi", "profile", "configure-broker", "core.rabbitmq", "cluster", "-n", "-f",
            "--broker-protocol", "amqp", "--broker-username", "guest",
            "--broker-password", "guest", "--broker-host", "127.0.0.1",
            "--broker-port", broker, "--broker-virtual-host", "",
        )  # fmt: skip
        run("verdi", "config", "set", "warnings.rabbitmq_version", "False")
        run("verdi", "config", "set", "runner.poll.interval", "1")
        run(
            "verdi", "computer", "setup", "-n", "--label", "cluster", "--hostname", "localhost",
            "--transport", "core.local", "--scheduler", "core.slurm",
            "--work-dir", folder / "scratch", "--mpiprocs-per-machine", "1",
            "--mpirun-command", "srun -n {tot_num_mpiprocs}",
            "--prepend-text", f"export SLURM_CONF={env['SLURM_CONF']}",
        )  # fmt: skip
        run("verdi", "computer", "configure", "core.local", "cluster", "-n", "--safe-interval", "0")
        code = (
            "from aiida.orm import load_computer\n"
            "computer = load_computer('cluster')\n"
            "computer.set_minimum_job_poll_interval(1)\nprint('done')\n"
        )
        assert made.ask(code) == "done"
        run(
            "verdi", "code", "create", "core.code.installed", "-n", "--label", "mlal",
            "--computer", "cluster", "--filepath-executable", BIN / "mlal",
            "--default-calc-job-plugin", "mlal.train", "--no-with-mpi",
            "--prepend-text", f"export OMP_NUM_THREADS=1 PYTHONPATH={Path(__file__).parent} "
            "MLAL_ALLOWED_FACTORIES=slow_emt",
        )  # fmt: skip
        run("verdi", "daemon", "start", "2")
        try:
            yield made
        finally:
            run("verdi", "daemon", "stop", check=False)


@pytest.fixture
def slab(tmp_path):
    atoms = fcc100("Cu", (1, 1, 3), a=3.6, vacuum=5.0)
    add_adsorbate(atoms, "C", 1.2, "hollow")
    atoms.pbc = True
    atoms.set_constraint(FixAtoms([0]))
    write(tmp_path / "slab.traj", atoms)
    return tmp_path / "slab.traj"


def launch(site, slab, *options):
    said = site.run(
        "aiida-mlal", "launch", "offline", slab, "--code", "mlal@cluster", "--daemon", *options
    )
    return int(said.partition("submitted campaign ")[2].split()[0])


def test_a_campaign_of_the_daemon_by_slurm(site, slab):
    """Every job is one of SLURM, and the archive of the campaign is complete."""
    pk = launch(site, slab, "--protocol", "fast", "--labels", "emt", "--max-labels", 2)
    assert site.wait(pk).startswith("410 The budget is spent")
    jobs = json.loads(
        site.ask(
            "import json\nfrom aiida.orm import load_node, CalcJobNode\n"
            f"called = load_node({pk}).called_descendants\n"
            "jobs = [node for node in called if isinstance(node, CalcJobNode)]\n"
            "print(json.dumps([[j.process_label, j.get_job_id(), j.exit_status] for j in jobs]))\n"
        )
    )
    assert {status for *_, status in jobs} == {0}
    assert len({number for _, number, _ in jobs}) == len(jobs) == 5
    assert "all there after import" in site.run("aiida-mlal", "archive", pk, "-o", "whole.aiida")


def submit_labels(site, n, seconds, walltime, **more):
    """Submit labels by a slow calculator, and return the process and the file of its counts."""
    counts = site.folder / f"counts_{n}"
    said = site.ask(f"""
from aiida.engine import submit
from aiida.orm import Dict, load_code
from aiida.plugins import WorkflowFactory
from ase.build import bulk
from aiida_mlal.data.dataset import DatasetData

frames = [bulk("Cu", a=3.5 + 0.01 * i) for i in range({n})]
builder = WorkflowFactory("mlal.label.ase").get_builder()
builder.dataset = DatasetData.from_ase(frames)
builder.ase.calculator = Dict({{
    "name": "slow",
    "factory": "slow_emt:SlowEMT",
    "options": {{"seconds": {seconds}, "counts": "{counts}"}},
}})
builder.ase.code = load_code("mlal@cluster")
builder.ase.metadata.options.max_wallclock_seconds = {walltime}
builder.ase.metadata.options.resources = {{"num_machines": 1}}
for name, value in {more}.items():
    builder[name] = value
print(submit(builder).pk)
""")
    return int(said), counts


def jobs_and_statuses(site, pk):
    """Return exit statuses of the jobs of a labelling process, and what became of structures."""
    return json.loads(
        site.ask(
            "import json\nfrom aiida.orm import load_node\n"
            f"node = load_node({pk})\n"
            "status = node.outputs.dataset.configurations.status.tolist()\n"
            "jobs = [child.exit_status for child in node.called if hasattr(child, 'get_job_id')]\n"
            "print(json.dumps([jobs, status]))\n"
        )
    )


def test_labels_go_on_where_the_walltime_ended_a_job(site):
    """SLURM ends the job after a minute or so: no label is lost, none computed twice."""
    pk, counts = submit_labels(site, 14, 7.0, 60)
    assert site.wait(pk) == "0 None"
    jobs, status = jobs_and_statuses(site, pk)
    assert status == ["ok"] * 14
    assert len(jobs) == 2
    asked = counts.read_text().split()
    assert len(set(asked)) == 2  # processes
    assert len(asked) == 14


def test_a_killed_job_marks_no_structure_as_failed(site):
    pk, counts = submit_labels(site, 2, 30.0, 600, batch_size=1)
    said = site.ask(  # in one script: another start of Python takes long enough for a job to end
        "import time\nfrom aiida.engine.processes import control\nfrom aiida.orm import load_node\n"
        f"node, end, jobs = load_node({pk}), time.monotonic() + 120, []\n"
        "while len(jobs) < 2 and time.monotonic() < end:\n"
        "    time.sleep(0.3)\n"
        "    called = sorted(node.called, key=lambda one: one.pk)\n"
        "    jobs = [one for one in called if hasattr(one, 'get_job_id') and one.get_job_id()]\n"
        "control.kill_processes(jobs[-1:], timeout=60)\n"
        "print('jobs', len(jobs))\n"
    )
    assert said == "jobs 2"
    assert site.wait(pk).startswith("412 1 of 2 structures were not tried")
    jobs, status = jobs_and_statuses(site, pk)
    assert sorted(map(str, jobs)) == ["0", "None"]
    assert sorted(status) == ["ok", "unlabelled"]
    assert len(counts.read_text().split()) == 1
