"""Why a structure was labelled."""

import numpy as np
import pytest

from aiida_mlal.report.why import in_words, lesson


def test_a_chosen_structure_names_its_decision(small_campaign):
    dataset = small_campaign.outputs.dataset
    found = lesson(small_campaign, "2")
    selection = small_campaign.outputs.selections.iteration_01
    assert found.decision.uuid == selection.uuid
    assert selection.selected[found.place]["key"] == dataset.configurations.keys[2]
    assert found.candidates == selection.base.attributes.get("n_pool")
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


@pytest.mark.parametrize("frame", ["99", "xyz", ""])
def test_unknown_structures_are_refused(small_campaign, frame):
    with pytest.raises(ValueError, match="expected the number of a label, below 3"):
        lesson(small_campaign, frame)
