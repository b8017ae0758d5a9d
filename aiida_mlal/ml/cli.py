"""The command ``mlal``: every task of the machine-learning layer, without AiiDA."""

import contextlib
import functools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from aiida_mlal import __version__
from aiida_mlal.ml.pipes import forgive_closed_pipes
from aiida_mlal.ml.text import counted


class Options(click.ParamType):
    """Options in JSON, given as text, as a file, or as a bare name.

    Parameters
    ----------
    key
        What a bare name stands for: ``bpnn`` is ``{"architecture": "bpnn"}`` with the key
        ``architecture``. Without a key there are no bare names.
    """

    name = "json"

    def __init__(self, key: str = "") -> None:
        self._key = key

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        """Return the mapping."""
        if isinstance(value, dict):
            return value
        path = Path(value)
        if value.lstrip().startswith("{"):
            text = value
        elif path.suffix == ".json":
            if not path.is_file():
                self.fail(f"there is no file {value}", param, ctx)
            text = path.read_text()
        elif self._key:
            return {self._key: value}
        else:
            self.fail(f"expected JSON as {{...}} or a file .json, got {value!r}", param, ctx)
        try:
            options = json.loads(text)
        except ValueError as error:
            self.fail(f"this is not JSON ({error}): {value}", param, ctx)
        if not isinstance(options, dict):
            self.fail(f"expected a mapping of options, got {value!r}", param, ctx)
        return options


class Model(Options):
    """Options of a model, or a file of MLIP that has them."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        """Return the mapping."""
        if isinstance(value, str) and value.endswith((".mtp", ".almtp", ".mtp.xz", ".almtp.xz")):
            if not Path(value).is_file():
                self.fail(f"there is no file {value}", param, ctx)
            from aiida_mlal.ml.formats.mlip import mtp

            with _plainly():
                return mtp.model_options(value)
        return super().convert(value, param, ctx)


FILE = click.Path(exists=True, dir_okay=False)
SEED = click.option("--seed", default=0, show_default=True, help="Of everything random.")


class Elements(click.ParamType):
    """Elements with commas between them."""

    name = "elements"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        """Return the list."""
        return value if isinstance(value, list) else value.replace(",", " ").split()


ELEMENTS = click.option(
    "--elements",
    type=Elements(),
    help="Of the types in .mtp and .cfg files and dumps of LAMMPS, such as Ag,Pd. By default what "
    "the files say, and where they do not, what the potential says.",
)
TYPES = click.option(
    "--elements",
    type=Elements(),
    help="Of the types in .mtp and .cfg files and dumps of LAMMPS, such as Ag,Pd. By default what "
    "the files say, and mere numbers where they do not.",
)
NUMBERED = click.option(
    "--elements",
    type=Elements(),
    help="Of the types in .cfg files and dumps of LAMMPS that only number them, such as Cu,O.",
)
KEYS = {
    "energy": "The energy's key in files of structures, such as REF_energy (eV); energy or "
    "free_energy, where a file has both.",
    "forces": "The forces' column in files of structures, such as REF_forces (eV/Å).",
    "stress": "The stress's key in files of structures (eV/Å³, positive in tension).",
    "virial": "The virial's key in files of structures (eV): the stress is -1 times it by the "
    "volume. 'virial' is read where there are no stresses.",
}


def label_keys(command: Any) -> Any:
    """Add the options that say what a file calls its labels; the command gets them as ``keys``."""

    @functools.wraps(command)
    def with_keys(*arguments: Any, **options: Any) -> Any:
        given = {kind: options.pop(f"{kind}_key") for kind in KEYS}
        keys = {kind: key for kind, key in given.items() if key is not None}
        return command(*arguments, keys=keys, **options)

    for kind, words in reversed(KEYS.items()):
        with_keys = click.option(f"--{kind}-key", metavar="NAME", help=words)(with_keys)
    return with_keys


TRAINING_SET = click.option(
    "--train", type=FILE, help="The training set: what the potential has learned from."
)


def output(default: str) -> Any:
    """Return the option for the file that is written."""
    return click.option(
        "-o", "--output", default=default, show_default=True, help="The file to write."
    )


def potential_and(structures: str, required: bool = True) -> Any:
    """Return the arguments ``[POTENTIAL] STRUCTURES``; ``-p`` names a potential as well."""

    def split(
        ctx: click.Context, param: click.Parameter, files: tuple[str, ...]
    ) -> tuple[str, ...]:
        given = ctx.params.get("potential")
        expected = 1 if given else 2
        if len(files) == expected or (len(files) == 1 and not required):
            return files
        raise click.UsageError(
            f"expected {'' if given else 'POTENTIAL and '}{structures}, got {len(files)} files"
        )

    def decorate(command: Any) -> Any:
        option = click.option(
            "-p", "--potential", type=FILE, is_eager=True, help="The potential, if not before."
        )
        metavar = f"POTENTIAL {structures}" if required else f"[POTENTIAL] {structures}"
        argument = click.argument(
            "files", nargs=-1, type=FILE, required=True, metavar=metavar, callback=split
        )
        return option(argument(command))

    return decorate


def _files(options: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the options of a task from those of a command with ``potential_and``."""
    files, given = options.pop("files"), options.pop("potential")
    return {name: files[-1], "potential": files[0] if len(files) == 2 else given, **options}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mlal")
def mlal() -> None:
    """Train and use interatomic potentials: the work of aiida-mlal without AiiDA.

    Structures are read from .cfg files of MLIP, any file that ASE knows, or .safetensors files of
    this package; potentials from .mtp, .almtp or .safetensors. All are known by their content, and
    may be compressed. Energies are in eV, lengths in Å,
    stresses in eV/Å³, positive in tension.

    Where an option wants JSON it takes a text '{...}', a file ending in .json, or, to leave all
    else at its default, a bare name. Each command prints its result as JSON.
    """
    forgive_closed_pipes()


@mlal.command()
@click.argument("task", type=FILE)
def run(task: str) -> None:
    """Run the TASK in a JSON file, in its folder, as a calculation of AiiDA does.

    The result is written to result.json beside it; the exit status is 0 if the task ended well.
    """
    from aiida_mlal.ml.screen import shown
    from aiida_mlal.ml.tasks.runner import run_file

    with shown(lines=False):  # standard error of a job is read when it was killed
        status = run_file(task)
    sys.exit(status)


OF_MTP = """\b
How it is trained follows from the model, where it is not said. A moment tensor potential of level
16, or of the level of a file of MLIP:

\b
    mlal train train.cfg --elements Mo -o Mo.almtp \\
      -m '{"architecture": "mtp", "level": 16, "cutoff": 5.2}'
    mlal train train.cfg --elements Mo -o Mo.almtp -m 16.almtp
"""


@mlal.command(epilog=OF_MTP)
@click.argument("dataset", type=FILE)
@click.option(
    "-m",
    "--model",
    type=Model("architecture"),
    required=True,
    help='Such as \'{"architecture": "bpnn", "prior": {"architecture": "morse"}, "ensemble": 5}\', '
    "or a file .mtp or .almtp whose basis is taken, not its coefficients (see --initial).",
)
@click.option(
    "-t",
    "--training",
    type=Options(),
    default="{}",
    help="Epochs, optimizer, loss ...; by default as the architecture declares it.",
)
@click.option(
    "--validation",
    type=FILE,
    help="Labels that are not learned from but decide which weights are kept.",
)
@click.option(
    "--initial",
    type=FILE,
    help="A potential whose weights training begins with: of the same model, or an mtp of a lower "
    "level or fewer elements.",
)
@click.option(
    "--uncertainty",
    type=Options("name"),
    help="What the potential is to know its uncertainty by: what that needs of DATASET is written "
    "with it. [default: that of the model; grade for mtp]",
)
@click.option(
    "--elements",
    type=Elements(),
    help="Of the types 0, 1, ... in files of the MLIP codes, such as Cu,O; DATASET has no others.",
)
@SEED
@output("potential.safetensors")
@label_keys
def train(**options: Any) -> None:
    """Train a potential on the labelled structures of DATASET."""
    _do("train", options)


@mlal.command()
@potential_and("STRUCTURES")
@click.option(
    "-s",
    "--simulation",
    type=Options("name"),
    default="relax",
    show_default=True,
    help='Name and options, such as \'{"name": "relax", "fmax": 0.03, "guard": {"break": 0.5}}\'.',
)
@click.option(
    "--begun",
    type=FILE,
    help="The state.safetensors that the same simulations left when they were interrupted: they go "
    "on, and what is written are the later frames, from that of the state on.",
)
@click.option(
    "--earlier",
    type=FILE,
    help="The frames that they left: what is written are all together. Those in trajectory.frames, "
    "of simulations that were killed, are found without.",
)
@ELEMENTS
@output("trajectory.safetensors")
def simulate(**options: Any) -> None:
    """Run a simulation with a POTENTIAL from each of STRUCTURES, and keep all frames.

    With an active set in the potential, the option "guard" of the simulation takes thresholds of
    the extrapolation grade: frames from "select" are candidates for a label, "break" ends a run.
    """
    _do("simulate", _files(options, "dataset"))


@mlal.command()
@potential_and("STRUCTURES", required=False)
@click.option(
    "-P",
    "--property",
    "properties",
    type=Options("name"),
    multiple=True,
    help='lattice, elastic, phonons, \'{"name": "elastic", "strain": 0.01}\' ...; see `mlal '
    "info`. May be given several times.  [default: lattice, equation_of_state, elastic]",
)
@click.option(
    "-c",
    "--calculator",
    type=Options("name"),
    help="A calculator of ASE as for `mlal label`, beside the potential or without one.",
)
@click.option(
    "--relaxation",
    type=Options(),
    default="{}",
    help='Such as \'{"cell": "fixed", "fmax": 0.001}\'; by default all of the cell is relaxed.',
)
@ELEMENTS
@output("properties.safetensors")
def properties(**options: Any) -> None:
    """Compute properties of STRUCTURES with a POTENTIAL, or with a calculator.

    Structures are relaxed first. Of a committee each member computes all, and each number has the
    half width of a 95 % interval. What was computed for it is written to OUTPUT, curves to a file
    beside it that ends in .curves.json.
    """
    options = _files(options, "dataset")
    if not options["properties"]:
        del options["properties"]
    _do("properties", options)


@mlal.command()
@potential_and("CANDIDATES", required=False)
@TRAINING_SET
@click.option(
    "-s",
    "--strategy",
    type=Options("name"),
    required=True,
    help='maxvol, lcmd, oed, random, or JSON such as \'{"name": "maxvol", "threshold": 2}\'; see '
    "`mlal info strategies`.",
)
@click.option(
    "-f",
    "--filters",
    type=Options(),
    help='Such as \'{"min_distance": 0.6, "max_force": 20}\'. By default none for maxvol, '
    "the usual ones, as with {}, for others.",
)
@SEED
@ELEMENTS
@output("selected.safetensors")
@label_keys
def select(**options: Any) -> None:
    """Choose which CANDIDATES are worth a label.

    `--strategy maxvol` chooses those that extend the active set of the training set (select-add
    of MLIP); without a training set it makes CANDIDATES small. What is written carries `grade`,
    the `index` among the candidates, and the labels that these have. Which candidates the filters
    took out, and why, stands in `rejected`.
    """
    _do("select", {"keep_labels": True, **_files(options, "pool")})


@mlal.command()
@potential_and("STRUCTURES")
@TRAINING_SET
@click.option(
    "--mode",
    type=click.Choice(["configuration", "neighbourhood"]),
    help="What has a grade: a structure, or each atom of it. By default as in the active set that "
    "the potential carries, else a structure.",
)
@click.option(
    "--threshold",
    default=1.0000001,
    show_default=True,
    help="Grade from which a structure of the training set enters the active set.",
)
@click.option(
    "--start",
    default=1e-5,
    show_default=True,
    help="Size of the rows that stand for what no structure determines.",
)
@click.option(
    "--save-potential",
    type=click.Path(dir_okay=False),
    help="Write the potential with its active set, .almtp or .safetensors.",
)
@ELEMENTS
@output("graded.extxyz")
@label_keys
def grade(**options: Any) -> None:
    """Say how far STRUCTURES are from what a POTENTIAL has learned (calc-grade of MLIP).

    A `grade` up to 1 is interpolation. The active set is made of the training set, or is that in
    the potential's file. Where it has no equations for something in a structure, the structure is
    `outside`, and its grade is large but no measure.
    """
    _do("grade", _files(options, "dataset"))


@mlal.command()
@click.argument("dataset", type=FILE)
@click.option(
    "-c",
    "--calculator",
    type=Options("name"),
    required=True,
    help='A calculator of ASE: emt, \'{"name": "lj", "options": {"sigma": 2.3}}\' ...',
)
@click.option("--limits", type=Options(), default="{}", help="What a good label must satisfy.")
@click.option("--timeout", type=float, help="Time in s that a label may take.")
@NUMBERED
@output("labelled.safetensors")
def label(**options: Any) -> None:
    """Label the structures of DATASET with a calculator of ASE.

    Each label is kept in OUTPUT.journal as soon as it is there: if this comes to no end, the same
    command goes on from there.
    """
    result = _do("label", options)
    if result["n_structures"] and not result["statuses"].get("ok"):
        raise click.ClickException(f"no structure has a good label: {result['message']}")


@mlal.command()
@potential_and("STRUCTURES")
@click.option(
    "--uncertainty",
    type=Options("name"),
    help="A measure whose correlation with the errors is printed: force_std, oed ...",
)
@ELEMENTS
@output("predictions.extxyz")
@click.option(
    "--as-labels",
    is_flag=True,
    help="Write predictions in the place of labels; always so in formats without "
    "columns of their own, such as .cfg.",
)
@label_keys
def evaluate(as_labels: bool, **options: Any) -> None:
    """Compute energies, forces and stresses of STRUCTURES with a POTENTIAL (calc-efs of MLIP).

    They are written beside the labels, as predicted_energy and so on. The errors are printed where
    there are labels.
    """
    keep = not as_labels and options["output"].endswith((".safetensors", ".extxyz", ".xyz"))
    _do("evaluate", {"keep_labels": keep, **_files(options, "dataset")})


@mlal.command()
@potential_and("STRUCTURES")
@ELEMENTS
@label_keys
def errors(**options: Any) -> None:
    """Compare a POTENTIAL with the labels of STRUCTURES (calc-errors of MLIP).

    Errors of energies are per atom; those of forces and stresses are by component, the nine of a
    stress.
    """
    _do("evaluate", {"output": None, **_files(options, "dataset")})


@mlal.command()
@click.argument("structures", type=FILE)
@TYPES
def mindist(structures: str, elements: list[str] | None) -> None:
    """Print the smallest distances in STRUCTURES, in Å: of all pairs, and of each two elements."""
    from aiida_mlal.ml.distances import smallest_distances
    from aiida_mlal.ml.formats import files
    from aiida_mlal.ml.options import within

    with _plainly():
        contents = files.load(structures, elements)
        with within(structures):
            distances = smallest_distances(contents.configurations)
        _print({**distances, "warnings": contents.warnings})


@mlal.command()
@click.argument("trajectory", type=FILE)
@click.option("--cutoff", default=6.0, show_default=True, help="Of distances, in Å.")
@click.option("--bins", default=200, show_default=True, help="Number of bins of distances.")
@click.option("--skip", default=0.0, show_default=True, help="Time left out of each run, in fs.")
@click.option(
    "--longest", default=1000.0, show_default=True, help="Time that velocities are correlated, fs."
)
@NUMBERED
@output("analysis.json")
def analyse(
    trajectory: str,
    cutoff: float,
    bins: int,
    skip: float,
    longest: float,
    elements: list[str] | None,
    output: str,
) -> None:
    """Analyse a TRAJECTORY of molecular dynamics, as `mlal simulate` writes it.

    Radial distribution functions (where it is periodic), mean square displacements and diffusion
    coefficients of each element, and the vibrational density of states, for each run: curves go to
    the file, numbers are printed.
    """
    from aiida_mlal.ml.analysis.summary import analyse as curves_of
    from aiida_mlal.ml.formats import files
    from aiida_mlal.ml.options import within
    from aiida_mlal.ml.tasks.base import write_json

    with _plainly():
        contents = files.load(trajectory, elements, named=True)
        contents.check_any(trajectory, "to analyse")
        with within(trajectory):
            curves = curves_of(contents.configurations, cutoff, bins, skip, longest)
    write_json(output, {"runs": [run.curves for run in curves]})
    _print({"runs": [run.numbers for run in curves], "warnings": contents.warnings})


@mlal.command()
@click.argument("structures", type=FILE)
@click.option("--radius", default=7.0, show_default=True, help="Of the sphere, in Å.")
@click.option(
    "--threshold", default=1.1, show_default=True, help="Grade from which an atom is cut out."
)
@TYPES
@output("cut.extxyz")
def cut(
    structures: str, radius: float, threshold: float, elements: list[str] | None, output: str
) -> None:
    """Cut the most extrapolative neighbourhood out of each of STRUCTURES, as a cluster.

    The atoms of STRUCTURES must have grades, as `mlal grade --mode neighbourhood` gives them
    (cut_extrapolative_nbh of MLIP).
    """
    from aiida_mlal.ml.formats import files
    from aiida_mlal.ml.neighbourhoods import cut_neighbourhoods

    with _plainly():
        contents = files.load(structures, elements)
        graded = contents.configurations
        clusters = cut_neighbourhoods(graded, radius, threshold)
        lost = contents.write(clusters, output)
    click.echo(f"{len(clusters)} clusters written to {output}")
    for warning in [*contents.warnings, *lost]:
        click.echo(warning)


@mlal.command()
@click.argument("source", type=FILE)
@click.argument("target", type=click.Path(dir_okay=False))
@TYPES
@label_keys
@click.option("--last", is_flag=True, help="Only the last structure, as of a relaxation.")
@click.option(
    "--append",
    is_flag=True,
    help="Keep the structures that TARGET has, and add these; their runs are numbered behind.",
)
@click.option(
    "--lammps",
    metavar="INPUT",
    type=click.Path(dir_okay=False),
    help="Beside a potential .mtp or .almtp, write lines of an input of LAMMPS that choose it.",
)
def convert(
    source: str,
    target: str,
    elements: list[str] | None,
    keys: dict[str, str],
    last: bool,
    append: bool,
    lammps: str | None,
) -> None:
    """Read the structures or the potential of SOURCE and write them to TARGET.

    SOURCE is known by its content, the format of TARGET by the end of its name. What TARGET has no
    place for is named.
    """
    from aiida_mlal.ml.configurations import Configurations
    from aiida_mlal.ml.formats import files, table
    from aiida_mlal.ml.formats.describe import is_potential
    from aiida_mlal.ml.formats.labels import LabelKeys
    from aiida_mlal.ml.frames import COLUMNS, PREDICTIONS, RUN, STATUS
    from aiida_mlal.ml.simulation.continuation import numbered_behind

    with _plainly():
        if is_potential(source):
            from aiida_mlal.ml.formats import potentials
            from aiida_mlal.ml.uncertainty.active_set import ActiveSet

            if last or append:
                raise ValueError(f"--last and --append are for structures, {source} is a potential")
            form = table.by_name(target).name
            if lammps is not None and form not in (table.MTP, table.ALMTP):
                raise ValueError(f"--lammps is for potentials .mtp or .almtp, got {target}")
            potential = potentials.load(source, elements)
            potentials.save(potential, target)
            click.echo(f"potential written to {target}")
            graded = ActiveSet.is_in(potential)
            if form == table.MTP and graded:
                click.echo("left out, as .mtp has no place for it: the active set")
            if lammps is not None:
                from aiida_mlal.ml.formats.mlip.lammps_input import lines
                from aiida_mlal.ml.wholefile import write_whole

                graded &= form == table.ALMTP
                text = lines(target, potentials.types(potential), graded)
                write_whole(lammps, text.encode())
                click.echo(
                    f"input written to {lammps}, for builds of LAMMPS that it names: no release "
                    f"of LAMMPS reads {target}, but `mlal simulate` by its engine 'lammps' does"
                )
        elif lammps is not None:
            raise ValueError(f"--lammps is for potentials, {source} has structures")
        else:
            contents = files.load(source, elements, keys=LabelKeys(**keys))
            configurations = contents.configurations
            if last:
                configurations = configurations[-1:]
            filled: list[str] = []
            said: list[str] = []
            if append and Path(target).exists():
                before = files.load(target, elements).configurations
                numbered = numbered_behind(configurations, before)
                if numbered is not configurations:
                    runs = sorted(set(RUN.of(numbered).tolist()))
                    said.append(f"{target} has such runs: those of {source} are now {runs}")
                    configurations = numbered
                filled = [
                    f"{column.name} ({column.unknown})"
                    for column in COLUMNS
                    if column.is_in(before) != column.is_in(configurations)
                    and column is not STATUS
                    and column.unknown == column.unknown != ""
                ]
                configurations = Configurations.concatenate([before, configurations])
            lost = contents.write(configurations, target)
            if filled:
                lost.append(f"filled in, where structures did not have it: {', '.join(filled)}")
            predictions = [c.name for c in PREDICTIONS if c.is_in(configurations)]
            kept = [name for name in predictions if name not in "".join(lost)]
            if kept:
                lost += [f"predictions, which are no labels: {', '.join(kept)}"]
            click.echo(f"{counted(len(configurations), 'structure')} written to {target}")
            for warning in [*contents.warnings, *said, *lost]:
                click.echo(warning)


@mlal.command("fit-morse")
@click.argument("elements", nargs=-1, required=True)
@click.option(
    "-c",
    "--calculator",
    type=Options("name"),
    required=True,
    help="A calculator of ASE, as for `mlal label`.",
)
@click.option("--box", type=float, help="Side in Å of a periodic cube around the dimer.")
def fit_morse(elements: tuple[str, ...], calculator: dict[str, Any], box: float | None) -> None:
    """Fit the Morse potential of the dimer of each of ELEMENTS.

    What is printed is the option "parameters" of the model "morse".
    """
    from aiida_mlal.ml.errors import in_words
    from aiida_mlal.ml.labelling.allowed import allow_what_is_typed
    from aiida_mlal.ml.labelling.calculators import CalculatorOptions
    from aiida_mlal.ml.models.fit_morse import fit_morse as fit
    from aiida_mlal.ml.options import build

    allow_what_is_typed(calculator)
    with _plainly():
        code = build(CalculatorOptions, calculator, "calculator").build()
        try:
            parameters = {element: fit(element, code, box=box) for element in elements}
        except Exception as error:  # a calculator fails in any way it likes
            raise click.ClickException(str(error) or in_words(error)) from error
    _print(parameters)


@mlal.command()
@click.argument("file", type=FILE)
@TYPES
@label_keys
def show(file: str, elements: list[str] | None, keys: dict[str, str]) -> None:
    """Say what is in a FILE of structures, or in a potential."""
    from aiida_mlal.ml.formats.describe import describe
    from aiida_mlal.ml.formats.labels import LabelKeys

    with _plainly():
        _print(describe(file, elements, LabelKeys(**keys)))


@mlal.command()
@click.argument("part", required=False)
def info(part: str | None) -> None:
    """List versions and plugins, or say what a PART is and which options it has.

    PART is the name of a plugin such as maxvol, a group of them such as strategies, or one of
    model, training, loss, guard, filters, calculator, limits, relaxation and gaussian_moments.
    """
    from typing import get_args

    from aiida_mlal.ml import plugins
    from aiida_mlal.ml.catalogue import described, parts
    from aiida_mlal.ml.tasks.runner import versions

    if part is not None:
        with _plainly():
            click.echo("\n".join(described(one) for one in parts(part)), nl=False)
        return
    _print(
        {
            "versions": versions(),
            "plugins": {group: plugins.names(group) for group in get_args(plugins.Group)},
        }
    )


def _do(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Run a task in the current folder, print and return its result.

    What went wrong becomes one sentence and status 1.
    """
    from aiida_mlal.ml.labelling.allowed import allow_what_is_typed
    from aiida_mlal.ml.screen import shown
    from aiida_mlal.ml.tasks.base import PROGRESS
    from aiida_mlal.ml.tasks.runner import execute

    allow_what_is_typed(options)
    with shown():
        result = execute({"task": name, **options})
    Path(PROGRESS).unlink(missing_ok=True)  # which is for those who watch a job
    if result["status"] != "ok":
        raise click.ClickException(result["message"])
    _print(result)
    if result.get("learned") is False:
        click.echo(f"Warning: {'; '.join(result['warnings'])}", err=True)
    return result


@contextlib.contextmanager
def _plainly() -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _print(values: dict[str, Any]) -> None:
    from aiida_mlal.ml.tasks.base import plain

    click.echo(json.dumps(plain(values), indent=2, ensure_ascii=False))
