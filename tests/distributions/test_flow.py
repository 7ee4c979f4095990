"""Flows: draws, densities, gradients, and their words."""

import copy
import sys
import weakref
from functools import partial

import pytest
import torch
from torch.autograd.functional import jacobian
from torch.distributions import (
    AffineTransform,
    Independent,
    Normal,
    TransformedDistribution,
)

import vaeflow.distributions
from vaeflow.distributions.draw import draw, grad_log_prob
from vaeflow.distributions.flow import Flow, StandardizedFlow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.parts.posteriors import FullGaussian, Mixture, Planar, RealNVP

TOLERANCE = {"rtol": 0, "atol": 1e-10}


def normal(*shape, event=0, seed=0):
    """Return a float64 normal of random parameters whose last `event` dimensions are the event."""
    generator = torch.Generator().manual_seed(seed)
    loc, log_scale = 0.3 * torch.randn(2, *shape, dtype=torch.float64, generator=generator)
    plain = Normal(loc, log_scale.exp())
    return Independent(plain, event) if event else plain


class Scale:
    """z -> e^s z, with its inverse."""

    def __init__(self, s):
        self.s = s

    def __call__(self, z):
        return self.s.exp() * z, self.s.sum(-1).expand(z.shape[:-1])

    def inverse(self, z):
        return (-self.s).exp() * z, self.s.sum(-1).expand(z.shape[:-1])


class Cubic:
    """z -> z + z³, whose inverse it does not tell."""

    def __call__(self, z):
        return z + z**3, (1 + 3 * z**2).log().sum(-1)


class Shift:
    """z -> z + c: it does not commute with a scale."""

    def __call__(self, z):
        return z + 1.5, z.new_zeros(z.shape[:-1])

    def inverse(self, z):
        return z - 1.5, z.new_zeros(z.shape[:-1])


def test_flow_applies_maps_in_order():
    base = normal(3, 2, event=1)
    maps = [Cubic(), Scale(torch.tensor([0.7, -0.2], dtype=torch.float64)), Shift(), Cubic()]
    q = Flow(base, maps)
    assert (q.batch_shape, q.event_shape) == ((3,), (2,))
    torch.manual_seed(4)
    sample = q.draw((5,))
    torch.manual_seed(4)
    z0 = base.rsample((5,))

    def f(z):
        z = (z + z**3) * torch.tensor([0.7, -0.2], dtype=torch.float64).exp() + 1.5
        return z + z**3

    torch.testing.assert_close(sample.z, f(z0), **TOLERANCE)
    jacobians = torch.stack([jacobian(f, z) for z in z0.reshape(-1, 2)])
    expected = torch.linalg.slogdet(jacobians).logabsdet.reshape(5, 3)
    torch.testing.assert_close(sample.log_det, expected, **TOLERANCE)
    torch.testing.assert_close(sample.log_prob, base.log_prob(z0) - expected, **TOLERANCE)


def test_rsample_of_a_flow_is_the_z_of_its_draw():
    q = Flow(normal(3, 2, event=1), [Cubic()])
    torch.manual_seed(4)
    z = q.rsample((5,))
    torch.manual_seed(4)
    assert torch.equal(z, q.draw((5,)).z)


def test_flow_of_no_maps_is_its_base():
    base = normal(3, 2, event=1)
    sample = draw(Flow(base, []), (5,))
    assert torch.equal(sample.log_prob, base.log_prob(sample.z))
    assert torch.equal(sample.log_det, torch.zeros(5, 3))


def test_flow_upon_a_flow_adds_both_log_dets():
    base = normal(3, 2, event=1)
    s = torch.tensor([0.7, -0.2], dtype=torch.float64)
    torch.manual_seed(4)
    one = draw(Flow(base, [Scale(s), Cubic(), Shift()]), (5,))
    torch.manual_seed(4)
    two = draw(Flow(Flow(base, [Scale(s), Cubic()]), [Shift()]), (5,))
    for field in ("z", "log_base", "log_det"):
        torch.testing.assert_close(getattr(two, field), getattr(one, field), **TOLERANCE)


def test_log_prob_of_a_flow_takes_inverses_in_reverse():
    base = normal(3, 2, event=1)
    s = torch.tensor([0.7, -0.2], dtype=torch.float64)
    q = Flow(base, [Scale(s), Shift(), Scale(2 * s)])
    oracle = TransformedDistribution(
        base,
        [
            AffineTransform(0.0, s.exp()),
            AffineTransform(1.5, 1.0),
            AffineTransform(0.0, s.mul(2).exp()),
        ],
    )
    value = torch.linspace(-4, 4, 30, dtype=torch.float64).reshape(5, 3, 2)
    torch.testing.assert_close(q.log_prob(value), oracle.log_prob(value), **TOLERANCE)
    sample = q.draw((5,))
    torch.testing.assert_close(q.log_prob(sample.z), sample.log_prob, **TOLERANCE)


def test_log_prob_without_an_inverse_is_refused():
    q = Flow(normal(3, 2, event=1), [Cubic(), Shift()])
    with pytest.raises(
        NotImplementedError, match=r"Cubic has no inverse.*vaeflow\.distributions\.draw"
    ):
        q.log_prob(torch.zeros(3, 2, dtype=torch.float64))


def test_draw_has_gradients_in_base_and_maps():
    loc = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    s = torch.tensor([0.7, -0.2], dtype=torch.float64, requires_grad=True)
    q = Flow(DiagonalNormal(loc, torch.zeros_like(loc)), [Scale(s)])
    sample = draw(q, (5,))
    z = sample.z
    d_loc, d_s = torch.autograd.grad(z.sum() + sample.log_prob.sum(), (loc, s))
    # z = e^s (loc + ε), log q = −½ε² − Σs − const: log q moves with s only, and not with loc.
    torch.testing.assert_close(d_loc, 5 * s.detach().exp().expand(3, 2), **TOLERANCE)
    torch.testing.assert_close(d_s, z.detach().sum((0, 1)) - 15.0, **TOLERANCE)


class Bend:
    """u + a·u³, which is increasing; its inverse by Cardano's formula."""

    def __init__(self, a):
        self.a = a

    def __call__(self, u):
        return u + self.a * u**3, torch.log1p(3 * self.a * u**2).sum(-1)

    def inverse(self, z):
        # With u = 2/√(3a)·sinh(t), u + a·u³ = 2/(3√(3a))·sinh(3t).
        root = (3 * self.a).sqrt()
        u = 2 / root * torch.sinh(torch.asinh(1.5 * root * z) / 3)
        return u, torch.log1p(3 * self.a * u**2).sum(-1)


def standardized(maps):
    g = torch.Generator().manual_seed(0)
    loc, log_variance = 100 * torch.randn(2, 3, 2, generator=g, dtype=torch.float64)
    return StandardizedFlow(DiagonalNormal(loc, log_variance / 20), maps)


def test_standardized_flow_bends_the_noise():
    a = torch.tensor([0.1, 0.7], dtype=torch.float64)
    q = standardized([Bend(a)])
    torch.manual_seed(1)
    z, log_base, log_det, noise = draw(q, (5,))
    torch.manual_seed(1)
    eps = torch.randn(5, 3, 2, dtype=torch.float64)
    torch.testing.assert_close(noise, eps)
    torch.testing.assert_close(z, q.loc + q.scale * (eps + a * eps**3))
    torch.testing.assert_close(log_base, q.base.log_prob(q.loc + q.scale * eps))
    torch.testing.assert_close(log_det, torch.log1p(3 * a * eps**2).sum(-1))
    torch.testing.assert_close(q.log_prob(z), log_base - log_det)


def test_standardized_flow_without_maps_is_its_base():
    q = standardized([])
    torch.manual_seed(1)
    seen = draw(q, (5,))
    torch.manual_seed(1)
    wanted = draw(q.base, (5,))
    for one, other in zip(seen[:3], wanted[:3], strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(q.log_prob(wanted.z), wanted.log_prob)


def test_standardized_flow_is_normalized():
    q = StandardizedFlow(
        DiagonalNormal(torch.tensor([3.0]).double(), torch.tensor([1.4]).double()),
        [Bend(torch.tensor([0.3]).double())],
    )
    z = torch.linspace(-150, 150, 300_001, dtype=torch.float64)[:, None]
    total = q.log_prob(z).exp().sum() * (z[1] - z[0])
    assert total.item() == pytest.approx(1, abs=1e-6)


def by_inverses(q, z):
    """Return ∂ log q(z)/∂z by autograd through the maps' inverses."""
    z = z.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(q.log_prob(z).sum(), z)
    return gradient


def test_grad_log_prob_of_a_gaussian():
    q = DiagonalNormal(torch.tensor([[1.0, -2.0]]).double(), torch.tensor([[0.3, -1.0]]).double())
    sample = draw(q, (5,))
    expected = -(sample.z - q.mean) / q.variance
    torch.testing.assert_close(grad_log_prob(q, sample), expected, **TOLERANCE)


@pytest.mark.parametrize("standard", [False, True])
def test_grad_log_prob_of_a_flow_needs_no_inverse(standard):
    a = torch.tensor([0.1, 0.7], dtype=torch.float64)
    if standard:
        q = standardized([Bend(a)])
    else:
        q = Flow(normal(3, 2, event=1), [Bend(a), Bend(a.flip(0))])
    sample = draw(q, (5,))
    seen = grad_log_prob(q, sample)
    assert not seen.requires_grad
    with_inverses = by_inverses(q, sample.z)
    torch.testing.assert_close(seen, with_inverses, rtol=1e-8, atol=1e-8)


def test_grad_log_prob_of_planar_maps_is_the_slope_of_log_prob():
    torch.manual_seed(0)
    posterior = Planar(3, 4, steps=5).double()
    with torch.no_grad():
        for p in posterior.parameters():
            p.normal_()
    h = torch.randn(1, 4, dtype=torch.float64)
    q = posterior(h)
    sample = draw(q, (1,))
    # The density at z + dz is that of the draw from z0 + J⁻¹ dz.
    z0 = sample.z0[0, 0].detach()

    def of(noise):
        z, log_det = q.maps[0](noise[None])
        return z[0], (q.base.log_prob(noise[None]) - log_det)[0]

    rows = jacobian(lambda e: of(e)[0], z0)
    seen = grad_log_prob(q, sample)[0, 0]
    for i, unit in enumerate(torch.eye(3, dtype=torch.float64)):
        step = 1e-6 * torch.linalg.solve(rows, unit)
        slope = (of(z0 + step)[1] - of(z0 - step)[1]) / 2e-6
        assert seen[i].item() == pytest.approx(slope.item(), rel=1e-6, abs=1e-7)


def test_grad_log_prob_of_a_flow_needs_its_own_draw():
    q = Flow(normal(3, 2, event=1), [Shift()])
    sample = draw(q, (5,))
    with pytest.raises(NotImplementedError, match="of its own draw"):
        grad_log_prob(q, sample._replace(z0=None))


POSTERIORS = {
    "planar": (Planar, "Flow(DiagonalNormal(batch (2,), event (3,)), 1 map: PlanarMaps)"),
    "no maps": (
        partial(Planar, steps=0),
        "Flow(DiagonalNormal(batch (2,), event (3,)), no maps)",
    ),
    "realnvp": (
        RealNVP,
        "StandardizedFlow(DiagonalNormal(batch (2,), event (3,)), 4 maps: CouplingMap)",
    ),
    "full-gaussian": (FullGaussian, "CholeskyNormal(batch (2,), event (3,))"),
    "mixture": (Mixture, "DiagonalNormalMixture(batch (2,), event (3,))"),
}


@pytest.mark.parametrize("name", POSTERIORS)
def test_repr_tells_shapes_and_maps_on_one_line(name):
    make, expected = POSTERIORS[name]
    assert repr(make(3, 5)(torch.zeros(2, 5))) == expected


@pytest.mark.parametrize("make", [Planar, RealNVP])
def test_mean_variance_and_entropy_of_a_flow_tell_their_estimate(make, one_sentence):
    q = make(3, 5).double()(torch.randn(2, 5, dtype=torch.float64))
    calls = {"mean": lambda: q.mean, "variance": lambda: q.variance, "entropy": q.entropy}
    for what, call in calls.items():
        with pytest.raises(NotImplementedError, match=f"the {what} of a .*Flow has no") as caught:
            call()
        one_sentence(str(caught.value))
        estimate = str(caught.value).partition("such as ")[2]
        value = eval(estimate, {"q": q, "vaeflow": vaeflow})  # noqa: S307  (the message is ours)
        assert value.shape == ((2,) if what == "entropy" else (2, 3))


@pytest.mark.parametrize("make", [Planar, RealNVP])
def test_expanded_flow_is_the_same_law(make):
    q = make(3, 5).double()(torch.randn(2, 5, dtype=torch.float64))
    wide = q.expand((4, 2))
    assert (type(wide), wide.batch_shape, wide.event_shape) == (type(q), (4, 2), (3,))
    sample = draw(wide, (6,))
    assert sample.z.shape == (6, 4, 2, 3)
    torch.testing.assert_close(sample.log_prob, q.log_prob(sample.z), rtol=1e-6, atol=1e-6)


def test_flow_of_other_images_is_refused(one_sentence):
    q = Planar(3, 5)(torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"cannot be expanded to \(3,\)") as caught:
        q.expand((3,))
    one_sentence(str(caught.value))


def test_last_draw_is_scored_by_what_came_with_it():
    """Pyro asks a flow for the density of the tensor that it has just drawn."""
    q = Flow(normal(3, 2, event=1), [Cubic()])
    z = q.rsample((4,))
    torch.manual_seed(1)
    z = q.rsample((4,))
    torch.manual_seed(1)
    torch.testing.assert_close(q.log_prob(z), q.draw((4,)).log_prob, rtol=0, atol=0)
    older, z = z, q.sample()
    for other in (older, z.clone(), q.sample().mul_(2)):
        with pytest.raises(NotImplementedError, match="Cubic has no inverse"):
            q.log_prob(other)


def test_last_draw_keeps_no_draw_and_no_missing_gradient():
    base = normal(2, event=1)
    q = Flow(base, [Cubic()])
    z = q.sample()
    held, known = weakref.ref(z), q._last
    with torch.no_grad():
        assert q.log_prob(z).isfinite()
    with pytest.raises(NotImplementedError):  # a score function would have no gradient
        q.log_prob(z)
    assert copy.deepcopy(q)._last is None
    del z
    assert held() is None
    assert known.log_prob_of(torch.zeros(2)) is None


@pytest.mark.parametrize("make", [Flow, StandardizedFlow])
def test_expansion_keeps_the_class(make):
    base = DiagonalNormal(torch.zeros(3, 2), torch.zeros(3, 2))
    q = make(base, [Shift()]).expand((5, 3))
    assert type(q) is make
    assert q.batch_shape == (5, 3)
    assert q.log_prob(q.rsample().clone()).shape == (5, 3)
    with pytest.raises(ValueError, match="keep \\(5, 3\\) at the end"):
        q.expand((3, 5))


def test_distributions_have_no_more_than_they_had_without_pyro(monkeypatch):
    monkeypatch.delitem(sys.modules, "pyro.distributions.torch_distribution", raising=False)
    q = DiagonalNormal(torch.zeros(3, 2), torch.zeros(3, 2))
    assert q((4,)).shape == (4, 3, 2)
    with pytest.raises(AttributeError, match="'DiagonalNormal' object has no attribute 'to_event'"):
        q.to_event(1)
