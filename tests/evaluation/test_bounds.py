"""Bounds and their companions on a linear-Gaussian model, for any chunk and seed."""

import json
from dataclasses import replace

import pytest
import torch

from vaeflow.evaluation import Bounds, Estimate, ImageBounds, evaluate, evaluate_images
from vaeflow.evaluation.proposals.choice import Choice
from vaeflow.model import VAE
from vaeflow.parts.decoders.mlp import MLP as MLPDecoder
from vaeflow.parts.encoders.mlp import MLP as MLPEncoder
from vaeflow.parts.likelihoods.bernoulli import Bernoulli
from vaeflow.parts.posteriors.planar import Planar
from vaeflow.parts.priors.normal import Normal

N, SHAPE, L = 7, (1, 3, 3), 2
BOUNDS = ("elbo", "log_px", "kl", "nll", "squared_error")


def planar():
    torch.manual_seed(0)
    encoder = MLPEncoder(SHAPE, hidden=(6,))
    vae = VAE(
        encoder, Planar(L, 6, steps=3), Normal(L, SHAPE), MLPDecoder(L, SHAPE, hidden=(6,)),
        Bernoulli(SHAPE),
    ).double()  # fmt: skip
    with torch.no_grad():
        for p in vae.parameters():
            p.mul_(3)
    return vae, (torch.rand(N, *SHAPE) > 0.5).double()


HOW = {"samples": 30, "choice": Choice("q"), "tolerance": 0.05, "dequantized": None}


def images_of(model, x, **options):
    return ImageBounds.cat(list(evaluate_images(model, x, **{"proposal": "q", **options})))


def tensors(figures):
    """Return everything known of the images by its name."""
    found = {n: getattr(figures, n) for n in ("effective_sample_size", "pareto_k")}
    for name in BOUNDS:
        bound = getattr(figures, name)
        found |= {name: bound.values, f"{name}.error": bound.errors}
    return found


def test_with_the_exact_posterior_every_draw_counts(linear_gaussian):
    model = linear_gaussian.model()
    _, x = linear_gaussian.data(N)
    figures = images_of(model, x, samples=50)
    torch.testing.assert_close(figures.nll.values, -linear_gaussian.log_px(x))
    torch.testing.assert_close(
        figures.effective_sample_size, torch.full((N,), 50.0, dtype=torch.float64)
    )
    for bound in (figures.elbo, figures.nll):
        assert bound.errors.max() < 1e-7


@pytest.mark.parametrize(("shift", "spread"), [(0.3, 1.0), (0.0, 1.4), (-0.2, 0.8)])
def test_every_figure_is_within_its_monte_carlo_error_of_the_truth(linear_gaussian, shift, spread):
    model = linear_gaussian.model(shift=shift, spread=spread)
    _, x = linear_gaussian.data(40)
    figures = images_of(model, x, samples=2000)
    evidence, gap = linear_gaussian.log_px(x), linear_gaussian.divergence(model, x)
    q = model.infer(x)
    centre = (x.flatten(1) - linear_gaussian.c - q.mean @ linear_gaussian.w.T).square().sum(-1)
    spread_out = (linear_gaussian.w @ q.covariance_matrix @ linear_gaussian.w.T).diagonal(0, 1, 2)
    for found, exact in (
        (figures.elbo, evidence - gap),
        (figures.nll, -evidence),
        (figures.squared_error, centre + spread_out.sum(-1)),
    ):
        off = found.values - exact
        assert off.mean().abs() < 4 * found.monte_carlo_error
        if found is not figures.squared_error:  # whose error is that of ten draws, and skewed
            assert 0.6 < (off / found.errors).std() < 1.5
    assert gap.min() > 20 * figures.elbo.monte_carlo_error  # or a wrong gap would pass


def test_the_monte_carlo_error_is_that_of_repetition(linear_gaussian):
    model = linear_gaussian.model(shift=0.2, spread=1.3)
    _, x = linear_gaussian.data(10)
    found = [evaluate(model, x, samples=100, seed=seed) for seed in range(60)]
    for name in BOUNDS:
        means = torch.tensor([getattr(bounds, name).mean for bounds in found])
        told = sum(getattr(bounds, name).monte_carlo_error for bounds in found) / 60
        assert means.std().item() == pytest.approx(told, rel=0.3), name


@pytest.mark.parametrize("batch", [3, 100])
@pytest.mark.parametrize("chunk", [1, 8, 50, 1000, 10**9])
def test_no_figure_depends_on_the_chunk(batch, chunk):
    model, x = planar()
    options = {"samples": 700, "batch": batch, "seed": 5}
    expected = tensors(images_of(model, x, **options))
    found = tensors(images_of(model, x, chunk=chunk, **options))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_no_more_rows_than_a_chunk_pass_through_the_decoder():
    model, x = planar()
    rows = []
    model.decoder.register_forward_hook(lambda m, z, out: rows.append(z[0].shape[:2].numel()))
    images_of(model, x, samples=600, chunk=50)
    assert max(rows) == 49  # seven draws of each image
    rows.clear()
    images_of(model, x, samples=600)
    assert max(rows) <= 1000


def test_the_encoder_runs_once_for_each_image():
    model, x = planar()
    seen = []
    model.encoder.register_forward_hook(lambda m, x, out: seen.append(len(x[0])))
    images_of(model, x, samples=5000, batch=3)
    assert seen == [3, 3, 1]


def test_an_evaluation_goes_on_where_another_stopped():
    model, x = planar()
    whole = tensors(images_of(model, x, samples=30, batch=2))
    rest = tensors(images_of(model, x, samples=30, batch=2, start=4))
    for name, values in whole.items():
        assert torch.equal(rest[name].nan_to_num(9), values[4:].nan_to_num(9)), name


def test_an_evaluation_is_a_function_of_its_seed_and_leaves_all_else_alone():
    model, x = planar()
    model.train()
    modes = []
    model.decoder.register_forward_hook(lambda m, *words: modes.append(m.training))
    state = torch.get_rng_state()
    one, same, other = (evaluate(model, x, samples=40, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one.nll != other.nll
    assert torch.equal(torch.get_rng_state(), state)
    assert modes
    assert not any(modes)  # it is evaluated in evaluation mode
    assert model.training
    assert all(p.requires_grad for p in model.parameters())


def test_summaries_count_the_images_whose_weights_cannot_be_trusted():
    model, x = planar()
    figures = images_of(model, x, samples=30)
    k = torch.tensor([0.1, 0.2, 0.3, 0.71, 0.9, torch.nan, torch.nan], dtype=torch.float64)
    fields = {**vars(figures), "pareto_k": k}
    bounds = Bounds.of(ImageBounds(**fields), model, **HOW)
    assert bounds.pareto_k == (pytest.approx(0.3), pytest.approx(2 / 7))
    for infinite, share in ((-torch.inf, 0.0), (torch.inf, 1.0)):  # which JSON does not have
        fields["pareto_k"] = torch.full_like(k, infinite)
        bounds = Bounds.of(ImageBounds(**fields), model, **HOW)
        assert bounds.pareto_k == (infinite, share)
        told = [bounds.as_dict(), *(finding.as_dict() for finding in bounds.findings)]
        assert json.loads(json.dumps(told, allow_nan=False))[0]["pareto_k"]["median"] is None
        assert f" {'−' * (share == 0)}∞ (median" in str(bounds.findings[0])
    fields["pareto_k"] = torch.full_like(k, torch.nan)
    bounds = Bounds.of(ImageBounds(**fields), model, **HOW)
    assert bounds.as_dict()["pareto_k"] is None


def test_a_likelihood_without_a_mean_has_no_squared_error(monkeypatch):
    class Meanless(torch.distributions.Independent):
        mean = property(lambda self: torch.distributions.Distribution.mean.fget(self))

    model, x = planar()
    monkeypatch.setattr("vaeflow.parts.likelihoods.bernoulli.Independent", Meanless)
    bounds = evaluate(model, x, samples=3)
    assert bounds.squared_error is None
    assert bounds.nll.mean > 0


@pytest.mark.parametrize(("kl", "collapsed"), [(0.0, 1), (-0.01, 1), (0.09, 1), (0.11, 0), (5, 0)])
def test_a_kl_near_0_is_a_collapsed_posterior(kl, collapsed):
    model, x = planar()
    bounds = Bounds.of(images_of(model, x, samples=5), model, **{**HOW, "samples": 5})
    found = replace(bounds, kl=Estimate(kl, 0.01)).findings
    assert [f.kind for f in found].count("collapsed-posterior") == collapsed
