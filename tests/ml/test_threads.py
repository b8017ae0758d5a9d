import os

import pytest
import torch
from threadpoolctl import threadpool_info

from aiida_mlal.ml.tasks.label import Label
from aiida_mlal.ml.tasks.train import Train
from aiida_mlal.ml.threads import VARIABLE, said_threads


@pytest.fixture
def many_cores():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("said", "expected"), [(None, 1), ("2", 2), ("1", 1), ("0", 1), ("close", 1)]
)
def test_threads_are_those_that_were_said_not_those_of_the_machine(
    said, expected, monkeypatch, many_cores
):
    if said is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, said)
    with said_threads() as n:
        assert n == torch.get_num_threads() == int(os.environ[VARIABLE]) == expected
        assert {pool["num_threads"] for pool in threadpool_info()} <= {1, expected}
    assert torch.get_num_threads() == 3
    assert os.environ.get(VARIABLE) == said


def test_codes_that_label_keep_their_threads():
    assert Train.OWN_THREADS
    assert not Label.OWN_THREADS
