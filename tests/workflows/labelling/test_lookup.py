"""The WorkChain that labels, by the names that users give."""

import pytest

from aiida_mlal.ml.labelling.foundation import FOUNDATION
from aiida_mlal.workflows.labelling.lookup import ASE, labelling_of


@pytest.mark.parametrize("labels", ["emt", *FOUNDATION])
def test_calculators_are_known_by_their_names(labels):
    assert labelling_of(labels) == (ASE, {"calculator": labels})


def test_a_name_like_that_of_a_foundation_model_is_told_with_it():
    with pytest.raises(ValueError, match="unknown name 'sevenet', did you mean 'sevennet'"):
        labelling_of("sevenet")
