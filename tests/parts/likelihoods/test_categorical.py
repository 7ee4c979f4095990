"""The categorical likelihood against enumeration and its formula."""

import math
from itertools import product

import pytest
import torch

from vaeflow.errors import ConfigError
from vaeflow.options import validate
from vaeflow.parts.likelihoods.categorical import Categorical

SHAPE = (1, 2, 2)


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def test_probabilities_of_all_images_sum_to_one():
    images = torch.tensor(list(product([0, 0.5, 1], repeat=4)), dtype=torch.float64)
    p = Categorical(SHAPE, levels=3)(3 * randn(5, 1, 3, *SHAPE))  # against all 81 images
    total = p.log_prob(images.view(-1, *SHAPE)).exp().sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)


def test_score_is_the_log_softmax_of_the_level():
    likelihood = Categorical(SHAPE)
    assert likelihood.output_shape == (256, *SHAPE)
    output = 3 * randn(5, 4, 256, *SHAPE)
    k = torch.randint(256, (4, *SHAPE), generator=torch.Generator().manual_seed(1))
    p = likelihood(output)
    assert (p.batch_shape, p.event_shape) == ((5, 4), SHAPE)
    chosen = output.gather(2, k[None, :, None].expand(5, 4, 1, *SHAPE)).squeeze(2)
    wanted = (chosen - output.exp().sum(2).log()).flatten(2).sum(-1)
    torch.testing.assert_close(p.log_prob((k / 255).float()), wanted, rtol=1e-12, atol=1e-12)


def test_equal_logits_cost_log_of_the_levels():
    nats = -Categorical((1, 8, 8))(torch.zeros(1, 1, 256, 1, 8, 8)).log_prob(torch.ones(1, 8, 8))
    assert nats.item() / (64 * math.log(2)) == pytest.approx(8)


def test_mean_is_in_the_datas_units():
    output = randn(2, 1, 17, *SHAPE)
    values = torch.arange(17).double().view(17, 1, 1, 1) / 16
    wanted = (output.softmax(2) * values).sum(2)
    torch.testing.assert_close(Categorical(SHAPE, levels=17)(output).mean, wanted)


def test_draws_have_the_probabilities_of_the_levels():
    likelihood = Categorical((1,), levels=5)
    output = torch.tensor([0.0, 1, -1, 0.5, 2]).view(1, 1, 5, 1)
    torch.manual_seed(0)
    x = likelihood(output).sample((20_000,))
    assert x.dtype == output.dtype
    assert likelihood.support.check(x).all()
    counts = torch.bincount((4 * x).long().flatten(), minlength=5) / len(x)
    torch.testing.assert_close(counts, output.flatten().softmax(0), rtol=0, atol=0.015)


def test_gradients_match_finite_differences():
    output = randn(1, 2, 5, *SHAPE).requires_grad_()
    x = torch.tensor([0.0, 0.25, 0.75, 1.0]).view(SHAPE)
    p = Categorical(SHAPE, levels=5)
    assert torch.autograd.gradcheck(lambda output: p(output).log_prob(x), output)


def test_extreme_logits_are_finite():
    output = (1e5 * randn(1, 1, 256, *SHAPE)).float().requires_grad_()
    x = torch.tensor([0.0, 1 / 255, 0.6, 1.0]).view(SHAPE)
    score = Categorical(SHAPE)(output).log_prob(x)
    (gradient,) = torch.autograd.grad(score.sum(), output)
    assert torch.isfinite(score).all()
    assert torch.isfinite(gradient).all()


def test_fewer_than_two_levels_are_refused():
    with pytest.raises(ConfigError, match=r"--likelihood.levels: got 1, expected integer ≥ 2"):
        validate(Categorical, {"levels": 1}, "likelihood")
