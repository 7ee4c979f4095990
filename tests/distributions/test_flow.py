"""Drawing and scoring in one pass, against torch's own scores and autograd's Jacobian."""

import math
from functools import partial

import pytest
import torch
from pyro.distributions import transforms as pyro_transforms
from torch.autograd.functional import jacobian
from torch.distributions import (
    AffineTransform,
    Bernoulli,
    ComposeTransform,
    CorrCholeskyTransform,
    ExpTransform,
    Independent,
    IndependentTransform,
    MultivariateNormal,
    Normal,
    ReshapeTransform,
    SigmoidTransform,
    StickBreakingTransform,
    TanhTransform,
    TransformedDistribution,
)

import vaeflow.distributions
from vaeflow.distributions.draw import Draw, OnePass, draw, grad_log_prob
from vaeflow.distributions.flow import Flow, StandardizedFlow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.distributions.numerics import at_least_float32
from vaeflow.parts.posteriors import FullGaussian, Mixture, Planar, RealNVP

TOLERANCE = {"rtol": 0, "atol": 1e-10}


def normal(*shape, event=0, seed=0):
    """Return a float64 normal of random parameters whose last `event` dimensions are the event."""
    generator = torch.Generator().manual_seed(seed)
    loc, log_scale = 0.3 * torch.randn(2, *shape, dtype=torch.float64, generator=generator)
    plain = Normal(loc, log_scale.exp())
    return Independent(plain, event) if event else plain


def affine(*shape, event=0):
    """Return a float64 affine transform with a negative scale among its scales."""
    generator = torch.Generator().manual_seed(5)
    loc = torch.randn(shape, dtype=torch.float64, generator=generator)
    scale = torch.linspace(-0.9, 1.4, max(1, math.prod(shape)), dtype=torch.float64)
    return AffineTransform(loc, scale.reshape(shape), event_dim=event)


# Each chain, with the batch and event shapes that it must have.
CHAINS = {
    "scalar events": (lambda: (normal(3), [affine(3), TanhTransform()]), (3,), ()),
    "elementwise transforms of a vector": (
        lambda: (normal(3, 4, event=1), [affine(4), TanhTransform()]),
        (3,),
        (4,),
    ),
    "a vector transform of a vector": (
        lambda: (normal(3, 4, event=1), [affine(4, event=1), SigmoidTransform()]),
        (3,),
        (4,),
    ),
    "a vector transform of scalar events": (
        lambda: (normal(3, 4), [StickBreakingTransform()]),
        (3,),
        (5,),
    ),
    "an elementwise transform after one that grows the vector": (
        lambda: (normal(3, 4, event=1), [StickBreakingTransform(), affine(5)]),
        (3,),
        (5,),
    ),
    "an independent transform": (
        lambda: (normal(3, 2, 4), [IndependentTransform(ExpTransform(), 2), affine(2, 4)]),
        (3,),
        (2, 4),
    ),
    "a composed transform": (
        lambda: (
            normal(3, 4, event=1),
            [ComposeTransform([affine(4), TanhTransform()]), affine(4, event=1)],
        ),
        (3,),
        (4,),
    ),
    "a vector to a matrix": (
        lambda: (normal(3, 6, event=1), [affine(6), CorrCholeskyTransform()]),
        (3,),
        (4, 4),
    ),
    "a matrix to a vector": (
        lambda: (
            normal(3, 2, 2, event=2),
            [affine(2, 2), ReshapeTransform((2, 2), (4,)), StickBreakingTransform()],
        ),
        (3,),
        (5,),
    ),
    "a vector transform of an event of two dimensions": (
        lambda: (normal(3, 2, 4, event=2), [StickBreakingTransform(), affine(5)]),
        (3,),
        (2, 5),
    ),
    "a base whose event is a vector by nature": (
        lambda: (
            MultivariateNormal(
                torch.zeros(3, 2, dtype=torch.float64),
                torch.tensor([[1.0, 0.5], [0.5, 2.0]], dtype=torch.float64),
            ),
            [affine(2), TanhTransform()],
        ),
        (3,),
        (2,),
    ),
    "no transform": (lambda: (normal(3, 4, event=1), []), (3,), (4,)),
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("sample_shape", [(), (6,)], ids=["one draw", "six draws"])
def test_walk_of_a_torch_chain_equals_torchs_log_prob(name, sample_shape):
    make, batch, event = CHAINS[name]
    q = TransformedDistribution(*make())
    torch.manual_seed(1)
    sample = draw(q, sample_shape)

    assert sample.z.shape == (*sample_shape, *batch, *event)
    for part in (sample.log_base, sample.log_det, sample.log_prob):
        assert part.shape == (*sample_shape, *batch)
    torch.testing.assert_close(sample.log_prob, q.log_prob(sample.z), **TOLERANCE)
    # The draw is torch's own: the same noise gives the same z.
    torch.manual_seed(1)
    assert torch.equal(sample.z, q.rsample(sample_shape))


def test_walk_separates_log_det_and_log_base():
    scale = torch.tensor([2.0, -3.0], dtype=torch.float64)
    base = normal(3, 2, event=1)
    q = TransformedDistribution(base, [AffineTransform(1.0, scale), AffineTransform(0.0, scale)])
    sample = draw(q, (5,))
    expected = torch.full((5, 3), 2 * math.log(6.0), dtype=torch.float64)
    torch.testing.assert_close(sample.log_det, expected, **TOLERANCE)
    z0 = (sample.z / scale - 1.0) / scale
    torch.testing.assert_close(sample.log_base, base.log_prob(z0), **TOLERANCE)


class Counted(AffineTransform):
    """An affine transform that counts its calls and cannot be inverted."""

    calls = 0

    def _call(self, x):
        self.calls += 1
        return super()._call(x)

    def _inverse(self, y):
        raise AssertionError("the walk inverted a transform")


def test_walk_calls_each_transform_once():
    transforms = [Counted(1.0, 2.0), Counted(-1.0, 0.5)]
    sample = draw(TransformedDistribution(normal(3), transforms), (4,))
    assert [t.calls for t in transforms] == [1, 1]
    assert sample.log_prob.shape == (4, 3)


def pyro_flow(kind, latent, seed):
    """Return three fresh Pyro transforms with parameters far from their start."""
    torch.manual_seed(seed)
    flow = [getattr(pyro_transforms, kind)(latent).double() for _ in range(3)]
    for t in flow:
        for p in t.parameters():
            torch.nn.init.normal_(p, std=2.0)
    return flow


@pytest.mark.parametrize("kind", ["Planar", "Radial"])
@pytest.mark.parametrize("latent", [1, 2, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_walk_of_pyros_flows_equals_the_jacobian(kind, latent, seed):
    flow = pyro_flow(kind, latent, seed)
    base = normal(3, latent, event=1, seed=seed)
    q = TransformedDistribution(base, flow)
    torch.manual_seed(2)
    first = draw(q, (4,))
    draw(q, (4,))  # Pyro caches the last draw's score: it must not be taken for the first's
    torch.manual_seed(2)
    z0 = base.rsample((4,))

    def f(z):
        for t in flow:
            z = t._call(z)
        return z

    torch.testing.assert_close(first.z, f(z0), **TOLERANCE)
    torch.testing.assert_close(first.log_base, base.log_prob(z0), **TOLERANCE)
    jacobians = torch.stack([jacobian(f, z) for z in z0.reshape(-1, latent)])
    expected = torch.linalg.slogdet(jacobians).logabsdet.reshape(4, 3)
    assert expected.abs().max() > 0.3  # far from the identity, or a wrong sign would pass
    torch.testing.assert_close(first.log_det, expected, **TOLERANCE)


class ZukoStyle:
    """A distribution that can only draw and score at once, as zuko's flows do."""

    def __init__(self):
        self.shapes = []

    def rsample_and_log_prob(self, shape):
        self.shapes.append(shape)
        return torch.full((*shape, 3, 2), 7.0), torch.full((*shape, 3), -1.5)


def test_one_pass_method_is_called_once():
    q = ZukoStyle()
    sample = draw(q, (4,))
    assert q.shapes == [torch.Size([4])]
    assert torch.equal(sample.z, torch.full((4, 3, 2), 7.0))
    assert torch.equal(sample.log_prob, torch.full((4, 3), -1.5))
    assert torch.equal(sample.log_det, torch.zeros(4, 3))


def test_one_pass_distribution_draws_itself():
    class Split(ZukoStyle, OnePass):
        def draw(self, shape):
            return Draw(torch.ones(*shape, 2), torch.full(shape, 3.0), torch.full(shape, 0.5))

    q = Split()
    sample = draw(q, (4,))
    assert q.shapes == []  # `draw` tells the log-determinant apart, so it comes first
    assert torch.equal(sample.log_det, torch.full((4,), 0.5))
    assert torch.equal(sample.log_prob, torch.full((4,), 2.5))


def test_methods_of_foreign_distributions_are_not_called():
    class Foreign(Normal):
        def draw(self, canvas):
            raise AssertionError("it draws pictures")

        def grad_log_prob(self, value, order):
            raise AssertionError("it takes other arguments")

    q = Foreign(torch.zeros(3), torch.ones(3))
    sample = draw(q, (4,))
    torch.testing.assert_close(sample.log_prob, q.log_prob(sample.z))
    torch.testing.assert_close(grad_log_prob(q, sample), -sample.z)


@pytest.mark.parametrize(
    "q",
    [
        normal(3, 4, event=1),
        MultivariateNormal(
            torch.ones(3, 2, dtype=torch.float64),
            torch.tensor([[1.0, -0.8], [-0.8, 3.0]], dtype=torch.float64),
        ),
    ],
    ids=["independent normal", "multivariate normal"],
)
def test_plain_distribution_draws_then_scores(q):
    torch.manual_seed(3)
    sample = draw(q, (5,))
    torch.manual_seed(3)
    assert torch.equal(sample.z, q.rsample((5,)))
    assert torch.equal(sample.log_prob, q.log_prob(sample.z))
    assert torch.equal(sample.log_det, torch.zeros(5, 3))


def test_draws_without_gradients_are_refused():
    with pytest.raises(NotImplementedError):
        draw(Bernoulli(torch.tensor([0.5])))


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


def test_diagonal_normal_takes_a_log_variance():
    loc = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    log_variance = torch.tensor([[math.log(4.0), math.log(0.25)]], dtype=torch.float64)
    z = torch.tensor([[1.5, 2.0]], dtype=torch.float64)
    q = DiagonalNormal(loc, log_variance)
    # −½(1/4) − log 2 − ½ log 2π, and −½(9/0.25) + log 2 − ½ log 2π
    expected = torch.tensor([-0.125 - 18.0 - math.log(2 * math.pi)], dtype=torch.float64)
    torch.testing.assert_close(q.log_prob(z), expected, **TOLERANCE)
    assert (q.batch_shape, q.event_shape) == ((1,), (2,))


@pytest.mark.parametrize("shared", [False, True], ids=["own variances", "one variance for all"])
def test_diagonal_normal_equals_torchs(shared):
    torch.manual_seed(6)
    loc = 3 * torch.randn(3, 4, dtype=torch.float64)
    log_variance = 3 * torch.randn(1 if shared else (3, 4), dtype=torch.float64)
    q = DiagonalNormal(loc, log_variance)
    oracle = Independent(Normal(loc, (0.5 * log_variance).exp()), 1)
    sample = draw(q, (20_000,))
    assert sample.z.shape == (20_000, 3, 4)
    assert torch.equal(sample.log_det, torch.zeros(20_000, 3, dtype=torch.float64))
    torch.testing.assert_close(sample.log_prob, oracle.log_prob(sample.z), **TOLERANCE)
    torch.testing.assert_close(q.log_prob(sample.z), oracle.log_prob(sample.z), **TOLERANCE)
    # The draws have its law: standardized, their mean is 0 and their variance 1 within 4 SE.
    noise = (sample.z - loc) / (0.5 * log_variance).exp()
    assert noise.mean(0).abs().max() < 4 / math.sqrt(20_000)
    assert (noise.var(0) - 1).abs().max() < 4 * math.sqrt(2 / 20_000)


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_densities_are_in_float32_or_wider(given, made):
    x = torch.ones(3, 2, dtype=given)
    assert at_least_float32(x).dtype == made
    assert DiagonalNormal(x, x).log_prob(x.float()).dtype == made


def test_expanded_diagonal_normal_is_the_same_law():
    q = DiagonalNormal(torch.randn(3), torch.randn(3))
    wide = q.expand((4, 2))
    assert (wide.batch_shape, wide.event_shape) == ((4, 2), (3,))
    z = wide.rsample()
    assert torch.equal(wide.log_prob(z), q.log_prob(z))


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


# ∂ log q(z)/∂z


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
