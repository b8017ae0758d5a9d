"""One HTML page about a campaign, with everything in it."""

import base64
import dataclasses
import io
import json
from collections.abc import Mapping
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from aiida_mlal.report.figures import draw
from aiida_mlal.report.numbers import CampaignReport

CAPTIONS = {
    "learning_curve": "Left: the largest force on a free atom at the end of the simulations, as "
    "the labelling code says, against the number of labels paid, and beside it the largest "
    "component of the stress that moves the cell, where one moves; or, where there is a test set, "
    "errors on it against the number of structures learned from. Right: errors of the potential "
    "on structures that it had not learned from yet.",
    "paths": "Energies along each path, as the potential has them: its images, and the curve that "
    "goes through them with their forces. Labels are of the structures that these images are; no "
    "label confirms what is hollow, nor the curve there.",
    "parity": "Each structure that a query chose, as predicted by the potential that led to it, "
    "and as labelled afterwards. Energies are relative to the lowest label; scales are linear near "
    "zero and logarithmic beyond.",
    "uncertainty": "Each structure that a query chose: what the potential said of its own error, "
    "and how large the error was.",
    "timings": "How long programs ran, and what AiiDA and the start of programs took. Bars of "
    "processes that ran side by side add up to more than the campaign.",
}


def write(report: CampaignReport, folder: Path) -> list[Path]:
    """Write the page, its figures as PNG files and its numbers as JSON; return their paths.

    Each stage has a page of its own, in a folder of its name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    pictures = {}
    for name, figure in draw(report):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        pictures[name] = buffer.getvalue()
        path = folder / f"{name}.png"
        path.write_bytes(pictures[name])
        written.append(path)
    page, numbers = folder / "index.html", folder / "numbers.json"
    page.write_text(render(report, pictures), encoding="utf-8")
    numbers.write_text(json.dumps(_json(report), indent=2) + "\n", encoding="utf-8")
    for name, stage in report.stages.items():
        written += write(stage, folder / name)
    return [page, numbers, *written]


def render(report: CampaignReport, pictures: Mapping[str, bytes]) -> str:
    """Return the page with its figures embedded."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"digits": digits, "seconds": seconds, "pretty": pretty}
    source = files("aiida_mlal.report").joinpath("campaign.html").read_text("utf-8")
    return environment.from_string(source).render(
        report=report,
        figures=[
            (name, CAPTIONS[name], base64.b64encode(picture).decode())
            for name, picture in pictures.items()
        ],
    )


def digits(value: float | None, n: int = 3) -> str:
    """Return a number with ``n`` significant digits, or a dash."""
    return "–" if value is None or not np.isfinite(value) else f"{value:.{n}g}"


def seconds(value: float | None) -> str:
    """Return a duration that a person can read."""
    if value is None:
        return "–"
    if value < 100:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def pretty(value: Any) -> str:
    """Return options as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def _json(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _json(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
