"""The tails of importance weights against other programs, known laws and exact posteriors."""

import math

import pytest
import torch
from linear_gaussian import SIGMA, LinearGaussian
from pyro.ops.stats import fit_generalized_pareto

from vaeflow.evaluation import evaluate, evaluate_images
from vaeflow.evaluation.pareto import generalized_pareto_k, pareto_k, tail_size
from vaeflow.parts.posteriors.identity import Identity


def k_of(log_weight):
    """The k̂ of log weights (K, B)."""
    return pareto_k(log_weight.topk(tail_size(len(log_weight)) + 1, 0).values)


def generator(seed):
    return torch.Generator().manual_seed(seed)


LAWS = {
    "heavy": lambda u: u**-1.2 - 0.99,
    "light": lambda u: -u.log() + 0.01,
    "bounded": lambda u: 1.5 - u,
    "log-normal": lambda u: (1.5 * torch.special.ndtri(u)).exp(),
}


def tied(log_weight, how):
    """Make some of log weights (K) equal."""
    order, m = log_weight.sort(descending=True), tail_size(len(log_weight))
    equal = {
        "none": [],
        "at the cut-off": [(m - m // 3, m + m // 3)],
        "in the tail": [(m // 4, m // 2), (m // 2, m)],
        "at the top": [(0, m // 3)],
    }
    if how == "rounded":
        return (log_weight / 0.05).round() * 0.05
    tied = order.values.clone()
    for first, last in equal[how]:
        tied[first:last] = tied[last - 1]
    return torch.empty_like(log_weight).scatter_(0, order.indices, tied)


def sets():
    """200 sets of log weights: four laws, each with five kinds of ties."""
    for seed in range(10):
        # Of so many weights every program takes as many for the tail.
        u = torch.rand((100, 2500)[seed % 2], dtype=torch.float64, generator=generator(seed))
        for law, inverse in LAWS.items():
            for how in ("none", "rounded", "at the cut-off", "in the tail", "at the top"):
                yield law, how, tied(inverse(u).log() - 700, how)


def over_threshold(log_weight):
    """The excesses of the tail over the largest weight that is none of it, in descending order."""
    m = math.ceil(min(len(log_weight) / 5, 3 * math.sqrt(len(log_weight))))
    weights = (log_weight - log_weight.max()).exp().sort(descending=True).values
    return weights[:m] - weights[m]


def test_the_tail_is_that_of_pyro_with_ties_as_without():
    cut = 0
    for law, how, log_weight in sets():
        excess = over_threshold(log_weight)
        cut += bool(excess.min() == 0)
        excess = excess[excess > 0]
        if how == "rounded" and len(excess.unique()) == 1:  # of some sizes Pyro divides 0 by 0
            excess[1:] *= 1 - 1e-9
        expected, _ = fit_generalized_pareto(excess)
        assert k_of(log_weight[:, None]).item() == pytest.approx(expected, abs=1e-6), (law, how)
    assert cut >= 40  # sets with a tie at the cut-off


def test_the_tail_is_that_of_arviz():
    """Where nothing ties with the cut-off: ArviZ then fits excesses of 0, which have no law."""
    arviz = pytest.importorskip(
        "arviz_stats.base", reason="arviz-stats is not installed"
    ).array_stats
    compared = 0
    for law, how, log_weight in sets():
        if over_threshold(log_weight).min() > 0:
            _, expected = arviz.psislw(-log_weight.numpy())
            found = k_of(log_weight[:, None]).item()
            assert found == pytest.approx(float(expected), abs=1e-6), (law, how)
            compared += 1
    assert compared >= 120


def exact_model(dtype):
    """Principal axes make the posterior a diagonal Gaussian, which `identity` can be."""
    world = LinearGaussian()
    axes = torch.linalg.qr(world.w)[0]
    model = world.model()
    model.decoder.w.data = 2 * axes
    gain = 2 / (4 + SIGMA**2)
    model.posterior = Identity(world.latent, model.encoder.features).double()
    with torch.no_grad():
        head = model.posterior.head
        head.weight.copy_(torch.cat([gain * axes.T, torch.zeros_like(axes.T)]))
        head.bias[: world.latent] = -gain * axes.T @ world.c
        head.bias[world.latent :] = math.log(SIGMA**2 / (4 + SIGMA**2))
    return model.to(dtype)


@pytest.mark.parametrize("samples", [100, 5000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_exact_q_has_weights_without_a_tail(dtype, samples):
    model = exact_model(dtype)
    torch.manual_seed(0)
    with torch.no_grad():
        x = model.generate(model.latent_prior().sample((60,))[None]).sample()[0]
    (found,) = evaluate_images(model, x, samples=samples, proposal="q")
    torch.testing.assert_close(
        found.effective_sample_size, torch.full((60,), float(samples)).double(), rtol=1e-6, atol=0
    )
    assert (found.pareto_k == -torch.inf).all()
    bounds = evaluate(model, x, samples=samples, proposal="q")
    assert bounds.pareto_k.share_above == 0
    assert bounds.as_dict()["pareto_k"] == {"median": None, "share_above": 0}
    (finding,) = bounds.findings
    assert str(finding).startswith("Pareto-k̂ of the weights −∞ (median: equal but for rounding)")
    assert str(finding).endswith("at 0% of the examples")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("samples", [100, 5000])
@pytest.mark.parametrize("level", [-0.3, -85.25, -9000.0])
def test_rounding_is_no_tail(dtype, samples, level):
    """Weights that a few roundings tell apart, and weights of which some are equal."""
    noise = torch.randn(samples, 200, generator=generator(0), dtype=torch.float64)
    rounded = (level * (1 + 3 * torch.finfo(dtype).eps * noise)).to(dtype)
    assert (k_of(rounded) == -torch.inf).all()
    half = torch.where(noise > noise.median(), rounded, torch.full_like(rounded, level))
    assert (k_of(half) == -torch.inf).all()


def test_weights_that_rounding_parts_from_the_threshold_are_none_of_the_tail():
    """Twelve of 20 weights stand clear: their law is fitted, and the others have no say."""
    u = torch.rand(12, 50, dtype=torch.float64, generator=generator(1))
    clear = (1 - u.log()).log()
    jitter = 1e-16 * torch.randn(88, 50, dtype=torch.float64, generator=generator(2))
    exact, near = torch.cat([clear, 0 * jitter]), torch.cat([clear, jitter])
    torch.testing.assert_close(k_of(near), k_of(exact), rtol=0, atol=1e-12)
    assert k_of(near).isfinite().all()


def test_a_few_weights_above_equal_ones_cannot_be_trusted():
    log_weight = torch.zeros(1000, 3, dtype=torch.float64)
    log_weight[:4, 1] = torch.tensor([1.0, 2.0, 3.0, 9.0])
    log_weight[:4, 2] = -1.0
    assert k_of(log_weight).tolist() == [-math.inf, math.inf, -math.inf]


def pareto(k, count, repeats):
    """Draw from the generalized Pareto law of shape k and scale 1."""
    generator = torch.Generator().manual_seed(2)
    u = torch.rand(count, repeats, dtype=torch.float64, generator=generator)
    return (u**-k - 1) / k


@pytest.mark.parametrize("k", [-0.2, 0.1, 0.5, 0.7, 1.3])
def test_the_shape_of_a_generalized_pareto_law_is_found(k):
    """The prior counts as ten draws at ½; the rest is the fit's own bias, of order 1/M."""
    m, repeats = 400, 300
    found = generalized_pareto_k(pareto(k, m, repeats).sort(0).values)
    expected = (m * k + 10 * 0.5) / (m + 10)
    assert found.mean().item() == pytest.approx(expected, abs=0.02)
    # The asymptotic error of the maximum-likelihood estimate is (1 + k)/√M, for k > −½.
    assert found.std().item() == pytest.approx((1 + k) / math.sqrt(m), rel=0.15)


@pytest.mark.parametrize("k", [0.0, 1.5])
def test_the_shape_of_few_draws_is_drawn_towards_a_half(k):
    """Twenty draws against the ten of the prior: a third of the way, but for the fit's bias."""
    found = generalized_pareto_k(pareto(k or 1e-9, 20, 2000).sort(0).values).mean().item()
    assert found == pytest.approx((20 * k + 10 * 0.5) / 30, abs=0.12)


@pytest.mark.parametrize("k", [0.2, 0.6, 1.1])
def test_the_tail_of_weights_has_the_shape_that_they_were_drawn_with(k):
    """Above any threshold, a generalized Pareto law has the same shape again."""
    n, repeats = 5000, 200
    m = tail_size(n)
    found = k_of((1 + pareto(k, n, repeats)).log() - 300)
    expected = (m * k + 10 * 0.5) / (m + 10)
    assert found.mean().item() == pytest.approx(expected, abs=0.03)


def test_the_tail_holds_a_fifth_of_few_weights_and_three_roots_of_many():
    assert [tail_size(k) for k in (1, 20, 25, 100, 225, 5000)] == [0, 0, 5, 20, 45, 213]
