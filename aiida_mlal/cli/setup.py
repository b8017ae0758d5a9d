"""``aiida-mlal setup``: profile, computer, codes and pseudopotentials."""

from importlib.util import find_spec
from pathlib import Path

import click
from aiida.cmdline.utils import echo

from aiida_mlal.cli import profile
from aiida_mlal.cli.root import root

QE_PLUGIN = "quantumespresso.pw"
VASP_PLUGIN = "vasp.vasp"


@root.command()
@click.option("--name", default="mlal", show_default=True, help="Name of the profile.")
@click.option(
    "--broker",
    type=click.Choice(["zeromq", "none"]),
    default="zeromq",
    show_default=True,
    help="zeromq needs no service and lets a daemon run; without a broker there is none.",
)
@click.option("--default", is_flag=True, help="Make it the default profile.")
@click.option(
    "--workdir",
    type=click.Path(file_okay=False, path_type=Path, resolve_path=True),
    help="Where jobs run. [default: a folder scratch beside AiiDA's configuration]",
)
@click.option(
    "--pw",
    type=click.Path(exists=True, dir_okay=False, path_type=Path, resolve_path=True),
    help="The pw.x of Quantum ESPRESSO. [default: the one on the PATH, if there is one]",
)
@click.option(
    "--vasp",
    type=click.Path(exists=True, dir_okay=False, path_type=Path, resolve_path=True),
    help="The executable of VASP, such as vasp_std.",
)
@click.option(
    "--pseudos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of UPF files, one for each element, to make a pseudopotential family from.",
)
@click.option(
    "--family", default="mlal", show_default=True, help="Label of the pseudopotential family."
)
def setup(
    name: str,
    broker: str,
    default: bool,
    workdir: Path | None,
    pw: Path | None,
    vasp: Path | None,
    pseudos: Path | None,
    family: str,
) -> None:
    """Set up a profile that can run campaigns on this computer.

    The profile uses SQLite and needs no services. What exists already is left as it is, so the
    command may be repeated, for instance after Quantum ESPRESSO was installed.
    """
    created = profile.create_profile(name, None if broker == "none" else "core.zeromq", default)
    _tell(created, f"profile {name}")
    profile.load_profile(name)
    computer, created = profile.get_computer(workdir)
    _tell(created, f"computer {computer.label}, jobs run in {computer.get_workdir()}")
    try:
        code, created = profile.get_code(profile.MLAL, profile.find_mlal(), "mlal.train")
    except ValueError as error:
        echo.echo_critical(str(error))
    _tell(created, f"code {code.full_label}, {code.get_executable()}")
    set_up_pw(pw)
    if vasp is not None:
        set_up_vasp(vasp)
    if pseudos is not None:
        set_up_family(family, pseudos)


def set_up_pw(executable: Path | None) -> None:
    """Create the code ``pw@localhost`` if there are a ``pw.x`` and its plugin."""
    executable = executable or profile.find_pw()
    if executable is None:
        echo.echo_report("no pw.x on the PATH: labels from Quantum ESPRESSO need its path by --pw")
    elif find_spec("aiida_quantumespresso") is None:
        echo.echo_report(
            f"{executable} is there, its plugin is not: pip install 'aiida-mlal[qe]' to label by it"
        )
    else:
        code, created = profile.get_code(
            profile.PW, executable, QE_PLUGIN, profile.pw_environment(), mpi=None
        )
        _tell(created, f"code {code.full_label}, {code.get_executable()}")


def set_up_vasp(executable: Path) -> None:
    """Create the code ``vasp@localhost``."""
    if find_spec("aiida_vasp") is None:
        echo.echo_critical("labels from VASP need: pip install 'aiida-mlal[vasp]'")
    code, created = profile.get_code(profile.VASP, executable, VASP_PLUGIN, mpi=None)
    _tell(created, f"code {code.full_label}, {code.get_executable()}")


def set_up_family(label: str, folder: Path) -> None:
    """Create a pseudopotential family from a folder."""
    if find_spec("aiida_pseudo") is None:
        echo.echo_critical("pseudopotential families need: pip install 'aiida-mlal[qe]'")
    try:
        family, created = profile.get_pseudo_family(label, folder)
    except ValueError as error:
        echo.echo_critical(f"{folder}: {error}")
    _tell(created, f"pseudopotential family {label}: {', '.join(sorted(family.elements))}")


def _tell(created: bool, what: str) -> None:
    if created:
        echo.echo_success(f"created {what}")
    else:
        echo.echo_report(f"kept {what}")
