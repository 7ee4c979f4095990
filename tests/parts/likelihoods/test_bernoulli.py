"""The Bernoulli likelihood against enumeration and its formula."""

from itertools import product

import pytest
import torch

from vaeflow.parts.likelihoods.bernoulli import Bernoulli

SHAPE = (1, 2, 2)
ALL_IMAGES = torch.tensor(list(product([0.0, 1.0], repeat=4)), dtype=torch.float64).view(-1, *SHAPE)


def logits(*batch, scale=3.0):
    torch.manual_seed(0)
    return scale * torch.randn(*batch, *SHAPE, dtype=torch.float64)


@pytest.mark.parametrize("grey", [False, True])
def test_probabilities_of_all_images_sum_to_one(grey):
    p = Bernoulli(SHAPE, grey=grey)(logits(5, 1))  # against all 16 images
    total = p.log_prob(ALL_IMAGES).exp().sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)


def test_log_prob_is_the_formula():
    output = logits(5, 16)
    p = Bernoulli(SHAPE)(output)
    assert (p.batch_shape, p.event_shape) == ((5, 16), SHAPE)
    expected = (ALL_IMAGES * output - torch.log(1 + output.exp())).sum((-3, -2, -1))
    torch.testing.assert_close(p.log_prob(ALL_IMAGES), expected, rtol=0, atol=1e-12)


def test_grey_score_is_the_mean_over_binarizations():
    output = logits()
    grey = torch.tensor([[[0.1, 0.5], [0.9, 1.0]]], dtype=torch.float64)
    chance = (grey * ALL_IMAGES + (1 - grey) * (1 - ALL_IMAGES)).prod(-1).prod(-1).prod(-1)
    expected = (chance * Bernoulli(SHAPE)(output).log_prob(ALL_IMAGES)).sum()
    score = Bernoulli(SHAPE, grey=True)(output).log_prob(grey)
    torch.testing.assert_close(score, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_logits_are_finite(dtype):
    output = torch.tensor([100.0, -100.0, 100.0, -100.0], dtype=dtype).view(SHAPE)
    output.requires_grad_()
    x = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=dtype).view(SHAPE)
    score = Bernoulli(SHAPE)(output).log_prob(x)
    assert score.item() == pytest.approx(-200)
    (grad,) = torch.autograd.grad(score, output)
    expected = torch.tensor([0.0, 0.0, -1.0, 1.0], dtype=dtype).view(SHAPE)
    torch.testing.assert_close(grad, expected, rtol=0, atol=1e-6)


def test_log_peak_is_the_largest_score():
    likelihood = Bernoulli(SHAPE)
    assert likelihood(logits(5, 1)).log_prob(ALL_IMAGES).max() < likelihood.log_peak
    sure = likelihood(100 * (2 * ALL_IMAGES - 1)).log_prob(ALL_IMAGES)
    torch.testing.assert_close(sure, torch.full_like(sure, likelihood.log_peak))


def test_grey_values_must_be_asked_for():
    grey = torch.tensor([0.0, 0.5, 1.0])
    assert Bernoulli(SHAPE).support.check(grey).tolist() == [True, False, True]
    assert Bernoulli(SHAPE, grey=True).support.check(grey).all()
    beyond = torch.tensor([-0.1, 1.1])
    assert not Bernoulli(SHAPE).support.check(beyond).any()
    assert not Bernoulli(SHAPE, grey=True).support.check(beyond).any()


def test_decoder_must_emit_one_logit_per_value():
    assert Bernoulli(SHAPE).output_shape == SHAPE
    assert Bernoulli(SHAPE).data_shape == SHAPE
