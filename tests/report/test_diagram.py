"""A campaign on one page."""

from dataclasses import replace

from aiida_mlal.report import diagram
from aiida_mlal.report.diagram import draw_diagram, iterations


def test_each_iteration_has_its_nodes(small_campaign, small_report):
    zeroth, first = iterations(small_campaign, small_report)
    assert list(zeroth.boxes) == ["labels"]
    assert "1 label, 1 ok" in zeroth.boxes["labels"]
    assert set(first.boxes) == {"potential", "simulation", "decision", "labels"}
    outputs = small_campaign.outputs
    assert f"potential {outputs.potential.pk}" in first.boxes["potential"]
    assert f"decision {outputs.selections.iteration_01.pk}: final" in first.boxes["decision"]
    assert "2 of 5 chosen" in first.boxes["decision"]


def test_the_drawing_has_all_boxes(small_campaign, small_report):
    words = {text.get_text() for text in draw_diagram(small_campaign).axes[0].texts}
    for step in iterations(small_campaign, small_report):
        assert set(step.boxes.values()) <= words
    assert "3 labels, converged" in words


def test_of_many_iterations_those_in_the_middle_are_counted(
    small_campaign, small_report, monkeypatch
):
    one = iterations(small_campaign, small_report)[1]
    many = [replace(one, number=i) for i in range(40)]
    monkeypatch.setattr(diagram, "iterations", lambda *_: many)
    figure = draw_diagram(small_campaign)
    words = [text.get_text() for text in figure.axes[0].texts]
    assert "26 more iterations" in words
    assert words.count(one.boxes["labels"]) == 14
    assert figure.get_figheight() < 13


def test_a_campaign_without_labels_has_a_drawing(failed_campaign):
    words = [text.get_text() for text in draw_diagram(failed_campaign).axes[0].texts]
    assert any(failed_campaign.exit_message in word for word in words)
