"""Paired differences: known answers, and intervals that cover as often as they claim."""

import math

import pytest
import torch
from scipy import stats

from vaeflow.comparison.differences import degrees_of_freedom, difference, intervals, over_seeds
from vaeflow.comparison.pairing import Pairing


def test_of_a_single_seed_the_images_are_the_unit():
    one, other = torch.tensor([[1.0, 2.0, 4.0, 5.0]]), torch.tensor([[0.0, 0.0, 0.0, 0.0]])
    found = difference(one, other)
    error = math.sqrt((4 + 1 + 1 + 4) / 3 / 4)  # around the mean of 3
    assert (found.mean, found.standard_error) == pytest.approx((3.0, error))
    assert (found.low, found.high) == pytest.approx(
        (3 - 3.18245 * error, 3 + 3.18245 * error), abs=1e-4
    )
    assert found.of_seeds is None
    assert found.covers == "other test examples, not other seeds"


def test_of_several_seeds_the_seeds_are_the_unit():
    """Images that all differ by the same leave the seeds' means alone, and Welch's test."""
    images = torch.tensor([0.0, 10.0, -3.0, 7.0])
    one = images + torch.tensor([[1.0], [2.0], [3.0]])
    other = images + torch.tensor([[0.0], [2.0]])
    found = difference(one, other)
    variance = 1 / 3 + 2 / 2  # s²/S on either side
    assert found.mean == pytest.approx(1.0)
    assert found.standard_error == pytest.approx(math.sqrt(variance))
    assert found.of_seeds == pytest.approx(math.sqrt(variance))
    assert found.of_images == pytest.approx(0.0, abs=1e-9)
    assert found.covers == "other seeds and other test examples"


def test_pairs_of_a_seed_are_the_unit_where_seeds_are_shared():
    """What seeds 3, 5 and 8 do to both is 100 times what is left; scipy's paired t-test tells."""
    g = torch.Generator().manual_seed(0)
    seeds = 100 * torch.randn(3, 1, generator=g, dtype=torch.float64)
    one, other = (seeds + torch.randn(3, 1, generator=g).double().expand(3, 6) for _ in "ab")
    shuffled = other[[2, 0, 1]]
    found = difference(one, shuffled, Pairing((3, 5, 8), (8, 3, 5)))
    oracle = stats.ttest_rel(one[:, 0], other[:, 0])
    low, high = oracle.confidence_interval(0.95)
    assert found.mean / found.standard_error == pytest.approx(oracle.statistic)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.degrees_of_freedom == pytest.approx(2)
    assert difference(one, other).standard_error > 30 * found.standard_error


@pytest.mark.parametrize("degrees", [1, 4, 9])
def test_a_single_variance_has_its_own_degrees_of_freedom(degrees):
    variances = torch.tensor([[0.3, 0.0], [0.0, 0.0]], dtype=torch.float64)
    found = degrees_of_freedom(variances, [degrees, 299])
    assert found.tolist() == pytest.approx([degrees, 299])


def test_many_degrees_of_freedom_are_those_of_satterthwaite():
    variances = torch.tensor([0.3, 0.7], dtype=torch.float64)
    degrees = 40_000, 90_000
    oracle = 1 / (0.3**2 / degrees[0] + 0.7**2 / degrees[1])
    assert degrees_of_freedom(variances, degrees).item() == pytest.approx(oracle, rel=1e-2)


def test_images_that_respond_differently_add_to_the_error_of_seeds():
    effect = torch.tensor([0.0, 1.0, 2.0, 3.0])
    one = effect + torch.tensor([[1.0], [3.0]])
    other = torch.tensor([[0.0], [0.0]]).expand(2, 4)
    found = difference(one, other)
    assert found.of_seeds == pytest.approx(1.0)
    assert found.of_images == pytest.approx(math.sqrt(effect.var().item() / 4))
    assert found.standard_error == pytest.approx(math.hypot(found.of_seeds, found.of_images))


def test_a_residual_of_neither_seed_nor_image_counts_once():
    """Here it is all that the means of images differ by."""
    one = torch.tensor([[2.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, -1.0]])  # residuals of ± ½
    found = difference(one, torch.zeros(2, 4))
    assert found.of_images == pytest.approx(0.0, abs=1e-6)
    assert found.standard_error == pytest.approx(found.of_seeds) == pytest.approx(0.5)


def test_pairing_images_makes_the_error_smaller():
    g = torch.Generator().manual_seed(0)
    images = 10 * torch.randn(200, generator=g)
    one = (images + 0.3 * torch.randn(200, generator=g))[None]
    other = (images + 0.3 * torch.randn(200, generator=g))[None]
    unpaired = math.sqrt((one.var() + other.var()).item() / 200)
    assert difference(one, other).standard_error < unpaired / 10


def coverage(one, other, *, shared=0.0, of_images=0.0, spread=1.0, replications=10_000):
    """Return how many 95 % intervals hold the truth, of seeds and images drawn anew each time.

    Arguments:
        one: the seeds of a group.
        other: the seeds of another.
        shared: the correlation of what a seed does to both.
        of_images: the standard deviation over images of the groups' true difference.
        spread: the standard deviation over seeds of the first group; the other has 1.
    """
    g = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(replications, *shape, generator=g, dtype=torch.float64)

    of_seed = {seed: normal() for seed in sorted({*one, *other})}
    images = 10 * normal(1, 20)

    def train(seeds, scale):
        common = torch.stack([of_seed[seed] for seed in seeds], 1)
        effect = math.sqrt(shared) * common + math.sqrt(1 - shared) * normal(len(seeds))
        return images + scale * effect[..., None] + 0.5 * normal(len(seeds), 20)

    first = train(one, spread) + of_images * normal(1, 20)
    samples = Pairing(tuple(one), tuple(other)).samples(first + 2.0, train(other, 1.0))
    found = intervals(samples)
    return ((found["low"] <= 2.0) & (found["high"] >= 2.0)).double().mean().item()


@pytest.mark.parametrize("of_images", [0.0, 0.5])
@pytest.mark.parametrize("shared", [0.0, 0.95])
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_intervals_of_shared_seeds_cover_other_seeds_and_images(seeds, shared, of_images):
    held = coverage(range(seeds), range(seeds), shared=shared, of_images=of_images)
    assert 0.94 <= held <= 0.96


@pytest.mark.parametrize("of_images", [0.0, 0.5])
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_intervals_of_other_seeds_cover_other_seeds_and_images(seeds, of_images):
    assert 0.94 <= coverage(range(seeds), range(seeds, 2 * seeds), of_images=of_images) <= 0.96


@pytest.mark.parametrize(("one", "other"), [(2, 10), (10, 2), (2, 3), (2, 5), (3, 10)])
@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0])
def test_intervals_of_unequal_numbers_of_seeds_cover_as_often(one, other, spread):
    held = coverage(range(one), range(one, one + other), spread=spread)
    assert 0.935 <= held <= 0.975


def test_intervals_of_some_shared_seeds_cover_as_often():
    assert 0.94 <= coverage(range(5), range(3), shared=0.9) <= 0.96
    assert 0.94 <= coverage(range(5), range(2, 7), shared=0.9) <= 0.96


@pytest.mark.parametrize("shared", [0.0, 0.5, 0.95])
def test_a_few_shared_seeds_make_the_interval_too_wide_at_most(shared):
    assert coverage(range(10), range(8, 18), shared=shared) >= 0.945


def test_where_the_images_make_most_of_the_error_two_seeds_are_cautious():
    """As the docstring admits."""
    assert 0.96 < coverage(range(2), range(2), shared=0.95, of_images=3.0) <= 0.985


def test_the_mean_over_seeds_has_no_error_of_one():
    found = over_seeds([1.0, 3.0])
    assert (found.mean, found.standard_error) == pytest.approx((2.0, 1.0))
    assert over_seeds([1.0]).standard_error is None
