import pytest

from aiida_mlal.ml.errors import in_words


def bare(wanted):
    assert wanted == 6


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError


def raised(error):
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def test_an_error_without_words_says_where_it_was_raised():
    """As of a calculator or reader that only asserts."""
    try:
        bare(5)
    except AssertionError as error:
        if str(error):  # pytest adds words to assertions of tests
            error.args = ()
        said = in_words(error)
    assert said.startswith(
        "AssertionError without a message, in bare() in line 7 of test_errors.py"
    )
    assert said.endswith(": assert wanted == 6")


def test_others_are_told_by_type_and_text():
    assert in_words(raised(KeyError("D"))) == "KeyError: 'D'"
    assert in_words(raised(Unprintable())) == "Unprintable: its message cannot be shown"
    assert in_words(TypeError()) == "TypeError"
