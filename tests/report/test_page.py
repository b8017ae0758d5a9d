"""The page of a campaign, and its figures."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from aiida.orm import WorkChainNode
from PIL import Image

from aiida_mlal.report import page
from aiida_mlal.report.compare import direct_relaxation
from aiida_mlal.report.direct import Minimum
from aiida_mlal.report.figures import draw, learning_curve
from aiida_mlal.report.numbers import collect

FIGURES = (
    "learning_curve", "errors", "parity_energy", "parity_forces", "uncertainty", "contacts",
    "timings",
)  # fmt: skip
PICTURES = ("start", "end_0", "worst_0", "worst_1")


@pytest.fixture
def written(small_campaign, tmp_path_factory):
    """The folder of a page, which tests only read."""
    if small_campaign.uuid not in WRITTEN:
        folder = tmp_path_factory.mktemp("page")
        page.write(collect(small_campaign, [direct_relaxation(small_campaign, "BFGS")]), folder)
        WRITTEN[small_campaign.uuid] = folder
    return WRITTEN[small_campaign.uuid]


WRITTEN = {}
"""Folders by the UUID of the campaign."""


def test_writes_page_numbers_and_figures(written):
    assert {path.name for path in written.iterdir()} == {
        "index.html", "numbers.json", *(f"{name}.png" for name in (*FIGURES, *PICTURES)),
    }  # fmt: skip
    for name in (*FIGURES, *PICTURES):
        assert (written / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_figures_are_written_in_the_formats_asked_for(small_report, tmp_path):
    page.write(small_report, tmp_path, ("pdf", "svg"))
    assert (tmp_path / "parity_forces.pdf").read_bytes().startswith(b"%PDF")
    assert b"<svg" in (tmp_path / "start.svg").read_bytes()
    assert not list(tmp_path.glob("*.png"))


def test_the_page_stands_alone(written):
    html = (written / "index.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]{0,40})', html)
    pictures = [source for source in sources if source.startswith("data:image/png;base64,")]
    assert len(pictures) == len(PICTURES)
    assert all(source.startswith("#") for source in sources if source not in pictures)
    assert not re.search(r"https?:|@import|url\((?!#)", html)


def test_the_page_is_well_formed(written):
    checker = Checker()
    checker.feed((written / "index.html").read_text())
    checker.close()
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    assert checker.targets <= set(checker.ids)


class Checker(HTMLParser):
    """Reads a page whose elements have to end in the order in which they begin."""

    VOID = ("meta", "img", "input", "br", "wbr")

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.targets = [], [], set()

    def handle_starttag(self, tag, attributes):
        self.note(attributes)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.note(attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()

    def note(self, attributes):
        self.ids += [value for name, value in attributes if name == "id"]
        self.targets |= {value[1:] for name, value in attributes if name in ("href", "xlink:href")}


def test_each_point_of_a_figure_leads_to_its_query(written, small_report):
    html = (written / "index.html").read_text()
    for name, queries in (
        ("parity_energy", small_report.parity.queries),
        ("parity_forces", small_report.parity.of_forces),
    ):
        (svg,) = re.findall(rf'<svg role="img" aria-label="{name}".*?</svg>', html, re.S)
        points = [int(i) for i in re.findall(r'<a href="#query-(\d+)"', svg)]
        assert points == queries.tolist()
    good = [i for i, query in enumerate(small_report.queries) if query.force_error is not None]
    assert small_report.parity.queries.tolist() == good


def test_the_page_has_all_structures(written, small_campaign):
    html = (written / "index.html").read_text()
    (content,) = re.findall(r'id="frames">(.*?)</script>', html, re.S)
    frames = {frame["id"]: frame for frame in json.loads(content)["frames"]}
    labelled = small_campaign.outputs.dataset.configurations
    assert set(frames) == {*PICTURES, *(f"query-{i}" for i in range(len(labelled)))}
    for i, one in enumerate(labelled):
        shown = frames[f"query-{i}"]
        assert shown["z"] == one.numbers.tolist()
        np.testing.assert_allclose(np.reshape(shown["f"], (-1, 3)), one.forces, atol=6e-4)
        assert dict(shown["about"])["labelled by"] == small_campaign.outputs.dataset.sources[i]


@pytest.mark.parametrize(
    "title",
    ["Structures", "Result", "Figures", "Simulations", "Learning curve", "Queries",
     "What made the labels", "What it cost", "Where it came from, and how to cite it"],
)  # fmt: skip
def test_a_relaxation_has_the_section(written, title):
    assert f"<h2>{title}</h2>" in (written / "index.html").read_text()


def test_the_page_tells_what_made_the_labels_and_what_a_direct_relaxation_costs(
    written, small_campaign
):
    html = (written / "index.html").read_text()
    assert '<th scope="row">calculator</th><td>emt</td>' in html
    report = collect(small_campaign, [direct_relaxation(small_campaign, "BFGS")])
    times = report.direct[0].labels / report.labels
    assert f"{times:.1f} times as many" in html
    assert small_campaign.outputs.potential.uuid in html.partition("<blockquote>")[2]


def test_a_running_campaign_asks_the_browser_to_read_again(small_report):
    assert 'http-equiv="refresh" content="7"' in page.render(small_report, refresh=7)
    assert "http-equiv" not in page.render(small_report)


def test_axes_have_numbers(small_report):
    for name, figure in draw(small_report):
        figure.canvas.draw()
        for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
            words = {label.get_text() for label in axis.get_ticklabels()}
            assert len(words - {"", "0"}) > 1, name


CHROMIUM = shutil.which("chromium")


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_shows_the_structure_that_is_asked_for(written, tmp_path):
    said = browse(f"file://{written}/index.html#query-1", "--dump-dom")
    assert not [line for line in said.stderr.splitlines() if "CONSOLE" in line]
    (about,) = re.findall(r'<dl id="about">(.*?)</dl>', said.stdout, re.S)
    assert "last frame" in about
    assert '<div id="turnable">' in said.stdout
    assert '<tr id="query-1" class="chosen">' in said.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_the_picture_of_a_browser_has_atoms(written, tmp_path):
    picture = tmp_path / "page.png"
    browse(
        f"file://{written}/index.html", f"--screenshot={picture}", "--window-size=375,1100",
    )  # fmt: skip
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    copper = np.array([200, 128, 51])
    assert (np.abs(pixels - copper).max(axis=2) < 6).sum() > 500


def browse(url, *options):
    return subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         *options, url],
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip


def test_the_page_has_every_query_and_its_reason(written, small_report):
    html = (written / "index.html").read_text()
    for query in small_report.queries:
        assert query.key[:8] in html
        assert query.reason in html


def test_numbers_are_plain_json(written, small_campaign):
    numbers = json.loads((written / "numbers.json").read_text())
    assert numbers["uuid"] == small_campaign.uuid
    assert len(numbers["queries"]) == len(small_campaign.outputs.dataset)
    direct = numbers["direct"][0]
    assert direct["name"] == "direct BFGS"
    assert set(direct["minimum"]) == {"energy", "same", "curvature"}


def test_another_minimum_is_told_in_words(small_campaign, tmp_path):
    direct = direct_relaxation(small_campaign, "BFGS")
    other = replace(direct, minimum=Minimum(-1.485, False, -0.1295))
    page.write(collect(small_campaign, [other]), tmp_path)
    html = (tmp_path / "index.html").read_text()
    said = (
        "ended elsewhere than the direct one, 1.4850 eV below it: at a saddle point, its potential"
    )
    assert said in html
    assert "-0.13 eV/Å² along the softest mode" in html


def test_a_failed_campaign_has_a_page_with_the_error(failed_campaign, tmp_path):
    page.write(collect(failed_campaign), tmp_path)
    html = (tmp_path / "index.html").read_text()
    assert "not converged" in html
    assert "json:loads" in html


def test_a_campaign_that_has_just_begun_has_a_page(aiida_profile, tmp_path):
    node = WorkChainNode()
    node.set_process_state("running")
    node.store()
    written = page.write(collect(node), tmp_path)
    assert [path.name for path in written] == ["index.html", "numbers.json"]
    assert "still running" in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (3.21, "3.2 s"), (125.0, "2 min 5 s"), (7265.0, "2 h 1 min")],
)
def test_durations_are_readable(value, text):
    assert page.seconds(value) == text


def test_numbers_have_three_digits():
    assert page.digits(0.0123456) == "0.0123"
    assert page.digits(float("nan")) == page.digits(None) == "–"


def test_without_labelled_ends_the_curve_counts_interrupted_simulations(small_report):
    unknown = {"oracle_fmax": None, "interrupted": 2, "runs": 3}
    curve = [{**row, **unknown} for row in small_report.curve]
    left, survival = learning_curve(replace(small_report, curve=curve)).axes
    assert left.get_title() == "Simulations interrupted by their guard"
    assert {bar.get_height() for bar in left.patches} == {2, 3}
    assert survival.get_ylabel() == "steps"
