"""The page of a campaign, and its figures."""

import json
import re
from dataclasses import replace

import pytest
from aiida.orm import WorkChainNode

from aiida_mlal.report import page
from aiida_mlal.report.compare import direct_relaxation
from aiida_mlal.report.direct import Minimum
from aiida_mlal.report.figures import learning_curve
from aiida_mlal.report.numbers import collect

FIGURES = ("learning_curve", "parity", "uncertainty", "timings")


@pytest.fixture
def written(small_campaign, tmp_path):
    page.write(collect(small_campaign, [direct_relaxation(small_campaign, "BFGS")]), tmp_path)
    return tmp_path


def test_writes_page_numbers_and_figures(written):
    assert {path.name for path in written.iterdir()} == {
        "index.html", "numbers.json", *(f"{name}.png" for name in FIGURES),
    }  # fmt: skip
    for name in FIGURES:
        assert (written / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_stands_alone(written):
    html = (written / "index.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]{0,40})', html)
    assert len(sources) == len(FIGURES)
    assert all(source.startswith("data:image/png;base64,") for source in sources)


def test_the_page_has_every_query_and_its_reason(written, small_campaign):
    html = (written / "index.html").read_text()
    for query in collect(small_campaign).queries:
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


def test_without_labelled_ends_the_curve_counts_interrupted_simulations(small_campaign):
    unknown = {"oracle_fmax": None, "interrupted": 2, "runs": 3}
    report = collect(small_campaign)
    curve = [{**row, **unknown} for row in report.curve]
    left, _, survival = learning_curve(replace(report, curve=curve)).axes
    assert left.get_title() == "Simulations interrupted by their guard"
    assert {bar.get_height() for bar in left.patches} == {2, 3}
    assert survival.get_ylabel() == "steps"
