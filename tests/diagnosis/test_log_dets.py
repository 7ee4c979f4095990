"""The share of each map in log|det|."""

import pytest
import torch

from vaeflow.diagnosis.log_dets import log_dets
from vaeflow.distributions.draw import draw
from vaeflow.distributions.flow import Flow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.errors import ConfigError
from vaeflow.maps.planar import PlanarMaps
from vaeflow.parts.abstract import Posterior
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.posteriors.planar import Planar
from vaeflow.parts.posteriors.radial import Radial
from vaeflow.parts.posteriors.realnvp import RealNVP

D, L = 6, 3


class Scale:
    """z -> z·eᵃ for an a (B) of each image: log|det| = L·a."""

    def __init__(self, a):
        self.a = a

    def __call__(self, z):
        return z * self.a.exp()[:, None], L * self.a


class Square:
    """z -> z + z³: log|det| = Σ log(1 + 3z²), which depends on the maps before."""

    def __call__(self, z):
        return z + z**3, (1 + 3 * z**2).log().sum(-1)


class Maps(Posterior):
    def forward(self, h):
        base = DiagonalNormal(torch.zeros_like(h[:, :L]), torch.zeros_like(h[:, :L]))
        return Flow(base, [Scale(h[:, 0]), Square(), Scale(-h[:, 0])])


def test_each_map_has_the_mean_of_its_own(linear_gaussian):
    _, x = linear_gaussian.data(40)
    model = linear_gaussian.model()
    model.posterior = Maps(L, D)
    found = log_dets(model, x, samples=20_000, batch=15)
    assert [name for name, _ in found] == ["Scale", "Square", "Scale"]
    a = x.flatten(1)[:, 0]
    first, middle, last = (estimate for _, estimate in found)
    assert first.mean == pytest.approx(L * a.mean().item())
    assert first.standard_error == pytest.approx(L * a.std().item() / 40**0.5)
    assert last.mean == pytest.approx(-first.mean)
    # E log(1 + 3z²) for z ~ N(0, e^(2a)), by quadrature.
    t = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    weight = torch.exp(-0.5 * t**2)
    each = (1 + 3 * (a.exp()[:, None] * t) ** 2).log() @ weight / weight.sum()
    assert middle.mean == pytest.approx(L * each.mean().item(), abs=0.02)
    assert middle.standard_error == pytest.approx(L * each.std().item() / 40**0.5, rel=0.02)


@pytest.mark.parametrize("family", [Radial, RealNVP, Planar])
def test_the_maps_add_up_to_the_flow(linear_gaussian, family):
    _, x = linear_gaussian.data(5)
    model = linear_gaussian.model()
    torch.manual_seed(0)
    model.posterior = family(L, D, steps=3).double()
    with torch.no_grad():
        for parameter in model.posterior.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        each = draw(model.infer(x), (4000,)).log_det
    found = log_dets(model, x, samples=4000)
    assert len(found) == 3
    total = sum(estimate.mean for _, estimate in found)
    error = (each.var(0).sum() / 4000).sqrt() / len(x)
    assert each.mean().abs() > 10 * error
    assert total == pytest.approx(each.mean().item(), abs=4 * 2**0.5 * error.item())
    torch.manual_seed(9)
    model.encoder = torch.nn.Sequential(model.encoder, torch.nn.Dropout(0.5)).train()
    assert log_dets(model, x, samples=4000) == found


def test_a_stack_counts_as_its_maps():
    """A stack has the same terms as stacks of one map each, applied in turn."""
    torch.manual_seed(0)
    w, u = (x.requires_grad_() for x in torch.randn(2, 4, 3, L, dtype=torch.float64))
    b, z0 = torch.randn(4, 3, dtype=torch.float64), torch.randn(5, 2, 4, L, dtype=torch.float64)
    stack = PlanarMaps(w, u, b)
    end, terms = stack.log_dets(z0)
    z, each = z0, []
    for t in range(3):
        z, log_det = PlanarMaps(w[:, t : t + 1], u[:, t : t + 1], b[:, t : t + 1])(z)
        each.append(log_det)
    torch.testing.assert_close(terms, torch.stack(each, -1))
    torch.testing.assert_close(end, z)
    for got, expected in zip(stack(z0), (end, terms.sum(-1)), strict=True):
        torch.testing.assert_close(got, expected)
    one, single = stack.log_dets(z0[0, 0])
    torch.testing.assert_close((one, single), (end[0, 0], terms[0, 0]))


def test_a_flow_without_maps_has_none(linear_gaussian):
    _, x = linear_gaussian.data(5)
    model = linear_gaussian.model()
    model.posterior = Planar(L, D, steps=0).double()
    assert log_dets(model, x) == []


def test_a_posterior_that_is_no_flow_is_refused(linear_gaussian, one_sentence):
    _, x = linear_gaussian.data(5)
    model = linear_gaussian.model()
    model.posterior = Identity(L, D).double()
    with pytest.raises(ConfigError, match="DiagonalNormal has no maps") as error:
        log_dets(model, x)
    one_sentence(str(error.value))
