"""Paths between codes, and quantiles of priors."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.decomposition import PCA
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from vaeflow.errors import ConfigError
from vaeflow.latents.manifold import grid, prior_quantiles
from vaeflow.latents.paths import PATHS, between
from vaeflow.latents.principal import principal_components
from vaeflow.parts.priors.normal import Normal as Prior

AT = torch.linspace(0, 1, 21, dtype=torch.float64)
GENERATOR = torch.Generator().manual_seed(0)
A, B = torch.randn(2, 40, generator=GENERATOR, dtype=torch.float64)


@pytest.mark.parametrize("path", PATHS)
def test_a_path_goes_from_one_code_to_the_other(path):
    line = between(A, B, AT, path)
    torch.testing.assert_close(line[[0, -1]], torch.stack((A, B)))


def test_a_spherical_path_keeps_the_norm_and_turns_evenly():
    line = between(A, B * A.norm() / B.norm(), AT, "spherical")
    torch.testing.assert_close(line.norm(dim=1), A.norm().expand(21))
    turns = (line[1:] * line[:-1]).sum(1) / A.norm() ** 2
    torch.testing.assert_close(turns, turns[:1].expand(20))
    lengths = between(A, B, AT, "spherical").norm(dim=1)
    torch.testing.assert_close(lengths, (1 - AT) * A.norm() + AT * B.norm())
    assert between(A, B, AT, "straight").norm(dim=1).min() < 0.9 * lengths.min()


def test_codes_of_one_direction_have_a_straight_path_and_opposite_ones_none():
    torch.testing.assert_close(between(A, 3 * A, AT, "spherical"), (1 + 2 * AT[:, None]) * A)
    zero = torch.zeros_like(A)
    torch.testing.assert_close(between(zero, A, AT, "spherical"), AT[:, None] * A)
    with pytest.raises(ConfigError, match="opposite"):
        between(A, -2 * A, AT, "spherical")


def test_the_principal_components_are_those_of_scikit_learn():
    z = np.random.RandomState(0).randn(200, 5) @ np.random.RandomState(1).randn(5, 5)
    found, pca = principal_components(z), PCA(2).fit(z)
    np.testing.assert_allclose(found.share, pca.explained_variance_ratio_)
    np.testing.assert_allclose(np.abs(found.axes), np.abs(pca.components_), atol=1e-12)
    np.testing.assert_allclose(np.abs(found.project(z)), np.abs(pca.transform(z)), atol=1e-9)
    assert (np.take_along_axis(found.axes, np.abs(found.axes).argmax(1)[:, None], 1) > 0).all()
    assert principal_components(np.ones((3, 1))).share.tolist() == [0]


def test_quantiles_of_a_prior_are_exact_or_those_of_draws():
    shares = torch.tensor([0.1, 0.5, 0.8])
    exact = prior_quantiles(Prior(2, (1,))(None), shares)
    expected = np.tile(stats.norm.ppf(shares.numpy())[:, None], 2)
    np.testing.assert_allclose(exact.numpy(), expected, atol=1e-6)
    two = Independent(Normal(torch.tensor([[-3.0, 0], [3, 1]]), 1.0), 1)
    mixture = MixtureSameFamily(Categorical(torch.tensor([0.5, 0.5])), two)
    drawn = prior_quantiles(mixture, shares)
    # Of the first dimension, 0.8 of the mass lies below the 0.6 quantile of the right component.
    assert drawn[2, 0].item() == pytest.approx(3 + stats.norm.ppf(0.6), abs=5 / math.sqrt(1e5) * 3)
    points = grid(exact)
    assert points[0, 0].tolist() == [exact[0, 0].item(), exact[2, 1].item()]
    assert points[2, 1].tolist() == [exact[1, 0].item(), exact[0, 1].item()]
