"""Simulation-based calibration of posteriors whose ranks have known laws."""

import math

import pytest
import torch

from vaeflow.diagnosis.calibration import Calibration, calibrate, simulate
from vaeflow.errors import ConfigError


def test_simulated_data_have_the_moments_of_the_model(linear_gaussian):
    n = 20_000
    z, x = simulate(linear_gaussian.model(), n)
    assert z.shape == (n, linear_gaussian.latent)
    assert x.shape == (n, *linear_gaussian.shape)
    assert (z.mean(0).abs() < 4 / math.sqrt(n)).all()
    w = linear_gaussian.w
    covariance = w @ w.T + 0.7**2 * torch.eye(len(w), dtype=torch.float64)
    seen = torch.cat([z, x.flatten(1)], 1).T.cov()
    size = linear_gaussian.latent
    assert (seen[size:, :size] - w).abs().max() < 0.06
    assert (seen[size:, size:] - covariance).abs().max() < 0.15


@pytest.mark.parametrize("samples", [1, 4, 99])
def test_the_ranks_of_the_exact_posterior_are_uniform(linear_gaussian, samples):
    n = 3000
    bins = min(20, samples + 1)
    found = calibrate(linear_gaussian.model(), images=n, samples=samples, bins=bins, batch=700)
    assert found.ranks.shape == (n, linear_gaussian.latent)
    assert found.ranks.unique().tolist() == list(range(samples + 1))
    assert found.counts.sum(0).tolist() == [n] * linear_gaussian.latent
    error = math.sqrt(samples * (samples + 2) / 12 / n)
    assert ((found.ranks.double().mean(0) - samples / 2).abs() < 4 * error).all()
    assert (found.p_value > 0.01).all()


@pytest.mark.parametrize(
    ("shift", "spread"), [(0.1, 1.0), (-0.1, 1.0), (0.0, 0.6), (0.0, 1.5), (0.05, 1.3)]
)
def test_the_ranks_of_a_wrong_q_follow_its_error(linear_gaussian, shift, spread):
    """E[r] = S·P(z' < z) for z' − z ~ N(shift, (1 + spread²)·variance)."""
    n, samples = 2000, 49
    found = calibrate(
        linear_gaussian.model(shift=shift, spread=spread), images=n, samples=samples, bins=10
    )
    variance = torch.linalg.inv(linear_gaussian.precision).diagonal()
    below = torch.special.ndtr(-shift / (variance * (1 + spread**2)).sqrt())
    ranks = found.ranks.double()
    error = ranks.std(0) / math.sqrt(n)
    assert ((ranks.mean(0) - samples * below).abs() < 4 * error).all()
    assert (found.p_value < 1e-6).all()
    ends = found.counts[[0, -1]].sum(0) / found.expected[[0, -1]].sum()
    if shift == 0:  # too narrow piles up at the ends, too wide in the middle
        assert ((ends > 1.5) if spread < 1 else (ends < 0.7)).all()


def test_the_statistic_is_that_of_pearson():
    # 10 ranks in 3 bins: 0-3, 4-6 and 7-9.
    ranks = torch.tensor([0, 3, 3, 1, 2, 0, 6, 4, 9, 7])[:, None].repeat(2, 1)
    found = Calibration.of(ranks, 9, 3)
    assert found.expected.tolist() == pytest.approx([8, 6, 6])
    assert found.counts[:, 0].tolist() == [12, 4, 4]
    statistic = 16 / 8 + 4 / 6 + 4 / 6
    assert found.statistic.item() == pytest.approx(statistic)
    assert found.p_value.item() == pytest.approx(math.exp(-statistic / 2))  # of 2 degrees


def test_p_values_of_uniform_ranks_are_uniform():
    generator = torch.Generator().manual_seed(0)
    ranks = torch.randint(100, (1000, 2000), generator=generator)
    p = Calibration.of(ranks, 99, 20).p_value
    for level in (0.01, 0.1, 0.5, 0.9):
        error = math.sqrt(level * (1 - level) / 2000)
        assert ((p < level).double().mean() - level).abs() < 4 * error


def test_the_result_is_a_function_of_the_seed(linear_gaussian):
    model = linear_gaussian.model()
    for part in ("encoder", "decoder"):
        setattr(model, part, torch.nn.Sequential(getattr(model, part), torch.nn.Dropout(0.5)))
    options = {"images": 100, "samples": 9, "bins": 5}
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = calibrate(model.eval(), **options).ranks
    model.train()  # which changes nothing: dropout is for training
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(calibrate(model, **options).ranks, first)
    assert not torch.equal(calibrate(model, seed=1, **options).ranks, first)
    assert model.training


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bins": 11, "samples": 9}, "give 2 to 10"),
        ({"bins": 1}, "give 2 to 100"),
        ({"images": 99}, "99 simulated images are too few for .* 20 bins: give 100 or more"),
    ],
)
def test_too_many_bins_or_too_few_images_are_refused(linear_gaussian, options, words, one_sentence):
    with pytest.raises(ConfigError, match=words) as error:
        calibrate(linear_gaussian.model(), **options)
    one_sentence(str(error.value))
