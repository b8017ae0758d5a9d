"""Campaigns side by side."""

from dataclasses import replace

from aiida_mlal.report.numbers import collect
from aiida_mlal.report.side_by_side import rows


def test_tells_results_and_the_options_that_differ(small_report, failed_campaign):
    table = dict(rows([small_report, collect(failed_campaign)]))
    assert table["outcome"] == ["converged", failed_campaign.exit_message]
    assert table["labels"][0] == "3"
    assert table["labelled force, eV/Å"][1] == "–"
    assert "model.architecture" not in table


def test_an_option_that_differs_has_a_row(small_report):
    query = {**small_report.options["query"], "n": 7}
    other = replace(small_report, options={**small_report.options, "query": query})
    table = dict(rows([small_report, other]))
    assert table["query.n"] == ["2", "7"]
    assert "query.name" not in table
