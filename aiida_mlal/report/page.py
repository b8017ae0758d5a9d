"""One HTML page about a campaign, with everything in it."""

import base64
import dataclasses
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.report.figures import draw
from aiida_mlal.report.numbers import CampaignReport
from aiida_mlal.report.pictures import draw_structure
from aiida_mlal.report.scenes import Scene, pictured, shown
from aiida_mlal.report.words import digits, flat, seconds

CAPTIONS = {
    "learning_curve": "What the campaign came to against the number of labels paid: the largest "
    "force on a free atom at the end of the simulations, as labels have it; or errors on a test "
    "set; or how many simulations were interrupted.",
    "stress": "The largest component of the stress that moves the cell, as labels have it.",
    "errors": "Errors of the potential on structures that it had not learned from yet.",
    "paths": "Energies along each path, as the potential has them: its images, and the curve that "
    "goes through them with their forces. Labels are of the structures that these images are; no "
    "other label enters the energies or the barrier.",
    "parity_energy": "Each structure that a query chose, as predicted by the potential that led "
    "to it, and as labelled afterwards, relative to the lowest label, without what an atom of each "
    "element contributes. Scales are linear near zero and logarithmic beyond.",
    "parity_forces": "The same for each component of the forces.",
    "uncertainty": "Each structure that a query chose: what the potential said of its own error, "
    "and how large the error was.",
    "contacts": "The two atoms that were nearest to each other in each frame, as a share of the "
    "sum of their covalent radii.",
    "timings": "How long programs ran, and what AiiDA and the start of programs took. Bars of "
    "processes that ran side by side add up to more than the campaign.",
}

CITATIONS = (
    "aiida-mlal {aiida-mlal}, with the papers of the methods that were run: they stand in its "
    "documentation, under Methods",
    "AiiDA {aiida-core}: S. P. Huber et al., Sci. Data 7, 300 (2020), "
    "doi:10.1038/s41597-020-00638-4; M. Uhrin et al., Comput. Mater. Sci. 187, 110086 (2021), "
    "doi:10.1016/j.commatsci.2020.110086",
    "ASE {ase}: A. H. Larsen et al., J. Phys.: Condens. Matter 29, 273002 (2017), "
    "doi:10.1088/1361-648X/aa680e",
)
"""What a campaign rests on, whatever its methods; versions are filled in."""


def write(
    report: CampaignReport,
    folder: Path,
    formats: Sequence[str] = ("png",),
    refresh: float | None = None,
) -> list[Path]:
    """Write the page, its figures as files and its numbers as JSON; return their paths.

    Each stage has a page of its own, in a folder of its name.

    Parameters
    ----------
    formats
        Of the files of figures and structures: ``png``, ``pdf``, ``svg``.
    refresh
        Seconds after which a browser reads the page again; never by default.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written, figures, pictures = [], {}, {}
    for name, figure in draw(report):
        figures[name] = inline(_saved(figure, "svg"), name)
        written += _write_as(figure, folder / name, formats)
    for scene in pictured(report):
        figure = draw_structure(scene.structure)
        pictures[scene] = _saved(figure, "png")
        written += _write_as(figure, folder / scene.name, formats)
    page, numbers = folder / "index.html", folder / "numbers.json"
    page.write_text(render(report, figures, pictures, refresh), encoding="utf-8")
    numbers.write_text(json.dumps(_json(report), indent=2) + "\n", encoding="utf-8")
    for name, stage in report.stages.items():
        written += write(stage, folder / name, formats, refresh)
    return [page, numbers, *written]


def render(
    report: CampaignReport,
    figures: Mapping[str, str] | None = None,
    pictures: Mapping[Scene, bytes] | None = None,
    refresh: float | None = None,
) -> str:
    """Return the page with its figures (SVG) and pictures of structures (PNG) embedded."""
    from importlib.metadata import version

    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "digits": digits,
        "seconds": seconds,
        "pretty": pretty,
        "flat": flat,
        "lengths": lengths,
        "leaving": leaving,
    }
    resources = files("aiida_mlal.report")
    source = resources.joinpath("campaign.html").read_text("utf-8")
    versions = {name: version(name) for name in ("aiida-mlal", "aiida-core", "ase")}
    return environment.from_string(source).render(
        report=report,
        figures=[(name, CAPTIONS[name], svg) for name, svg in (figures or {}).items()],
        pictures=[
            (scene, base64.b64encode(picture).decode())
            for scene, picture in (pictures or {}).items()
        ],
        frames=_in_script(shown(report)),
        viewer=resources.joinpath("viewer.js").read_text("utf-8"),
        versions=versions,
        citations=[text.format_map(versions) for text in CITATIONS],
        refresh=refresh,
        tested=any(row.get("test") for row in report.curve),
        symbols=_positions(report.ends[0]) if len(report.ends) else [],
    )


def inline(svg: bytes, name: str) -> str:
    """Return a figure as part of a page: its identifiers begin with ``name``, nothing is outside.

    What its points link to is left as it is.
    """
    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'<svg [^>]*?viewBox="([\d. ]+)"[^>]*>', _opening(name), text, count=1)
    known = set(re.findall(r' id="([^"]+)"', text))
    text = re.sub(r' id="([^"]+)"', rf' id="{name}-\1"', text)

    def own(match: re.Match[str]) -> str:
        return f"#{name}-{match[1]}" if match[1] in known else match[0]

    text = re.sub(r'#([^"\s)]+)', own, text)
    return re.sub(r'xlink:href="#query', 'href="#query', text)


def _opening(name: str) -> Callable[[re.Match[str]], str]:
    def opening(match: re.Match[str]) -> str:
        width = float(match[1].split()[2]) * 4 / 3
        return (
            f'<svg role="img" aria-label="{name}" viewBox="{match[1]}" '
            f'style="width: 100%; max-width: {width:.0f}px">'
        )

    return opening


def _saved(figure: Any, kind: str) -> bytes:
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "aiida-mlal"}):
        figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def _write_as(figure: Any, path: Path, formats: Sequence[str]) -> list[Path]:
    paths = [path.with_suffix(f".{kind}") for kind in formats]
    for one, kind in zip(paths, formats, strict=True):
        one.write_bytes(_saved(figure, kind))
    return paths


def _in_script(value: Any) -> str:
    """Return JSON that cannot end the script that it stands in."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).replace("<", "\\u003c")


def leaving(value: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return a dictionary without some of its keys."""
    return {key: one for key, one in value.items() if key not in names}


def _positions(structure: Configurations) -> list[tuple[str, list[float]]]:
    symbols = [chemical_symbols[z] for z in structure.numbers]
    return list(zip(symbols, structure.positions.tolist(), strict=True))


def lengths(cell: np.ndarray) -> str:
    """Return lengths (Å) and angles (°) of a cell in words."""
    from ase.cell import Cell

    a, b, c, *angles = Cell(cell).cellpar()
    return f"{a:.4f} × {b:.4f} × {c:.4f} Å, " + ", ".join(f"{angle:.2f}°" for angle in angles)


def pretty(value: Any) -> str:
    """Return options as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def _json(value: Any) -> Any:
    if isinstance(value, Configurations):
        return value.keys
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, np.generic):
        return _json(value.item())
    if isinstance(value, np.ndarray):
        return _json(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
