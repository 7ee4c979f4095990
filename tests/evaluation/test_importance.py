"""Statistics of draws that come in blocks."""

import math

import pytest
import torch

from vaeflow.evaluation.estimates import PerImage
from vaeflow.evaluation.importance import ImportanceWeights, Moments
from vaeflow.evaluation.pareto import pareto_k, tail_size

K, B = 1000, 40


def log_weights(spread=1.5, level=-900.0):
    """Weights that are all 0 outside of logarithms."""
    generator = torch.Generator().manual_seed(0)
    return level + spread * torch.randn(K, B, dtype=torch.float64, generator=generator)


def streamed(draws, block):
    moments, weights = Moments(), ImportanceWeights(len(draws))
    for part in draws.split(block):
        moments.add(part)
        weights.add(part)
    return moments, weights


@pytest.mark.parametrize("block", [1, 7, 300, K])
def test_blocks_give_the_same_statistics_as_all_draws_at_once(block):
    draws = log_weights()
    moments, weights = streamed(draws, block)
    mean, bound = PerImage.mean(draws), PerImage.log_mean_exp(draws)
    exact = {"rtol": 1e-11, "atol": 0}
    torch.testing.assert_close(moments.mean, mean.values, **exact)
    torch.testing.assert_close(moments.error, mean.errors, **exact)
    torch.testing.assert_close(weights.log_mean.values, bound.values, **exact)
    torch.testing.assert_close(weights.log_mean.errors, bound.errors, rtol=1e-9, atol=0)
    w = (draws - draws.max(0).values).exp()
    expected = w.sum(0).square() / w.square().sum(0)
    torch.testing.assert_close(weights.effective_sample_size, expected, **exact)
    largest = draws.sort(0, descending=True).values[: tail_size(K) + 1]
    torch.testing.assert_close(weights.pareto_k, pareto_k(largest), rtol=0, atol=0)


def test_the_error_of_draws_that_hardly_differ_is_not_lost_in_their_size():
    draws = 1e8 + 1e-3 * log_weights(level=0)
    moments, _ = streamed(draws, 10)
    torch.testing.assert_close(moments.error, PerImage.mean(draws).errors, rtol=1e-4, atol=0)


def test_a_single_draw_tells_no_error():
    moments, weights = streamed(log_weights()[:1], 1)
    assert moments.error.isnan().all()
    assert weights.log_mean.errors.isnan().all()
    assert weights.pareto_k.isnan().all()


def test_equal_weights_are_as_good_as_draws_of_the_posterior():
    _, weights = streamed(torch.full((K, B), -85.25, dtype=torch.float64), 10)
    torch.testing.assert_close(
        weights.effective_sample_size, torch.full((B,), float(K), dtype=torch.float64)
    )
    assert weights.log_mean.errors.max() < 1e-7
    assert (weights.pareto_k == -torch.inf).all()  # there is no tail


def test_a_weight_that_holds_the_sum_is_worth_one_draw_and_cannot_be_trusted():
    draws = log_weights(spread=30.0)
    draws[5] = 0.0
    _, weights = streamed(draws, 10)
    torch.testing.assert_close(weights.effective_sample_size, torch.ones(B, dtype=torch.float64))
    assert weights.pareto_k.isfinite().all()
    assert weights.pareto_k.min() > 0.7


def test_normal_logarithms_leave_the_effective_sample_size_of_their_variance():
    """Of log-normal weights, (E w)²/E w² is e^(−σ²)."""
    spread, n = 0.6, 200_000
    generator = torch.Generator().manual_seed(1)
    weights = ImportanceWeights(n)
    weights.add(spread * torch.randn(n, 1, dtype=torch.float64, generator=generator))
    share = weights.effective_sample_size.item() / n
    assert share == pytest.approx(math.exp(-(spread**2)), rel=0.01)
