"""Whether log q(z|x) of an image depends on the images beside it.

Shapes: K samples, B batch, F features, L latent size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from vaeflow.parts.abstract import Posterior
from vaeflow.testing.noise import Given, OtherNoise, given
from vaeflow.testing.registered import NotApplicable

_SHAKE = 0.3  # standard deviation of what is added to the parameters: many flows start as identity
_TOLERANCE = 1e-4  # of log q in float32


@torch.no_grad()
def odd_row(posterior: Posterior, h: Tensor) -> tuple[float, float] | None:
    """Return log q of a draw among others and alone, where they differ, or None.

    The same noise gives the same z in both, so a difference is a log-determinant that is summed
    over the batch or the samples. Where noise cannot be given to q, or z itself depends on the
    batch, nothing is known.

    Arguments:
        h: features (B, F); the posterior is in evaluation mode.
    """
    noise = torch.randn(len(h) + 1, len(h), posterior.latent, dtype=h.dtype, device=h.device)
    with _shaken(posterior):
        try:
            whole = given(posterior(h), noise)
            alone = [given(posterior(h[i : i + 1]), noise[:1, i : i + 1]) for i in range(len(h))]
        except (OtherNoise, NotApplicable):
            return None
    whole = Given(*(value[:1] for value in whole))
    rows = Given(*(torch.cat(values, 1) for values in zip(*alone, strict=True)))
    close = torch.isclose(whole.z, rows.z, rtol=_TOLERANCE, atol=_TOLERANCE).all(-1)
    bound = max(_TOLERANCE, 10 * posterior.tolerance) * (1 + rows.log_prob.abs())
    odd = close & ((whole.log_prob - rows.log_prob).abs() > bound)
    if not odd.any():
        return None
    return whole.log_prob[odd][0].item(), rows.log_prob[odd][0].item()


@contextmanager
def _shaken(posterior: Posterior) -> Iterator[None]:
    """Move the parameters within the block, and put them back to the bit."""
    before = [p.clone() for p in posterior.parameters()]
    for p in posterior.parameters():
        p.add_(_SHAKE * torch.randn_like(p))
    try:
        yield
    finally:
        for p, kept in zip(posterior.parameters(), before, strict=True):
            p.copy_(kept)
