"""Checks that images, samples and calls do not disturb each other. Shapes: K samples, B batch."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor, nn

from vaeflow.distributions.draw import draw
from vaeflow.testing.dropout import fixed_dropout
from vaeflow.testing.kinds.posteriors import (
    FEATURES,
    features,
    in_training,
    posterior,
    tolerance,
    within,
)
from vaeflow.testing.noise import Given, given
from vaeflow.testing.probes import close, keeps_to_itself, normal
from vaeflow.testing.registered import MakePart, Refused, register

_BATCHES = (1, 2, 3, 5, 10, 16, 32, 33, 64, 99, 100, 101, 128, 200, 256, 257, 500, 512, 1000)
_SAMPLES = (1, 2, 3, 5, 10, 16, 32, 50, 64, 100, 128, 200, 500, 512, 1000, 2000, 5000)
_CALLS = 300


@register("posterior")
def returns_draws_of_the_right_shape(part: MakePart) -> None:
    """q has batch (B,), event (L,); z is (*, B, L), log q is (*, B), for batches of 0 to 3."""
    for latent in (1, 5):
        try:
            module = posterior(part, latent)
        except Refused:
            if latent == 1:
                continue
            raise
        for batch in (0, 1, 3):
            q = module(features(batch))
            assert q.batch_shape == (batch,), (
                f"the batch shape is {tuple(q.batch_shape)}, not {(batch,)}"
            )
            assert q.event_shape == (latent,), (
                f"the event shape is {tuple(q.event_shape)}, not {(latent,)}"
            )
            for shape in ((), (1,), (4,)):
                try:
                    sample = draw(q, shape)
                except (RuntimeError, ZeroDivisionError):
                    if batch:
                        raise
                    continue  # torch's own distributions cannot sum over nothing
                for what, seen, wanted in (
                    ("z", sample.z, (*shape, batch, latent)),
                    ("log q0", sample.log_base, (*shape, batch)),
                    ("log|det|", sample.log_det, (*shape, batch)),
                ):
                    assert seen.shape == wanted, f"{what} is {tuple(seen.shape)}, not {wanted}"


@register("posterior")
@torch.no_grad()
def treats_images_independently(part: MakePart) -> None:
    """Permuting, splitting or joining batches does the same to the draws and their densities."""
    module = posterior(part, 5)
    h = features(40)
    eps = within(module, h, normal(3, 40, 5))
    whole = given(module(h), eps)
    for what, rows in (
        ("a permuted batch", [7 * i % 40 for i in range(40)]),
        ("a batch of one", [0]),
        ("half of the batch", [2, 3]),
        ("the batch joined to itself", [*range(40), *range(40)]),
    ):
        seen = given(module(h[rows]), eps[:, rows])
        close(seen.z, whole.z[:, rows], f"z of {what}", tolerance(module))
        close(seen.log_prob, whole.log_prob[:, rows], f"log q of {what}", tolerance(module))


@register("posterior", once=True)
@torch.no_grad()
def is_the_same_for_any_number(part: MakePart) -> None:
    """Among 1 to 1000 images, or 1 to 5000 samples, a draw is scored as in other company."""
    module = posterior(part, 4, scale=1.0)
    allowed = tolerance(module)
    h = features(max(_BATCHES))
    eps = within(module, h, normal(2, max(_BATCHES), 4))
    pieces = [given(module(some), noise) for some, noise in zip(
        h.split(37), eps.split(37, 1), strict=True
    )]  # fmt: skip
    z, log_q = (torch.cat([piece[i] for piece in pieces], 1) for i in (0, 1))
    for batch in _BATCHES:
        seen = given(module(h[:batch]), eps[:, :batch])
        close(seen.z, z[:, :batch], f"z in a batch of {batch} images", allowed)
        close(seen.log_prob, log_q[:, :batch], f"log q in a batch of {batch} images", allowed)
    q = module(h[:2])
    eps = within(module, h, normal(max(_SAMPLES), 2, 4))
    pieces = [given(q, noise) for noise in eps.split(37)]
    z, log_q = (torch.cat([piece[i] for piece in pieces]) for i in (0, 1))
    for k in _SAMPLES:
        seen = given(module(h[:2]), eps[:k])
        close(seen.z, z[:k], f"z of {k} samples", allowed)
        close(seen.log_prob, log_q[:k], f"log q of {k} samples", allowed)
    _same_among_a_million(part)


def _same_among_a_million(part: MakePart) -> None:
    """Compare the first of 275 draws for 100 images in 40 dimensions with the same draws alone."""
    with suppress(Refused):
        module = posterior(part, 40, scale=0.5, dtype=torch.float32)
        h = features(100, torch.float32)
        eps = within(module, h, normal(275, 100, 40, dtype=torch.float32)).float()
        whole = given(module(h), eps).log_prob
        alone = given(module(h), eps[:20]).log_prob
        close(whole[:20], alone, "log q among a million numbers", max(1e-5, tolerance(module)))


@register("posterior", once=True)
@torch.no_grad()
def is_the_same_at_every_call(part: MakePart) -> None:
    """Hundreds of calls with the same features and noise give the same draws and densities."""
    module, h = posterior(part, 3, scale=1.0), features(2)
    eps = within(module, h, normal(2, 3))
    _repeats(module, h, eps)
    _repeats(in_training(module), h, eps)


def _repeats(module: nn.Module, h: Tensor, eps: Tensor) -> None:
    where = "in training" if module.training else "in evaluation"
    first: Given | None = None
    for i in range(_CALLS):
        with fixed_dropout(module):
            seen = given(module(h), eps)
        first = seen if first is None else first
        same = torch.equal(seen.z, first.z) and torch.equal(seen.log_prob, first.log_prob)
        if not same:
            told = f"at call {i + 1} {where}"
            close(seen.z, first.z, f"z {told}", tolerance(module))
            close(seen.log_prob, first.log_prob, f"log q {told}", tolerance(module))


@register("posterior")
def is_the_same_without_gradients(part: MakePart) -> None:
    """Under no_grad and inference_mode, and for any memory layout, draws and densities agree."""
    module, h = posterior(part, 4), features(3)
    eps = within(module, h, normal(2, 3, 4))
    kept = h.clone()
    wanted = given(module(h.requires_grad_()), eps)
    h = h.detach()
    for what, context in (("no_grad", torch.no_grad()), ("inference_mode", torch.inference_mode())):
        with context:
            seen = given(module(h), eps)
        close(seen.z.clone(), wanted.z, f"z under {what}", tolerance(module))
        close(seen.log_prob.clone(), wanted.log_prob, f"log q under {what}", tolerance(module))
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        seen = given(module(h), eps)
    finally:
        torch.use_deterministic_algorithms(deterministic)
    close(seen.log_prob, wanted.log_prob, "log q by deterministic algorithms", tolerance(module))
    for what, laid in (
        ("transposed", h.T.contiguous().T),
        ("a slice of a larger tensor", torch.cat([h, h], 1)[:, :FEATURES]),
    ):
        seen = given(module(laid), eps)
        close(seen.z, wanted.z, f"z of features in memory as {what}", tolerance(module))
        close(seen.log_prob, wanted.log_prob, f"log q of such {what} features", tolerance(module))
    assert torch.equal(h, kept), "the features are changed in place"


@register("posterior")
def draws_noise_for_every_sample_and_image(part: MakePart) -> None:
    """Draws differ between samples and between equal images; the run's seed repeats them."""
    states = []
    for seed in (1, 2):
        module = posterior(part, 3, scale=None, seed=seed)
        module(features(2))
        states.append(torch.get_rng_state())
    assert not torch.equal(*states), "the part seeds torch's generator, which belongs to the run"
    q = posterior(part, 3)(features(1).expand(2, -1))
    torch.manual_seed(5)
    z = draw(q, (2,)).z
    assert not torch.allclose(z[0], z[1]), "two samples share their noise"
    assert not torch.allclose(z[:, 0], z[:, 1]), "two images share their noise"
    assert not torch.equal(z, draw(q, (2,)).z), "two successive draws are equal"
    many = draw(q, (100,)).z.flatten(0, 1)
    assert len(torch.unique(many, dim=0)) == len(many), "the noise of 100 samples repeats"
    torch.manual_seed(5)
    assert torch.equal(z, draw(q, (2,)).z), "the same seed gives another draw"


@register("posterior")
def scores_each_draw_by_itself(part: MakePart) -> None:
    """Successive draws of one q, and samples drawn at once, are each scored as if drawn alone."""
    h = features(3)  # K = B: neither may be taken for the other
    module = posterior(part, 4)
    eps = within(module, h, normal(3, 3, 4))
    fresh = [posterior(part, 4) for _ in eps]  # which remember nothing
    q = module(h)
    one_by_one = [given(q, e) for e in eps]
    at_once = given(q, eps)
    for i, seen in enumerate(one_by_one):
        alone = given(fresh[i](h), eps[i])
        for what, z, log_q in (
            (f"draw {i + 1} of one q", seen.z, seen.log_prob),
            (f"sample {i + 1} of three", at_once.z[i], at_once.log_prob[i]),
        ):
            close(z, alone.z, f"z of {what}", tolerance(module))
            close(log_q, alone.log_prob, f"log q of {what}", tolerance(module))


@register("posterior")
def passes_no_gradient_between_images(part: MakePart) -> None:
    """Neither z nor log q of an image has a gradient in the features of another."""
    h = features(3).requires_grad_()
    sample = draw(posterior(part, 4)(h), (2,))
    keeps_to_itself(sample.z.sum((0, -1)), h, "z", 0)
    keeps_to_itself(sample.log_prob.sum(0), h, "log q", 0)
