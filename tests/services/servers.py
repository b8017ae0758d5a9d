"""SLURM, PostgreSQL and RabbitMQ, each of its own in a folder, as long as a test wants it."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

POSTGRES = Path("/usr/lib/postgresql")
RABBITMQ = ("rabbitmq-server", "rabbitmqctl")
SLURM = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo")


class NotThere(Exception):
    """A server does not start on this machine."""


def missing() -> list[str]:
    """Return what is not here of all that the services need."""
    path = os.environ["PATH"] + ":/usr/sbin"
    found = [name for name in (*SLURM, *RABBITMQ) if shutil.which(name, path=path) is None]
    if not list(POSTGRES.glob("*/bin/initdb")):
        found.append("initdb")
    return found + ([] if os.geteuid() == 0 else ["the rights of root"])


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for(what: str, ready: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until something is there."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise NotThere(f"{what} did not come within {seconds:g} s")
        time.sleep(0.3)


@contextmanager
def running(
    *command: str, log: Path, user: str | None = None, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen]:
    """Let a server run in the foreground, and end it."""
    with log.open("wb") as file:
        server = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, user=user, env=env, cwd=log.parent
        )
        try:
            yield server
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def give_to(user: str, folder: Path) -> None:
    """Make a folder that belongs to a user, who must be able to get there."""
    folder.mkdir()
    shutil.chown(folder, user)


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Run a cluster of one node with two cores, and return the environment that knows it."""
    folder.mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    auth = folder / "munge.socket"
    for name in ("state", "spool"):
        (folder / name).mkdir()
    conf = folder / "slurm.conf"
    conf.write_text(f"""
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={auth}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MailProg=/bin/true
ReturnToService=2
KillWait=5
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName=localhost NodeHostName=localhost NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
""")
    env = {**os.environ, "SLURM_CONF": str(conf), "PATH": os.environ["PATH"] + ":/usr/sbin"}
    munge = (
        "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={auth}",
        f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log",
        f"--seed-file={folder}/munged.seed",
    )  # fmt: skip

    def idle() -> bool:
        told = subprocess.run(
            ["sinfo", "--noheader", "-o", "%T"], env=env, capture_output=True, text=True
        )
        return told.stdout.strip() == "idle"

    with running(*munge, log=folder / "munged.out", env=env):
        wait_for("munged", auth.exists)
        with (
            running("slurmctld", "-D", log=folder / "slurmctld.log", env=env),
            running("slurmd", "-D", "-N", "localhost", log=folder / "slurmd.log", env=env),
        ):
            wait_for("an idle node of SLURM", idle)
            yield env


@contextmanager
def postgres(folder: Path) -> Iterator[int]:
    """Run a server with a superuser ``aiida`` who is trusted, and return its port."""
    give_to("postgres", folder)
    bin = max(POSTGRES.glob("*/bin"))
    port = free_port()
    subprocess.run(
        [bin / "initdb", "-D", folder / "data", "-U", "aiida", "-A", "trust", "--no-sync"],
        check=True, user="postgres", capture_output=True, cwd=folder,
    )  # fmt: skip
    options = ("-c", "fsync=off", "-c", "listen_addresses=127.0.0.1")
    server = (str(bin / "postgres"), "-D", f"{folder}/data", "-p", str(port), "-k", str(folder))

    def ready() -> bool:
        told = subprocess.run(
            [bin / "pg_isready", "-h", "127.0.0.1", "-p", str(port)], capture_output=True
        )
        return told.returncode == 0

    with running(*server, *options, log=folder / "log", user="postgres"):
        wait_for("PostgreSQL", ready)
        command = (bin / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "aiida", "aiida")
        subprocess.run(command, check=True)
        yield port


@contextmanager
def rabbitmq(folder: Path) -> Iterator[int]:
    """Run a broker, and return its port."""
    give_to("rabbitmq", folder)
    port, epmd = free_port(), free_port()
    env = {
        "PATH": "/usr/lib/rabbitmq/bin:/usr/sbin:/usr/bin:/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "ERL_EPMD_PORT": str(epmd),
        "RABBITMQ_NODENAME": "mlal@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
        "RABBITMQ_LOG_BASE": f"{folder}/log",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
        "RABBITMQ_PID_FILE": f"{folder}/pid",
    }

    def ready() -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", port)) == 0

    try:
        with running(
            "/usr/lib/rabbitmq/bin/rabbitmq-server", log=folder / "out", user="rabbitmq", env=env
        ):
            wait_for("RabbitMQ", ready)
            yield port
    finally:
        subprocess.run(["epmd", "-port", str(epmd), "-kill"], env=env, capture_output=True)
