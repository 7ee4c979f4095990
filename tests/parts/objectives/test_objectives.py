"""The ELBO's weight, its two forms of the KL term and its mean over samples."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Distribution, Independent, Normal

from vaeflow.distributions.draw import Draw, draw
from vaeflow.distributions.flow import Flow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.errors import ConfigError, PluginError
from vaeflow.parts.abstract import Objective
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.parts.objectives.iwae import IWAE, DReG
from vaeflow.parts.objectives.stl import STL
from vaeflow.terms import DrawPath, Terms

TOLERANCE = {"rtol": 0, "atol": 1e-12}


def gaussian_terms(samples, images=4, latent=3, flow=False):
    """Return terms at a Gaussian posterior and prior; log p(x|z) = −½‖z − x‖² for some x."""
    torch.manual_seed(0)
    options = {"dtype": torch.float64}
    q = DiagonalNormal(
        torch.randn(images, latent, **options), torch.randn(images, latent, **options)
    )
    if flow:
        q = Flow(q, [])
    prior = Independent(Normal(torch.zeros(latent, **options), torch.ones(latent, **options)), 1)
    sample = draw(q, (samples,))
    return Terms(
        log_px=-0.5 * (sample.z - torch.randn(images, latent, **options)).square().sum(-1),
        log_pz=prior.log_prob(sample.z),
        sample=sample,
        posterior=q,
        prior=prior,
    )


def made_up_terms(samples, images=4):
    """Return terms of arbitrary numbers, with a log-determinant that is not 0."""
    generator = torch.Generator().manual_seed(1)
    log_px, log_pz, log_base, log_det = torch.randn(
        4, samples, images, dtype=torch.float64, generator=generator
    )
    z = torch.zeros(samples, images, 2, dtype=torch.float64)
    return Terms(log_px, log_pz, Draw(z, log_base, log_det), posterior=None, prior=None)


def beta(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 4.0])
def test_beta_weighs_the_sampled_kl(weight):
    terms = made_up_terms(samples=5)
    log_qz = terms.log_base - terms.log_det
    expected = (terms.log_px - weight * (log_qz - terms.log_pz)).mean(0)
    torch.testing.assert_close(ELBO()(terms, beta(weight)), expected, **TOLERANCE)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 4.0])
def test_beta_weighs_the_analytic_kl(weight):
    terms = gaussian_terms(samples=5)
    mean, log_variance = terms.posterior.mean, terms.posterior.variance.log()
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(-1)
    value = ELBO(kl="analytic")(terms, beta(weight))
    torch.testing.assert_close(value, terms.log_px.mean(0) - weight * kl, **TOLERANCE)


def test_at_beta_one_it_is_the_mean_log_weight():
    terms = made_up_terms(samples=5)
    value = ELBO(samples=5)(terms, beta(1.0))
    assert value.shape == (4,)
    torch.testing.assert_close(value, terms.log_weight.mean(0), **TOLERANCE)


@pytest.mark.parametrize("kl", ["sampled", "analytic"])
def test_k_samples_are_averaged(kl):
    terms = gaussian_terms(samples=5)
    objective = ELBO(kl=kl)
    single = []
    for k in range(5):
        one = [x[k : k + 1] for x in (terms.log_px, terms.log_pz, *terms.sample[:3])]
        alone = Terms(*one[:2], Draw(*one[2:]), terms.posterior, terms.prior)
        single.append(objective(alone, beta(0.7)))
    assert torch.stack(single).std(0).min() > 1e-3
    together = objective(terms, beta(0.7))
    torch.testing.assert_close(together, torch.stack(single).mean(0), **TOLERANCE)


def test_analytic_kl_equals_sampled_kl():
    samples = 100_000
    terms = gaussian_terms(samples)
    # Without log p(x|z), the objective at β = 1 is −KL.
    terms = Terms(**{**vars(terms), "log_px": torch.zeros_like(terms.log_px)})
    sampled, analytic = (-ELBO(kl=kl)(terms, beta(1.0)) for kl in ("sampled", "analytic"))
    error = (terms.log_qz - terms.log_pz).std(0) / samples**0.5
    assert (analytic > 0.5).all()
    assert ((sampled - analytic).abs() < 4 * error).all()
    assert error.max() < 0.02


def test_analytic_kl_of_a_flow_is_unknown():
    with pytest.raises(ConfigError, match=r"use --objective\.kl sampled"):
        ELBO(kl="analytic")(gaussian_terms(5, flow=True), beta(1.0))


@pytest.mark.parametrize("final", [0.5, 1.0, 4.0])
def test_weight_rises_linearly_and_stays(final):
    objective = ELBO(beta=final, warmup=8.0)
    weights = [objective.weight(epoch) for epoch in (0, 0.01, 2, 4, 7.99, 8, 8.01, 100)]
    shares = [0, 0.00125, 0.25, 0.5, 0.99875, 1, 1, 1]
    assert weights == pytest.approx([final * share for share in shares])


@pytest.mark.parametrize("final", [0.0, 1.0, 4.0])
def test_weight_without_warmup_is_final(final):
    objective = ELBO(beta=final)
    assert [objective.weight(epoch) for epoch in (0.0, 0.5, 10.0)] == [final] * 3


def test_objective_has_samples_and_warmup():
    objective = ELBO(samples=7, warmup=3.0)
    assert (objective.samples, objective.warmup) == (7, 3.0)


def test_objective_of_ones_own_has_weight_one():
    class Mine(Objective):
        def __call__(self, terms, beta):
            return terms.log_px.mean(0)

    assert Mine().weight(0.0) == 1.0
    assert (Mine().samples, Mine().warmup) == (1, 0.0)


def test_sampled_kl_has_gradients_through_the_draw():
    mean = torch.tensor([[1.0, -2.0]], dtype=torch.float64, requires_grad=True)
    q = DiagonalNormal(mean, torch.zeros_like(mean))
    prior = DiagonalNormal(torch.zeros(2).double(), torch.zeros(2).double())
    sample = draw(q, (6,))
    terms = Terms(
        log_px=torch.zeros(6, 1, dtype=torch.float64),
        log_pz=prior.log_prob(sample.z),
        sample=sample,
        posterior=q,
        prior=prior,
    )
    (grad,) = torch.autograd.grad(ELBO()(terms, beta(0.5)).sum(), mean)
    # log q(z) does not move with the mean; −β ∂(½z²) does, through z = mean + ε.
    torch.testing.assert_close(grad, -0.5 * sample.z.detach().mean(0), **TOLERANCE)


def test_weight_rises_in_every_cycle():
    objective = ELBO(beta=2.0, warmup=4.0, cycles=3)
    weights = [objective.weight(t) for t in (0, 2, 4, 8, 8.02, 10, 13, 16, 19, 20, 24.5, 1e6)]
    assert weights == pytest.approx([0, 1, 2, 2, 0.01, 1, 2, 2, 1.5, 2, 2, 2])
    assert objective.warmup == 20


def test_cycles_of_no_warmup_are_refused():
    with pytest.raises(ConfigError, match=r"give --objective\.warmup"):
        ELBO(cycles=2)


# Free bits


def kl_of(terms):
    """Return KL(q(z_j|x) ‖ N(0, 1)) of each image and dimension."""
    mean, variance = terms.posterior.mean, terms.posterior.variance
    return 0.5 * (mean**2 + variance - 1 - variance.log())


@pytest.mark.parametrize("kl", ["analytic", "sampled"])
def test_free_bits_of_each_dimension(kl):
    terms = gaussian_terms(samples=2000, images=6)
    per_dimension = kl_of(terms).mean(0)
    bits = per_dimension.median().item() + 1e-3
    assert (per_dimension > bits).any()
    assert (per_dimension < bits).sum() == 2
    value = ELBO(kl=kl, free_bits=bits, free="dimension")(terms, beta(0.5)).mean()
    expected = terms.log_px.mean() - 0.5 * per_dimension.clamp(min=bits).sum()
    tolerance = 1e-12 if kl == "analytic" else 0.1
    assert value.item() == pytest.approx(expected.item(), abs=tolerance)


@pytest.mark.parametrize(("bits", "charged"), [(0.01, "the KL"), (50.0, "λ")])
def test_free_bits_in_total(bits, charged):
    terms = gaussian_terms(samples=3, flow=True)
    kl = terms.sampled_kl().mean()
    value = ELBO(free_bits=bits)(terms, beta(2.0)).mean()
    expected = terms.log_px.mean() - 2.0 * (kl if charged == "the KL" else bits)
    assert value.item() == pytest.approx(expected.item(), abs=1e-12)


def test_free_bits_have_no_gradient():
    mean = torch.tensor([[3.0, 0.1], [2.0, -0.2]], dtype=torch.float64, requires_grad=True)
    q = DiagonalNormal(mean, torch.zeros_like(mean))
    prior = DiagonalNormal(torch.zeros(2).double(), torch.zeros(2).double())
    sample = draw(q, (1,))
    terms = Terms(0 * sample.z.sum(-1), prior.log_prob(sample.z), sample, q, prior)
    value = ELBO(kl="analytic", free_bits=0.5, free="dimension")(terms, beta(1.0)).mean()
    (grad,) = torch.autograd.grad(value, mean)
    # The first dimension has a mean KL of ½(9 + 4)/2 > ½, the second one less: ∂(−½μ²)/2 = −μ/2.
    expected = torch.tensor([[-1.5, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(grad, expected, **TOLERANCE)


def test_free_bits_of_a_flows_dimensions_are_refused():
    with pytest.raises(ConfigError, match=r"use --objective\.free total"):
        ELBO(free_bits=0.1, free="dimension")(gaussian_terms(5, flow=True), beta(1.0))


# IWAE, DReG and STL


@pytest.mark.parametrize("objective", [IWAE, DReG])
@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_importance_weighted_bound_is_the_log_mean_weight(objective, weight):
    terms = gaussian_terms(samples=5)
    log_w = terms.log_px - weight * (terms.log_qz - terms.log_pz)
    expected = log_w.exp().mean(0).log()
    torch.testing.assert_close(objective(samples=5)(terms, beta(weight)), expected, **TOLERANCE)


def test_stl_has_the_value_of_the_elbo():
    terms = gaussian_terms(samples=5)
    torch.testing.assert_close(STL()(terms, beta(0.3)), ELBO()(terms, beta(0.3)), **TOLERANCE)


class Line:
    """A model of one latent number: p(z) = N(0, 1), p(x|z) = N(x; wz, s²), q = N(a·x + b, e^2c)."""

    def __init__(self, flow):
        f64 = {"dtype": torch.float64, "requires_grad": True}
        self.q = [torch.tensor(v, **f64) for v in (0.2, -0.6, -0.3)]
        self.p = [torch.tensor(v, **f64) for v in (1.3, -0.2)]
        self.x = torch.tensor([1.1], dtype=torch.float64)
        self.flow = flow

    def terms(self, samples, repeats):
        (a, b, c), (w, log_s) = self.q, self.p
        x = self.x.expand(repeats)
        base = DiagonalNormal((a * x + b)[:, None], (2 * c).expand(repeats, 1))
        maps = [Stretch(a)] if self.flow else []
        q = Flow(base, maps) if self.flow else base
        prior = DiagonalNormal(torch.zeros(1).double(), torch.zeros(1).double())
        sample = draw(q, (samples,))
        path = DrawPath.of(sample.z)
        px = Independent(Normal(w * path.z, log_s.exp()), 1)
        return Terms(px.log_prob(x[:, None]), prior.log_prob(path.z), sample, q, prior, path)


class Stretch:
    """z -> z + a·sinh(z)/2: it bends, and tells no inverse."""

    def __init__(self, a):
        self.a = a

    def __call__(self, z):
        slope = torch.log1p(self.a * z.cosh() / 2).sum(-1)
        return z + self.a * z.sinh() / 2, slope


def gradients(objective, flow, samples, repeats, seed, weight=1.0):
    """Return the gradient in the parameters of q, and in those of p, of the mean of B values."""
    torch.manual_seed(seed)
    line = Line(flow)
    value = objective(line.terms(samples, repeats), beta(weight)).mean()
    parts = torch.autograd.grad(value, [*line.q, *line.p])
    return torch.stack(parts)


def slopes_of_the_bound(samples, flow):
    """Return the derivatives of the expected bound for K = 1 or 2: quadrature, then differences.

    The expectation is over the noise ε of every draw, by Gauss-Hermite; no autograd is in it.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()

    def bound(values):
        a, b, c, w, log_s = values
        z0 = a * 1.1 + b + np.exp(c) * nodes
        z, log_det = z0, 0.0
        if flow:
            z, log_det = z0 + a * np.sinh(z0) / 2, np.log1p(a * np.cosh(z0) / 2)
        log_q = -0.5 * nodes**2 - c - log_det
        log_p = -0.5 * z**2 - 0.5 * ((1.1 - w * z) / np.exp(log_s)) ** 2 - log_s
        log_w = log_p - log_q - 0.5 * np.log(2 * np.pi)
        if samples == 1:
            return weights @ log_w
        pairs = np.logaddexp(log_w[:, None], log_w[None, :]) - np.log(2)
        return weights @ pairs @ weights

    line = Line(flow)
    at = np.array([p.item() for p in (*line.q, *line.p)])
    steps = 1e-5 * np.eye(len(at))
    return torch.tensor([(bound(at + e) - bound(at - e)) / 2e-5 for e in steps])


@pytest.mark.parametrize("flow", [False, True])
@pytest.mark.parametrize(
    "objective", [ELBO(), STL(), IWAE(samples=2), DReG(samples=2)], ids=lambda o: type(o).__name__
)
def test_mean_gradient_is_the_slope_of_the_bound(objective, flow):
    wanted = slopes_of_the_bound(objective.samples, flow)
    many = [gradients(objective, flow, objective.samples, 20_000, seed) for seed in range(30)]
    many = torch.stack(many)
    error = many.std(0) / len(many) ** 0.5
    assert ((many.mean(0) - wanted).abs() < 4.5 * error + 1e-9).all()
    assert (wanted.abs() > 10 * error).all()  # a gradient that is missing would show


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
@pytest.mark.parametrize(("ours", "plain"), [(DReG(samples=5), IWAE(samples=5)), (STL(), ELBO())])
def test_mean_gradient_at_any_weight(ours, plain, weight):
    means, errors = [], []
    for objective in (ours, plain):
        many = [gradients(objective, True, objective.samples, 20_000, s, weight) for s in range(20)]
        many = torch.stack(many)
        means.append(many.mean(0))
        errors.append(many.std(0) / len(many) ** 0.5)
    error = torch.stack(errors).square().sum(0).sqrt()
    assert ((means[0] - means[1]).abs() < 4.5 * error + 1e-9).all()


@pytest.mark.parametrize("flow", [False, True])
def test_gradient_of_dreg_varies_less(flow):
    spread = {}
    for objective in (DReG(samples=64), IWAE(samples=64)):
        many = torch.stack([gradients(objective, flow, 64, 1, seed) for seed in range(300)])
        spread[type(objective).__name__] = many.var(0)[:3]
    assert (spread["DReG"] < 0.5 * spread["IWAE"]).all()


def grads(value, line):
    return torch.autograd.grad(value, [*line.q, *line.p], retain_graph=True, allow_unused=True)


@pytest.mark.parametrize("flow", [False, True])
def test_dreg_changes_no_gradient_of_another_backward_pass(flow):
    line = Line(flow)
    terms = line.terms(4, 3)
    others = [terms.log_weight.mean(), terms.z.sum(), terms.log_px.sum(), terms.log_q_of_path()[0]]
    before = [grads(value.sum(), line) for value in others]
    value = DReG(samples=4)(terms, beta(0.7)).mean()
    first = grads(value, line)
    assert [grads(value.sum(), line) for value in others] == before
    assert grads(value, line) == first


def test_dreg_changes_no_gradient_of_z_in_the_same_pass():
    line = Line(flow=True)
    terms = line.terms(4, 3)
    other = terms.z.square().sum()
    alone = grads(other, line)[:3]
    value = DReG(samples=4)(terms, beta(0.7)).mean()
    found = grads(value + other, line)[:3], grads(value, line)[:3], alone
    for both, a, b in zip(*found, strict=True):
        torch.testing.assert_close(both, a + b, **TOLERANCE)


def test_dreg_twice_has_twice_the_gradient():
    line = Line(flow=True)
    terms = line.terms(4, 3)
    one, two = (DReG(samples=4)(terms, beta(0.7)).mean() for _ in range(2))
    for both, a in zip(grads(one + two, line), grads(one, line), strict=True):
        torch.testing.assert_close(both, 2 * a, **TOLERANCE)


def test_dreg_follows_equations_8_and_10():
    line = Line(flow=False)
    terms = line.terms(4, 3)
    found = grads(DReG(samples=4)(terms, beta(1.0)).sum(), line)
    share = torch.softmax(terms.log_weight.detach(), 0)
    log_w = terms.log_px + terms.log_pz - terms.log_q_of_path()
    d_q, d_p = (grads((share**n * log_w).sum(), line) for n in (2, 1))
    for a, b in zip(found, (*d_q[:3], *d_p[3:]), strict=True):
        torch.testing.assert_close(a, b, **TOLERANCE)


@pytest.mark.filterwarnings("ignore")
def test_compiled_dreg_has_the_eager_gradient():
    line = Line(flow=False)

    def bound(line):
        return DReG(samples=4)(line.terms(4, 3), beta(0.7)).mean()

    found = []
    for call in (bound, torch.compile(bound, backend="aot_eager")):
        torch.manual_seed(0)
        found.append(grads(call(line), line))
    for eager, compiled in zip(*found, strict=True):
        torch.testing.assert_close(eager, compiled, **TOLERANCE)


def test_terms_without_a_path_are_refused(one_sentence):
    terms = Line(flow=False).terms(4, 3)
    with pytest.raises(PluginError) as caught:
        DReG(samples=4)(Terms(**{**vars(terms), "path": None}), beta(1.0))
    one_sentence(str(caught.value))
    assert "cannot weigh the gradient through z" in str(caught.value)


def test_path_gradient_of_an_exact_posterior_is_zero():
    line = Line(flow=False)
    w, s2 = line.p[0].item(), (2 * line.p[1]).exp().item()
    variance = 1 / (1 + w**2 / s2)
    with torch.no_grad():
        for p, v in zip(line.q, (variance * w / s2, 0.0, 0.5 * math.log(variance)), strict=True):
            p.fill_(v)
    for objective, zero in ((STL(), True), (ELBO(), False)):
        worst = 0.0
        for _ in range(20):
            grads = torch.autograd.grad(objective(line.terms(1, 1), beta(1.0)).sum(), line.q)
            worst = max(worst, *(g.abs().item() for g in grads))
        assert (worst < 1e-12) == zero


def test_path_gradient_needs_a_density_of_any_z():
    class Closed(Distribution):
        """It draws and scores at once, and says no more."""

        has_rsample = True

        def rsample_and_log_prob(self, shape):
            z = torch.zeros(*shape, 1, 2, requires_grad=True) + 0.0
            return z, z.sum(-1)

    q = Closed(torch.Size([1]), torch.Size([2]), validate_args=False)
    sample = draw(q, (3,))
    terms = Terms(sample.z.sum(-1), sample.z.sum(-1), sample, q, None)
    for objective in (STL(), DReG(samples=3)):
        with pytest.raises(ConfigError, match="scores its own draws alone"):
            objective(terms, torch.ones(()))


@pytest.mark.parametrize("objective", [DReG, STL])
def test_a_frozen_posterior_leaves_the_decoder_its_gradient(objective):
    """The gradient in the parameters of p(x|z) is the one with q's own gradient beside it."""
    torch.manual_seed(0)
    line = Line(flow=True)
    value = objective(samples=4)(line.terms(4, 3), beta(0.7)).sum()
    wanted = torch.autograd.grad(value, line.p)
    torch.manual_seed(0)
    line.q = [parameter.detach() for parameter in line.q]
    found = torch.autograd.grad(objective(samples=4)(line.terms(4, 3), beta(0.7)).sum(), line.p)
    torch.testing.assert_close(found, wanted, **TOLERANCE)
