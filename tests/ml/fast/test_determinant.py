import numpy as np
import pytest

from aiida_mlal.ml.fast.determinant import greedy_determinant


def slow(rows, n, noise):
    """Update the whole covariance and all variances after each choice."""
    rows = rows.astype(float)
    covariance = np.eye(rows.shape[1])
    chosen, scores = [], []
    for _ in range(n):
        variances = np.einsum("ij,jk,ik->i", rows, covariance, rows)
        variances[chosen] = -np.inf
        best = int(variances.argmax())
        chosen.append(best)
        scores.append(variances[best])
        moved = covariance @ rows[best]
        covariance -= np.outer(moved, moved) / (noise + rows[best] @ moved)
    return chosen, scores


@pytest.mark.parametrize("noise", [1.0, 1e-4])
@pytest.mark.parametrize("shape", [(400, 7), (300, 40)])
def test_agrees_with_updating_everything(shape, noise):
    rows = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    rows *= np.exp(-np.arange(shape[1]) / 5).astype(np.float32)
    chosen, scores = greedy_determinant(rows, 30, noise)
    expected = slow(rows, 30, noise)
    assert chosen.tolist() == expected[0]
    np.testing.assert_allclose(scores, expected[1], rtol=1e-6, atol=1e-12)


def test_each_choice_makes_the_determinant_as_large_as_it_can():
    rows = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    chosen = greedy_determinant(rows, 5, 0.1)[0].tolist()
    kernel = rows.astype(float) @ rows.T + 0.1 * np.eye(20)
    for k in range(5):
        every = [
            -np.inf
            if i in chosen[:k]
            else np.linalg.slogdet(kernel[np.ix_([*chosen[:k], i], [*chosen[:k], i])])[1]
            for i in range(20)
        ]
        assert int(np.argmax(every)) == chosen[k]


def test_more_choices_than_features_and_rows_of_nothing():
    rows = np.zeros((6, 2), np.float32)
    rows[2] = [1, 0]
    chosen, scores = greedy_determinant(rows, 6)
    assert sorted(chosen.tolist()) == list(range(6))
    assert chosen[0] == 2
    np.testing.assert_array_equal(scores, [1, 0, 0, 0, 0, 0])


def test_no_noise_is_refused():
    with pytest.raises(ValueError, match="noise above 0"):
        greedy_determinant(np.ones((2, 2), np.float32), 1, 0.0)
