"""Paired differences: known answers, and intervals that cover as often as they claim."""

import math

import pytest
import torch

from vaeflow.comparison.differences import difference, over_seeds


def test_of_a_single_seed_the_images_are_the_unit():
    one, other = torch.tensor([[1.0, 2.0, 4.0, 5.0]]), torch.tensor([[0.0, 0.0, 0.0, 0.0]])
    found = difference(one, other)
    error = math.sqrt((4 + 1 + 1 + 4) / 3 / 4)  # around the mean of 3
    assert (found.mean, found.standard_error) == pytest.approx((3.0, error))
    assert (found.low, found.high) == pytest.approx(
        (3 - 3.18245 * error, 3 + 3.18245 * error), abs=1e-4
    )
    assert found.of_seeds is None
    assert found.covers == "other test images, not other seeds"


def test_of_several_seeds_the_seeds_are_the_unit():
    """Images that all differ by the same leave the seeds' means alone, and Welch's test."""
    images = torch.tensor([0.0, 10.0, -3.0, 7.0])
    one = images + torch.tensor([[1.0], [2.0], [3.0]])
    other = images + torch.tensor([[0.0], [2.0]])
    found = difference(one, other)
    parts = (1 / 3, 2 / 2)  # s²/S on either side
    variance = sum(parts)
    degrees = variance**2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 1)
    assert found.mean == pytest.approx(1.0)
    assert found.standard_error == pytest.approx(math.sqrt(variance))
    assert found.of_seeds == pytest.approx(math.sqrt(variance))
    assert found.of_images == pytest.approx(0.0, abs=1e-9)
    assert found.degrees_of_freedom == pytest.approx(degrees)
    assert found.covers == "other seeds and other test images"


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


@pytest.mark.parametrize(
    ("seeds", "of_images", "of_seeds"), [((3, 3), 1.0, 0.1), ((5, 2), 1.0, 0.3), ((3, 3), 0.1, 1.0)]
)
def test_intervals_cover_new_seeds_and_new_images(seeds, of_images, of_seeds):
    """Of intervals drawn anew, images and seeds and all, 95 % hold the truth.

    Satterthwaite's degrees of freedom are cautious with few seeds, where it may be 97 %.
    """
    g = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=g)

    def train(count, images):
        return images + of_seeds * normal(count, 1) + 0.5 * normal(count, 30)

    hits = 0
    for _ in range(1000):
        images = 10 * normal(30)
        one = train(seeds[0], images + 2.0 + of_images * normal(30))
        found = difference(one, train(seeds[1], images))
        hits += found.low <= 2.0 <= found.high
    assert 0.935 <= hits / 1000 <= 0.98


def test_the_mean_over_seeds_has_no_error_of_one():
    found = over_seeds([1.0, 3.0])
    assert (found.mean, found.standard_error) == pytest.approx((2.0, 1.0))
    assert over_seeds([1.0]).standard_error is None
