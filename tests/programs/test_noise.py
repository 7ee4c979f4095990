"""Noise as an input, against the laws of scipy and against torch's own draws."""

import pytest
import torch
from scipy import stats

from vaeflow.distributions.mixture import DiagonalNormalMixture
from vaeflow.errors import PluginError
from vaeflow.programs.noise import Layout, Replayed

N = 4000


def replayed(draw, noise=None):
    """Return what `draw(count)` draws for standard normal noise."""
    layout = Layout.of(draw)
    if noise is None:
        noise = torch.randn(N, layout.width, generator=torch.Generator().manual_seed(0))
    with Replayed(layout, noise):
        return draw(len(noise))


LAWS = {
    "normal": (lambda n: torch.randn(n, 1), stats.norm),
    "normal of a mean": (lambda n: torch.normal(torch.full((n, 1), 2.0), 3.0), stats.norm(2, 3)),
    "normal in place": (lambda n: torch.empty(n, 1).normal_(2.0, std=3.0), stats.norm(2, 3)),
    "uniform": (lambda n: torch.rand(n, 1), stats.uniform),
    "uniform in place": (lambda n: torch.empty(n, 1).uniform_(1, 4), stats.uniform(1, 3)),
    "exponential": (lambda n: torch.empty(n, 1).exponential_(), stats.expon),
}


@pytest.mark.parametrize("name", LAWS)
def test_draws_of_noise_follow_their_law(name):
    draw, law = LAWS[name]
    found = replayed(draw)[:, 0].double().numpy()
    assert stats.kstest(found, law.cdf).pvalue > 1e-3


def test_whole_numbers_are_equally_likely():
    found = replayed(lambda n: torch.randint(5, (n,)))
    assert stats.chisquare(torch.bincount(found, minlength=5).numpy()).pvalue > 1e-3
    assert replayed(lambda n: torch.randint(2, 5, (n,))).unique().tolist() == [2, 3, 4]


def test_a_mixture_picks_its_components_by_their_weights():
    weights = torch.tensor([0.2, 0.5, 0.3])
    loc = torch.tensor([[-50.0], [0.0], [50.0]])
    picked = replayed(
        lambda n: DiagonalNormalMixture(
            weights.log().expand(n, -1), loc.expand(n, -1, -1), torch.zeros(n, 3, 1)
        ).sample()
    )
    counts = [(picked[:, 0] - each).abs().lt(20).sum().item() for each in (-50, 0, 50)]
    assert stats.chisquare(counts, (weights * N).numpy()).pvalue > 1e-3


def test_each_example_takes_its_own_numbers():
    noise = torch.randn(6, 5)

    def draw(count):
        first = torch.randn(1, count, 3)
        return torch.cat((first[0], torch.randn_like(first[0, :, :2])), 1)

    torch.testing.assert_close(replayed(draw, noise), noise)


def test_draws_that_no_noise_stands_for_are_refused():
    with pytest.raises(PluginError, match=r"draws by torch\.multinomial"):
        Layout.of(lambda n: torch.multinomial(torch.ones(n, 3), 1))
    with pytest.raises(PluginError, match=r"noise of shape \(7,\) for 3 examples"):
        Layout.of(lambda n: torch.randn(7))
