import pytest

from aiida_mlal.cli.params import parse_indices


@pytest.mark.parametrize(
    ("text", "indices"),
    [("", []), ("3", [3]), ("0-3,7", [0, 1, 2, 3, 7]), (" 5 , 1-2,2 ", [1, 2, 5])],
)
def test_reads_indices(text, indices):
    assert parse_indices(text) == indices


@pytest.mark.parametrize("text", ["a", "1-", "1;2", "-1", "0,3-1"])
def test_refuses_what_is_no_index(text):
    with pytest.raises(ValueError, match="expected indices such as 0-3,7"):
        parse_indices(text)
