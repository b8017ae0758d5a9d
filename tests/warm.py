"""``mlal`` without the two seconds in which an interpreter imports torch.

A suite of campaigns runs hundreds of jobs. A server imports what jobs import and forks a process
for each; the program that stands in for ``mlal`` hands it its arguments, folder, environment and
streams, and ends as the fork ends. All else is the same code in a process of its own. Jobs that
bring packages of their own by ``PYTHONPATH`` get an interpreter of their own.
"""

import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path

MLAL = Path(sys.executable).with_name("mlal")

CLIENT = """#!{python} -IS
import json, os, socket, sys

link = socket.socket(socket.AF_UNIX)
try:
    if os.environ.get("PYTHONPATH") != {packages!r}:
        raise OSError("it brings packages of its own")
    link.connect({address!r})
except OSError:
    os.execv({mlal!r}, [{mlal!r}, *sys.argv[1:]])
task = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
socket.send_fds(link, [b"."], [0, 1, 2])
link.sendall(json.dumps(task).encode())
link.shutdown(socket.SHUT_WR)
status = link.recv(16)
sys.exit(int(status) if status else 1)
"""


def start(folder: Path) -> subprocess.Popen:
    """Start a server, which ends with this process, and write ``mlal``, the program that asks it.

    Whoever asks before it has imported all waits: an interpreter of its own would take no less.
    """
    address, program = folder / "socket", folder / "mlal"
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(address))
        door.listen(16)
        number = door.fileno()
        command = [sys.executable, __file__, str(number)]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[number])
    values = {"python": sys.executable, "address": str(address), "mlal": str(MLAL)}
    client = CLIENT.format(**values, packages=os.environ.get("PYTHONPATH"))
    written = folder / "mlal.new"
    written.write_text(client)
    written.chmod(0o755)
    written.rename(program)  # there at once, as others wait for it
    return server


def load() -> None:
    """Import what jobs import, also what they import late: ``torch.optim``, the compiler."""
    import torch._dynamo  # noqa: F401

    import aiida_mlal.ml
    from aiida_mlal.ml.fast.jit import jit

    for module in pkgutil.walk_packages(aiida_mlal.ml.__path__, "aiida_mlal.ml."):
        import_module(module.name)
    jit()(lambda x: 2 * x)(1.0)


def serve(number: int) -> None:
    """Fork a process for whoever asks at this socket, until the standard input is closed."""
    load()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks are not waited for
    with socket.socket(fileno=number) as door:
        while True:
            ready, _, _ = select.select([door, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            link, _ = door.accept()
            if os.fork() == 0:
                door.close()
                answer(link)
            link.close()


def answer(link: socket.socket) -> None:
    """Run what is asked for in a process of its own, and say how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(link, 1, 3)
    task = json.loads(b"".join(iter(lambda: link.recv(65536), b"")))
    pid = os.fork()
    if pid == 0:
        link.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        run(**task)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    link.sendall(str(status if status >= 0 else 128 - status).encode())
    os._exit(0)


def run(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Do what the console script ``mlal`` does, and end this process."""
    from aiida_mlal.ml.cli import mlal

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [str(MLAL), *arguments]
    status: object = 1
    try:
        status = mlal()
    except SystemExit as end:
        status = end.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(status or 0))


if __name__ == "__main__":
    serve(int(sys.argv[1]))
