"""Pareto-k̂: how heavy the tail of importance weights is, and whether their mean can be trusted.

Shapes: K samples, M of them in the tail, B batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

UNRELIABLE = 0.7  # of k̂: beyond it no practical K makes the mean of the weights converge
_FEWEST = 5  # in a tail that is fitted
_TIED, _FLAT = 4, 64  # roundings by which a weight ties with the threshold, and a tail is none
_PRIOR_K, _PRIOR_COUNT = 0.5, 10  # the prior's k, and the observations for which it stands
_PRIOR_SCALE = 3  # of the grid of Zhang & Stephens, over the first quartile
_TINY = 1e-250  # of the largest excess, for a quartile that underflows


def tail_size(samples: int) -> int:
    r"""Return M = :math:`⌈\min(K/5, 3\sqrt K)⌉`, or 0 where that is too few to fit.

    (Vehtari et al. 2024.)
    """
    m = math.ceil(min(samples / 5, 3 * math.sqrt(samples)))
    return m if m >= _FEWEST else 0


def pareto_k(largest: Tensor, rounding: Tensor | None = None) -> Tensor:
    r"""Return k̂ (B,) of the M + 1 largest log weights (M + 1, B), in descending order.

    The last of them is the threshold. The excesses of the others over it are fitted by a
    generalized Pareto law; weights that tie with it are none of the tail. Of the weights, the
    moments of an order below 1/k exist: from k = ½ on their variance is infinite, beyond 0.7 their
    mean converges too slowly for any K (Vehtari et al. 2024).

    Where the largest weight is above the threshold by rounding alone there is no tail: k̂ is −∞, as
    of weights that are all equal, and their mean is to be trusted. Where fewer than five weights
    are clear of the threshold the rest ties with it: nothing tells how the tail goes on, and k̂
    is +∞.

    Arguments:
        rounding: the error of a log weight that one rounding of each of its terms makes (M + 1, B);
            by default the one of the log weight itself.
    """
    precise = largest.double()
    if rounding is None:
        rounding = torch.finfo(largest.dtype).eps * precise.abs()
    # Exponentials of float64 are rounded too. A weight of 0 has no rounding.
    unit = rounding[0].double().clamp_min(torch.finfo(torch.float64).eps)
    above = precise[:-1] - precise[-1]
    clear = (above > _TIED * unit).sum(0)
    scaled = (precise - precise[0]).exp()
    excess = (scaled[:-1] - scaled[-1]).flip(0)
    k = torch.full_like(unit, torch.inf)
    for m in clear[clear >= _FEWEST].unique().tolist():
        here = clear == m
        k[here] = generalized_pareto_k(excess[-m:, here])
    return torch.where(above[0] > _FLAT * unit, k, -torch.inf)


def generalized_pareto_k(excess: Tensor) -> Tensor:
    r"""Return the shape k (B,) of excesses y > 0 (M, B), in ascending order.

    .. math:: p(y) = \frac1σ \Big(1 + \frac{k y}{σ}\Big)^{-1/k - 1}, \quad
        \hat k(b) = \frac1M \sum_i \log(1 - b y_i), \quad b = -k/σ

    The profile likelihood of b, :math:`M(\log(-b/\hat k(b)) - \hat k(b) - 1)`, weights a grid of b,
    whose mean is taken (Zhang & Stephens 2009; their k has the other sign). k is then drawn towards
    ½ as if by ten observations (Vehtari et al. 2024).
    """
    m, top = len(excess), excess[-1]
    quartile = excess[int(m / 4 + 0.5) - 1].clamp_min(_TINY * top)
    size = 30 + int(math.sqrt(m))
    step = 1 - (size / (torch.arange(1, size + 1).to(excess) - 0.5)).sqrt()
    grid = 1 / top + step[:, None] / (_PRIOR_SCALE * quartile)  # (size, B)
    # One b at a time: all at once would take size × M × B numbers.
    k = torch.stack([torch.log1p(-b * excess).mean(0) for b in grid])
    # In the limit of b = 0, the exponential law, −k/b is the mean.
    scale = torch.where(grid == 0, excess.mean(0), -k / grid)
    profile = -m * (scale.log() + k + 1)
    b = (torch.softmax(profile, 0) * grid).sum(0)
    k = torch.log1p(-b * excess).mean(0)
    return (m * k + _PRIOR_COUNT * _PRIOR_K) / (m + _PRIOR_COUNT)
