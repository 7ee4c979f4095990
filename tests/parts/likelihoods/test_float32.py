"""Every likelihood scores in float32 as in float64, at the extremes too."""

import copy

import pytest
import torch

from vaeflow.parts import likelihoods as built_in
from vaeflow.parts.abstract import Likelihood

VALUES = 500
PARTS = [
    (getattr(built_in, name), options)
    for name, choices in {
        "Bernoulli": [{}],
        "Categorical": [{"levels": 8}],
        "ContinuousBernoulli": [{}],
        "DiscretizedLogistic": [{"scale": "pixel"}, {"scale": "fixed"}, {"levels": 65536}],
        "DiscretizedLogisticMixture": [{}],
        "Gaussian": [{"scale": "pixel"}, {"scale": "fixed", "sigma": 1e-3}],
        "Laplace": [{"scale": "pixel"}],
        "NegativeBinomial": [{"dispersion": "pixel"}, {"dispersion": "pixel", "r": 1e9}],
        "PerColumn": [{}],
        "Poisson": [{}],
        "StudentT": [{"scale": "pixel"}, {"scale": "pixel", "df": 1e8}],
    }.items()
    for options in choices
]


def randn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def data_for(part: Likelihood, output: torch.Tensor) -> torch.Tensor:
    """Return draws of p(x|z) for the half of the outputs, and of other outputs' for the rest."""
    torch.manual_seed(0)
    with torch.no_grad():
        x = part(output).sample().clamp(-1e9, 1e9)
    return torch.cat([x[: VALUES // 2], x[VALUES // 2 :].roll(1, 0)])


def test_every_likelihood_is_here():
    assert {part.__name__ for part, _ in PARTS} == set(built_in.__all__)


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("size", [1e-6, 1.0, 10.0, 1e4])
@pytest.mark.parametrize(("cls", "options"), PARTS)
def test_float32_agrees_with_float64(cls, options, size, offset):
    part = cls((1,), **options)
    output = size * randn(VALUES, 1, *part.output_shape) + offset
    x = data_for(part, output)
    narrow, wide = output.requires_grad_(), output.detach().double().requires_grad_()
    seen = part(narrow).log_prob(x)
    wanted = copy.deepcopy(part).double()(wide).log_prob(x.double())
    (slope,) = torch.autograd.grad(seen.sum(), narrow)
    (wanted_slope,) = torch.autograd.grad(wanted.sum(), wide)
    # A level is rounded by 3e-8, which the smallest scale of a discretized logistic, 5e-4, divides.
    atol = 1e-4 if hasattr(part, "levels") and cls is not built_in.Categorical else 2e-6
    torch.testing.assert_close(seen.double(), wanted, rtol=1e-6, atol=atol)
    largest = wanted_slope.abs().amax().item()
    torch.testing.assert_close(slope.double(), wanted_slope, rtol=1e-4, atol=1e-5 * (1 + largest))
