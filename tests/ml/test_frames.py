"""Columns of what structures have beside geometry and label."""

import numpy as np
import pytest
from ase.build import bulk, molecule

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import (
    CANDIDATE,
    COLUMNS,
    INDEX,
    PREDICTED_FORCES,
    PREDICTED_STRESS,
    REASON,
    RUN,
    STATUS,
    STEP,
    UNCERTAINTY,
    find,
)


@pytest.fixture
def structures():
    return Configurations.from_ase([molecule("H2O"), bulk("Cu")])


@pytest.mark.parametrize("column", COLUMNS, ids=lambda c: f"{c.name}{'_atoms' * c.per_atom}")
def test_a_column_that_is_not_there_is_unknown_everywhere(column, structures):
    values = column.of(structures)
    length = len(structures.numbers) if column.per_atom else len(structures)
    assert values.shape == (length, *column.shape)
    assert not column.is_in(structures)
    assert np.array_equal(
        values, np.full_like(values, column.unknown), equal_nan=values.dtype == float
    )


@pytest.mark.parametrize("column", COLUMNS, ids=lambda c: f"{c.name}{'_atoms' * c.per_atom}")
def test_a_column_keeps_its_values_and_type_in_a_file(column, structures):
    rng = np.random.default_rng(0)
    wanted = (rng.integers(2, 9, size=(column.length(structures), *column.shape))).astype(
        column.dtype
    )
    stored = Configurations.from_bytes(structures.with_columns({column: wanted}).to_bytes())
    assert column.is_in(stored)
    assert column.of(stored).dtype.kind == wanted.dtype.kind
    assert np.array_equal(column.of(stored), wanted)


def test_a_single_value_is_that_of_all(structures):
    told = structures.with_columns({RUN: 3, REASON: "initial", STEP: [1, 2]})
    assert RUN.of(told).tolist() == [3, 3]
    assert told.info["reason"].tolist() == ["initial", "initial"]
    assert told.info["step"].tolist() == [1, 2]


def test_whole_numbers_stay_whole_where_batches_without_them_are_joined(structures):
    told = structures.with_columns({STEP: [4, 5], CANDIDATE: False, INDEX: [0, 1]})
    joined = Configurations.concatenate([told, structures])
    assert joined.info["step"].tolist() == [4, 5, -1, -1]
    assert joined.info["step"].dtype.kind == joined.info["index"].dtype.kind == "i"
    assert joined.info["candidate"].tolist() == [False, False, True, True]


def test_what_a_file_has_as_not_a_number_is_unknown(structures):
    foreign = structures.with_info(step=[7.0, np.nan], candidate=[0.0, np.nan])
    assert STEP.of(foreign).tolist() == [7, -1]
    assert CANDIDATE.of(foreign).tolist() == [False, True]


def test_predictions_become_columns(structures):
    labels = (np.ones(2), np.ones((len(structures.numbers), 3)), np.ones((2, 3, 3)))
    told = structures.with_predictions(structures.with_labels(*labels))
    assert PREDICTED_FORCES.of(told).shape == (len(structures.numbers), 3)
    assert PREDICTED_STRESS.of(told).shape == (2, 3, 3)


def test_the_status_is_that_of_the_column(structures):
    assert structures.with_columns({STATUS: "failed"}).status.tolist() == ["failed", "failed"]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (RUN, ["one", "two"], r"'run' must be of type int, got \['one', 'two'\]"),
        (UNCERTAINTY, ["?", "?"], r"'uncertainty' must be of type float, got \['\?', '\?'\]"),
        (PREDICTED_STRESS, np.zeros((2, 6)), r"'predicted_stress' must have .*\(3, 3\).*\(2, 6\)"),
        (RUN, [1, 2, 3], r"info\['run'\] must have length 2, got 3"),
    ],
)
def test_wrong_values_are_refused(column, values, message, structures):
    with pytest.raises(ValueError, match=message):
        structures.with_columns({column: values})


def test_values_of_others_under_our_name_are_refused_where_they_are_read(structures):
    foreign = structures.with_info(run=["first", "second"])
    with pytest.raises(ValueError, match="'run' must be of type int"):
        RUN.of(foreign)


def test_columns_are_found_by_name_and_kind():
    assert {find(c.name, c.per_atom) for c in COLUMNS} == set(COLUMNS)
    assert find("mine", per_atom=False) is None
