"""``verdi data mlal``: look at the nodes of this package, and move them from and to files."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from aiida.cmdline.commands.cmd_data import verdi_data
from aiida.cmdline.params import arguments, options, types
from aiida.cmdline.utils import decorators, echo

from aiida_mlal.ml.cli import TYPES as ELEMENTS_OF_TYPES
from aiida_mlal.ml.cli import label_keys

if TYPE_CHECKING:
    from aiida_mlal.data.content import ContentData


@verdi_data.group("mlal")
def mlal() -> None:
    """Look at data sets, potentials and selections of aiida-mlal."""


@mlal.group("dataset")
def dataset() -> None:
    """Look at sets of structures and their labels."""


@mlal.group("potential")
def potential() -> None:
    """Look at trained potentials."""


@mlal.group("selection")
def selection() -> None:
    """Look at what was chosen to be labelled, and why."""


def _node(name: str) -> Callable[[Any], Any]:
    argument: Callable[[Any], Any] = arguments.NODE(
        type=types.DataParamType(sub_classes=(f"aiida.data:mlal.{name}",))
    )
    return argument


def _add_list(group: click.Group, name: str, columns: dict[str, str]) -> None:
    @group.command("list")
    @options.PAST_DAYS(default=None)
    @decorators.with_dbenv()
    def list_nodes(past_days: float | None) -> None:
        """List all nodes of this kind, the newest last."""
        from datetime import timedelta

        from aiida.common import timezone
        from aiida.orm import QueryBuilder
        from aiida.plugins import DataFactory
        from tabulate import tabulate

        filters = {}
        if past_days is not None:
            filters["ctime"] = {">=": timezone.now() - timedelta(days=past_days)}
        query = QueryBuilder().append(
            DataFactory(f"mlal.{name}"),
            filters=filters,
            project=["id", "label", *(f"attributes.{key}" for key in columns)],
            tag="node",
        )
        rows = query.order_by({"node": "ctime"}).all()
        if not rows:
            echo.echo_report("There are none.")
            return
        table = [[_short(value) for value in row] for row in rows]
        echo.echo(tabulate(table, headers=["PK", "Label", *columns.values()]))


def _add_export(group: click.Group, name: str, formats: Iterable[str]) -> None:
    formats = list(formats)

    @group.command("export")
    @_node(name)
    @click.argument("path", type=click.Path(dir_okay=False, path_type=Path), required=False)
    @click.option(
        "-f",
        "--format",
        "form",
        type=click.Choice(formats),
        help="Of the file; by default what the end of its name says.",
    )
    @click.option("--force", is_flag=True, help="Replace a file that is there.")
    @decorators.with_dbenv()
    def export(node: "ContentData", path: Path | None, form: str | None, force: bool) -> None:
        """Write the content of NODE to the file PATH."""
        end = path.suffix.lstrip(".") if path else ""
        if form is None:
            form = {"xyz": "extxyz"}.get(end, end) or formats[0]
        if form not in formats:
            ends = " or ".join(f".{one}" for one in formats)
            echo.echo_critical(
                f"{path}: expected a name that ends with {ends}, or --format; `mlal convert` "
                "writes other formats from such a file"
            )
        path = path or Path(f"{name}-{node.pk}.{form}")
        try:
            node.export(str(path), fileformat=form, overwrite=force)
        except OSError as error:
            echo.echo_critical(f"{error}" + ("" if force else "; --force replaces it"))
        except ValueError as error:
            echo.echo_critical(str(error))
        echo.echo_success(f"wrote {path}")


@dataset.command("import")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-L", "--label", default="", help="Of the new node; by default the file's name.")
@ELEMENTS_OF_TYPES
@label_keys
@decorators.with_dbenv()
def import_dataset(
    path: Path, label: str, elements: list[str] | None, keys: dict[str, str]
) -> None:
    """Make a node of the file PATH: of this package, or of any format that ASE reads."""
    _import("dataset", path, label, elements=elements, keys=keys, tell=echo.echo_warning)


@potential.command("import")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-L", "--label", default="", help="Of the new node; by default the file's name.")
@click.option("-e", "--elements", help="Of a file of MLIP, which does not name them: 'C,Cu'.")
@decorators.with_dbenv()
def import_potential(path: Path, label: str, elements: str | None) -> None:
    """Make a node of the file PATH: of this package, or a moment tensor potential of MLIP."""
    _import("potential", path, label, elements=elements.split(",") if elements else None)


def _import(name: str, path: Path, label: str, **options: Any) -> None:
    from aiida.plugins import DataFactory

    cls: Any = DataFactory(f"mlal.{name}")
    try:
        node = cls.from_file(path, **options)
    except ValueError as error:
        echo.echo_critical(str(error))
    node.label = label or path.name
    node.store()
    echo.echo_success(f"made {cls.__name__}<{node.pk}>: {node.get_description()}")


@dataset.command("show")
@_node("dataset")
@click.option("--frames", is_flag=True, help="Show a line for each structure.")
@decorators.with_dbenv()
def show_dataset(node: Any, frames: bool) -> None:
    """Say what is in the dataset NODE."""
    from tabulate import tabulate

    from aiida_mlal.ml.frames import REASON

    _show(node)
    if frames:
        structures = node.configurations
        reasons = REASON.of(structures)
        rows = [
            [i, formula, energy, force, status, reason, source[:8]]
            for i, (formula, energy, force, status, reason, source) in enumerate(
                zip(
                    structures.formulas,
                    structures.energies,
                    structures.max_forces,
                    structures.status,
                    reasons,
                    node.sources,
                    strict=True,
                )
            )
        ]
        headers = ["", "Formula", "E (eV)", "max F (eV/Å)", "Status", "Reason", "Source"]
        echo.echo(tabulate(rows, headers=headers))


@potential.command("show")
@_node("potential")
@decorators.with_dbenv()
def show_potential(node: Any) -> None:
    """Say what the potential NODE is, and how it was trained."""
    _show(node)


@selection.command("show")
@_node("selection")
@decorators.with_dbenv()
def show_selection(node: Any) -> None:
    """Say which structures the selection NODE chose, which it refused, and why."""
    from tabulate import tabulate

    _show(node)
    for title, items in (("selected", node.selected), ("rejected", node.rejected)):
        if items:
            echo.echo(f"\n{title}:")
            echo.echo(tabulate(items, headers="keys"))


def _show(node: "ContentData") -> None:
    from tabulate import tabulate

    echo.echo(f"{type(node).__name__}<{node.pk}>: {node.get_description()}")
    rows = [["uuid", node.uuid], ["label", node.label], ["creator", node.creator or ""]]
    rows += [[key, _short(value)] for key, value in sorted(node.base.attributes.items())]
    echo.echo(tabulate(rows, tablefmt="plain"))


def _short(value: Any, width: int = 100) -> Any:
    if isinstance(value, dict):
        value = ", ".join(f"{key}: {_short(item)}" for key, item in value.items())
    elif isinstance(value, list):
        value = ", ".join(str(_short(item)) for item in value)
    if isinstance(value, str) and len(value) > width:
        return value[: width - 1] + "…"
    return value


_add_list(
    dataset,
    "dataset",
    {"n_structures": "Structures", "n_labelled": "Labelled", "elements": "Elements"},
)
_add_list(
    potential,
    "potential",
    {"architectures": "Architectures", "elements": "Elements", "cutoff": "Cutoff (Å)"},
)
_add_list(
    selection,
    "selection",
    {"strategy.name": "Strategy", "n_selected": "Selected", "n_pool": "of"},
)
_add_export(dataset, "dataset", ["extxyz", "safetensors"])
_add_export(potential, "potential", ["safetensors", "almtp"])
_add_export(selection, "selection", ["json"])
