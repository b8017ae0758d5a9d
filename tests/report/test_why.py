"""Why a structure was labelled."""

from dataclasses import replace

import numpy as np
import pytest

from aiida_mlal.report.why import in_words, lesson


def test_a_chosen_structure_names_its_decision(small_campaign):
    dataset = small_campaign.outputs.dataset
    found = lesson(small_campaign, "2")
    selection = small_campaign.outputs.selections.iteration_01
    assert found.decision.uuid == selection.uuid
    assert selection.selected[found.place]["key"] == dataset.configurations.keys[2]
    assert found.before.uuid == small_campaign.outputs.potential.uuid
    words = in_words(found)
    assert selection.uuid in words
    assert dataset.sources[2] in words
    assert "No potential was trained after it" in words


def test_a_structure_is_found_by_the_beginning_of_its_key(small_campaign):
    key = small_campaign.outputs.dataset.configurations.keys[1]
    assert lesson(small_campaign, key[:6] + key[6:8]).number == 1


def test_what_was_given_taught_the_first_potential(small_campaign):
    found = lesson(small_campaign, "0")
    first = small_campaign.outputs.dataset.configurations[0]
    predicted = small_campaign.outputs.potential.load().predict(first)
    error = np.linalg.norm(predicted.forces - first.forces, axis=1).max()
    assert found.error_after[0] == pytest.approx(error, rel=1e-6)
    assert "no potential chose it" in in_words(found)


def test_words_leave_out_what_is_not_known(small_campaign):
    """Errors in an iteration that there was not, and an uncertainty that nothing measured."""
    words = in_words(lesson(small_campaign, "2"))
    assert "–" not in words
    assert "in the next" not in words
    taught = replace(lesson(small_campaign, "2"), score=("grade", 2.5))
    silent = replace(taught, query=replace(taught.query, uncertainty=None))
    assert "had the grade 2.5 for it and was off by" in in_words(silent)
    bare = in_words(replace(silent, score=None))
    assert "had the" not in bare
    assert "was off by" in bare
    rows = [{"iteration": 1, "errors": {"force_mae": 0.5}}, {"iteration": 2, "errors": {}}]
    last = in_words(replace(silent, rows=rows))
    assert last.endswith("forces were off by 0.5 eV/Å on average in its iteration.")


def test_candidates_are_those_that_were_left(small_campaign):
    found = lesson(small_campaign, "2")
    selection = found.decision.selection
    assert found.candidates == selection.n_pool - len(selection.rejected)


@pytest.mark.parametrize("frame", ["99", "xyz", ""])
def test_unknown_structures_are_refused(small_campaign, frame):
    with pytest.raises(ValueError, match="expected the number of a label, below 3"):
        lesson(small_campaign, frame)
