"""The heavy-tailed likelihoods of real values against SciPy."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

from vaeflow.errors import ConfigError
from vaeflow.options import validate
from vaeflow.parts.likelihoods.laplace import Laplace
from vaeflow.parts.likelihoods.student_t import StudentT

SHAPE = (1, 2, 3)
NAMES = {Laplace: "b", StudentT: "sigma"}  # of the scale
both = pytest.mark.parametrize("part", NAMES)


def made(part, size, **options):
    return part(SHAPE, **{NAMES[part]: size}, **options)


def oracle(part, x, location, scale, df=5.0):
    law = stats.laplace(location, scale) if part is Laplace else stats.t(df, location, scale)
    return torch.as_tensor(law.logpdf(x)).flatten(-3).sum(-1)


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


@both
@pytest.mark.parametrize("link", ["identity", "sigmoid"])
@pytest.mark.parametrize("size", [0.05, 1.0, 150.0])
def test_fixed_scale_is_scipys(part, size, link):
    output, x = 2 * randn(5, 4, *SHAPE), 3 * randn(4, *SHAPE, seed=1)
    p = made(part, size, link=link)(output)
    assert (p.batch_shape, p.event_shape) == ((5, 4), SHAPE)
    location = 1 / (1 + torch.exp(-output)) if link == "sigmoid" else output
    wanted = oracle(part, x, location, size)
    torch.testing.assert_close(p.log_prob(x), wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(p.mean, location)


@both
def test_pixel_scale_is_the_second_channel(part):
    likelihood = made(part, 0.5, scale="pixel", floor=0.1)
    assert likelihood.output_shape == (2, *SHAPE)
    output, x = randn(5, 4, 2, *SHAPE), randn(4, *SHAPE, seed=1)
    raw = output[:, :, 1] + math.log(math.expm1(0.5 - 0.1))
    scale = np.log1p(np.exp(raw.numpy())) + 0.1
    wanted = oracle(part, x, output[:, :, 0], scale)
    torch.testing.assert_close(likelihood(output).log_prob(x), wanted, rtol=1e-12, atol=1e-12)


@both
def test_shared_scale_learns_the_spread_of_the_data(part):
    likelihood = made(part, 1.0, scale="shared").double()
    x = torch.as_tensor(
        stats.laplace(0, 0.3).rvs((3000, *SHAPE), random_state=1)
        if part is Laplace
        else stats.t(5, 0, 0.3).rvs((3000, *SHAPE), random_state=1)
    )
    optimizer = torch.optim.LBFGS(likelihood.parameters(), line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = -likelihood(torch.zeros_like(x)).log_prob(x).mean()
        value.backward()
        return value

    for _ in range(5):
        optimizer.step(loss)
    learned = likelihood.split(torch.zeros(SHAPE))[1].item()
    assert learned == pytest.approx(0.3, rel=0.02)
    if part is Laplace:  # the estimate of maximum likelihood is the mean size
        assert learned == pytest.approx(x.abs().mean().item(), rel=1e-4)


@both
@pytest.mark.parametrize("size", [0.05, 1.0, 150.0])
def test_peak_is_the_score_at_the_location(part, size):
    likelihood, x = made(part, size), randn(*SHAPE)
    assert likelihood.log_peak == pytest.approx(likelihood(x).log_prob(x).item(), rel=1e-12)
    assert (likelihood(x + size * randn(100, *SHAPE)).log_prob(x) < likelihood.log_peak).all()


@both
@pytest.mark.parametrize("scale", ["shared", "pixel"])
def test_learned_scale_has_no_known_peak(part, scale):
    assert part(SHAPE, scale=scale).log_peak == 0


@both
def test_gradients_match_finite_differences(part):
    likelihood = part(SHAPE, scale="pixel")
    output, x = randn(1, 2, 2, *SHAPE).requires_grad_(), randn(2, *SHAPE, seed=1)
    assert torch.autograd.gradcheck(lambda output: likelihood(output).log_prob(x), output)


@both
def test_far_values_are_finite_in_float32(part):
    output = torch.tensor([0.0, 1e4, -1e4, 0.0, 0.0, 3e4]).view(SHAPE).requires_grad_()
    x = torch.tensor([1e4, -1e4, 1e4, 0.0, -3e8, 3e4]).view(SHAPE)
    score = made(part, 0.01)(output).log_prob(x)
    (gradient,) = torch.autograd.grad(score, output)
    assert torch.isfinite(score)
    assert torch.isfinite(gradient).all()


def test_outlier_costs_less_than_a_gaussians():
    x = torch.full(SHAPE, 50.0, dtype=torch.float64)
    zero = torch.zeros_like(x)
    gaussian, laplace, student = -6 * 50**2 / 2, -6 * 50, -6 * 3 * math.log(1 + 50**2 / 5)
    for part, loss in ((Laplace, laplace), (StudentT, student)):
        likelihood = part(SHAPE)
        cost = likelihood(zero).log_prob(x).item() - likelihood.log_peak
        assert cost == pytest.approx(loss)
        assert cost > gaussian


@pytest.mark.parametrize("df", [1.01, 2.5, 30.0, 1e6])
def test_any_degrees_of_freedom_with_a_mean(df):
    output, x = randn(4, *SHAPE), randn(4, *SHAPE, seed=1)
    likelihood = StudentT(SHAPE, df=df)
    wanted = oracle(StudentT, x, output, 1.0, df)
    torch.testing.assert_close(likelihood(output).log_prob(x), wanted, rtol=1e-9, atol=1e-9)
    assert likelihood.log_peak == pytest.approx(likelihood(x).log_prob(x)[0].item(), rel=1e-9)


def test_degrees_of_freedom_below_one_are_refused():
    with pytest.raises(ConfigError, match=r"--likelihood.df: got 1, expected number > 1"):
        validate(StudentT, {"df": 1}, "likelihood")


def mp_student(x, df, sigma):
    """Return log p of Student's t around 0 and its derivatives in the mean and in σ."""
    with mpmath.workdps(60):
        x, nu, sigma = (mpmath.mpf(v) for v in (x, df, sigma))
        y = x / sigma
        tail = (nu + 1) * y / (nu + y * y)
        gammas = mpmath.loggamma((nu + 1) / 2) - mpmath.loggamma(nu / 2)
        scale = mpmath.log(sigma) + mpmath.log(mpmath.pi * nu) / 2
        log_p = gammas - scale - (nu + 1) / 2 * mpmath.log1p(y * y / nu)
        return tuple(map(float, (log_p, tail / sigma, (tail * y - 1) / sigma)))


@pytest.mark.parametrize(("dtype", "rel"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
@pytest.mark.parametrize("df", [1.5, 5.0, 100.0, 1e4, 1e6, 1e7, 1e12])
def test_any_degrees_of_freedom_keep_their_digits(df, dtype, rel):
    values = [0.0, 0.1, -1.0, 3.0, 40.0]
    part = StudentT((len(values),), df=df, scale="pixel", sigma=0.5, floor=0.1).to(dtype)
    mean = torch.zeros(len(values), dtype=dtype)
    sigma = torch.full_like(mean, 0.5).requires_grad_()
    mean.requires_grad_()
    part.split = lambda output: (mean, sigma)
    score = part(mean).base_dist.log_prob(torch.tensor(values, dtype=dtype))
    seen = (score, *torch.autograd.grad(score.sum(), (mean, sigma)))
    given = torch.tensor(values, dtype=dtype).tolist()
    exact = zip(*(mp_student(x, df, 0.5) for x in given), strict=True)
    for one, other in zip(seen, exact, strict=True):
        assert one.tolist() == pytest.approx(other, rel=rel, abs=rel)


@pytest.mark.parametrize("df", [1e4, 1e5, 1e6, 1e7, 1e12])
def test_large_degrees_of_freedom_are_the_gaussian_at_784_values(df):
    shape = (784,)
    x = randn(*shape).float()
    likelihood = StudentT(shape, df=df)
    score = likelihood(x[None, None]).log_prob(x).item()
    peak = 784 * mp_student(0.0, df, 1.0)[0]
    assert score == pytest.approx(peak, rel=1e-6)
    assert likelihood.log_peak == pytest.approx(peak, rel=1e-12)
    assert peak == pytest.approx(-784 * math.log(2 * math.pi) / 2, abs=784 / (3 * df))
