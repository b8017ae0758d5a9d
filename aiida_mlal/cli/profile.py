"""What a campaign needs to run: profile, computer, codes. Each is made unless it is there."""

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiida.manage.configuration import Profile
    from aiida.orm import Computer, InstalledCode

EMAIL = "aiida@localhost"
COMPUTER = "localhost"
MLAL = "mlal"
PW = "pw"
VASP = "vasp"


def create_profile(name: str, broker: str | None = None, default: bool = False) -> bool:
    """Create a profile with SQLite and without services; return whether there was none.

    ``broker`` is an entry point such as ``core.zeromq``, which a daemon needs. The profile becomes
    the default one if asked for or if there is no other.
    """
    from aiida.manage import configuration
    from aiida.plugins import BrokerFactory

    config = configuration.get_config(create=True)
    if name in config.profile_names:
        return False
    broker_config: dict[str, Any] | None = None
    if broker is not None:
        broker_config = BrokerFactory(broker).get_default_config()
    configuration.create_profile(
        config,
        name=name,
        email=EMAIL,
        storage_backend="core.sqlite_dos",
        storage_config={},
        broker_backend=broker,
        broker_config=broker_config,
    )
    # without a broker a parent asks this often, in seconds, whether its child is done
    config.set_option("runner.poll.interval", 1, scope=name)
    config.set_default_profile(name, overwrite=default)
    config.store()
    return True


def load_profile(name: str) -> "Profile":
    """Load the profile, in place of another one that may be loaded."""
    from aiida import load_profile as load

    return load(name, allow_switch=True)


def get_computer(workdir: Path | None = None) -> tuple["Computer", bool]:
    """Return the computer ``localhost`` of the loaded profile, and whether it is new."""
    from aiida.common.exceptions import NotExistent
    from aiida.manage import get_config
    from aiida.orm import Computer, User, load_computer

    user = User.collection.get_default()
    try:
        computer = load_computer(COMPUTER)
        if user is None or computer.is_user_configured(user):
            return computer, False
        created = False
    except NotExistent:
        folder = workdir or Path(get_config().dirpath) / "scratch"
        computer = Computer(
            label=COMPUTER,
            hostname="localhost",
            description="This computer, without a scheduler",
            transport_type="core.local",
            scheduler_type="core.direct",
            workdir=str(folder),
        ).store()
        computer.set_minimum_job_poll_interval(0.5)
        computer.set_default_mpiprocs_per_machine(1)
        created = True
    # codes have absolute paths: a login shell would only read the user's profile, for each command
    computer.configure(safe_interval=0, use_login_shell=False)
    return computer, created


def get_code(
    label: str, executable: Path, plugin: str, prepend: str = "", mpi: bool | None = False
) -> tuple["InstalledCode", bool]:
    """Return the code ``label@localhost``, and whether it is new.

    A code of that label that points to another executable is relabelled, so that the processes
    that ran it keep it.
    """
    from aiida.common.exceptions import NotExistent
    from aiida.orm import InstalledCode, load_code

    computer, _ = get_computer()
    try:
        loaded = load_code(f"{label}@{computer.label}")
    except NotExistent:
        pass
    else:
        if isinstance(loaded, InstalledCode) and loaded.get_executable() == executable:
            return loaded, False
        loaded.label = f"{label}-{loaded.pk}"
        loaded.is_hidden = True
    code = InstalledCode(
        label=label,
        computer=computer,
        filepath_executable=str(executable),
        default_calc_job_plugin=plugin,
        prepend_text=prepend,
        with_mpi=mpi,
    ).store()
    return code, True


def find_mlal() -> Path:
    """Return the ``mlal`` command of this installation."""
    beside = Path(sys.executable).parent / "mlal"
    executable = str(beside) if beside.exists() else shutil.which("mlal")
    if executable is None:
        raise ValueError(
            f"expected the command mlal at {beside} or on the PATH, found none: "
            "is aiida-mlal installed in this environment?"
        )
    return Path(executable)


def find_pw() -> Path | None:
    """Return the ``pw.x`` on the PATH, or None."""
    executable = shutil.which("pw.x")
    return None if executable is None else Path(executable)


def pw_environment() -> str:
    """Return the lines that a job of ``pw.x`` begins with on this computer."""
    lines = ["export OMP_NUM_THREADS=1"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        lines += [
            "export OMPI_ALLOW_RUN_AS_ROOT=1",
            "export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
        ]
    return "\n".join(lines)


def get_pseudo_family(label: str, folder: Path) -> tuple[Any, bool]:
    """Return the family of UPF pseudopotentials of this label, and whether it is new.

    A new one is made from the files of the folder, one for each element.

    Raises
    ------
    ValueError
        If a file is no pseudopotential, or two are of one element.
    """
    from aiida.common.exceptions import NotExistent
    from aiida.orm import load_group
    from aiida_pseudo.data.pseudo import UpfData
    from aiida_pseudo.groups.family import PseudoPotentialFamily

    try:
        return load_group(label), False
    except NotExistent:
        _check_pseudos(folder)
        return PseudoPotentialFamily.create_from_folder(folder, label, pseudo_type=UpfData), True


def _check_pseudos(folder: Path) -> None:
    from aiida.common.exceptions import ParsingError
    from aiida_pseudo.data.pseudo import UpfData

    known: dict[str, str] = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        try:
            with path.open("rb") as handle:
                element = UpfData(handle, path.name).element
        except (ValueError, ParsingError) as error:
            raise ValueError(f"{path.name} is no pseudopotential in UPF: {error}") from error
        if element in known:
            raise ValueError(f"{known[element]} and {path.name} are both of {element}")
        known[element] = path.name
