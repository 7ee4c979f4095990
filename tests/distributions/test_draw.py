"""Drawing from any distribution and scoring the draw in one pass."""

import math

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

from vaeflow.distributions.draw import Draw, OnePass, draw, grad_log_prob

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
