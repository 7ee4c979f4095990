"""Stein's identity, which ties the draws of a density to its gradient in any dimension.

Shapes: N draws, L values.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaeflow.testing.conditionals import LogProb

_BOUND = 6.0  # standard errors below which right parts stay in thousands of comparisons
_FAR = (10.0, 1e3)  # standard deviations at which a density on all of space is positive


def satisfy_stein(draws: Tensor, log_prob: LogProb, what: str) -> None:
    r"""Raise AssertionError unless draws and the gradient of their log-density fit each other.

    For a smooth density on all of space and :math:`s = ∇\log p`, :math:`E[s f + ∇f] = 0` for every
    function f that does not outgrow p (Stein 1972; Gorham & Mackey 2015). Here f is each
    coordinate, standardized, and its tanh. No constant matters. A density that is 0 far out has a
    bounded support, where the identity does not hold: nothing is asserted.

    Arguments:
        draws: (N, L).
        log_prob: (n, L) to (n,).
        what: the draws, in words.
    """
    middle, scale = draws.mean(0), draws.std(0)
    with torch.no_grad():
        directions = (draws[:16] - middle) / scale
        far = torch.cat([middle + size * scale * directions for size in _FAR])
        if not log_prob(far).isfinite().all():
            return
    z = draws.clone().requires_grad_()
    (slope,) = torch.autograd.grad(log_prob(z).sum(), z)
    s, y = slope * scale, (draws - middle) / scale
    eye = torch.eye(draws.shape[1]).to(draws)
    for f, df in ((y, torch.ones_like(y)), (y.tanh(), 1 - y.tanh().square())):
        each = s[:, :, None] * f[:, None, :] + eye * df[:, None, :]  # (N, L, L)
        for terms in (each.flatten(1), each.diagonal(dim1=1, dim2=2).sum(1, keepdim=True), s):
            error = terms.std(0) / math.sqrt(len(terms))
            z_score = (terms.mean(0) / (error + 1e-9)).abs()
            assert z_score.max() <= _BOUND, (
                f"{what} and the gradient of log p do not fit: E[∇log p · f + ∇f] is "
                f"{z_score.max().item():.0f} standard errors from 0 (Stein's identity)"
            )
