"""The largest value of a density that a search finds.

Shapes: N draws, D values of an example. Densities are in nats.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaeflow.testing.conditionals import LogProb
from vaeflow.testing.lines import Line

_POINTS = 33
_ROUNDS = 12
_SEARCHES = 8


@torch.no_grad()
def highest(log_prob: LogProb, draws: Tensor, line: Line) -> float:
    """Return the largest log p(x) found, by searches in each value, the others held.

    Arguments:
        log_prob: (n, D) to (n,).
        draws: (N, D): the search is between them.
        line: the support of each value.
    """
    best = draws[log_prob(draws).argmax()].clone()
    low, high = draws.amin(0), draws.amax(0)
    if line.step is not None:
        low, high = low - 8 * line.step, high + 8 * line.step
    low, high = torch.maximum(low, line.low), torch.minimum(high, line.high)
    for _ in range(_SEARCHES):
        found = _searched(log_prob, best, low, high, line.step)
        if line.step is None:  # where values depend on each other, all steps at once go too far
            steps = torch.stack([found, (found + best) / 2, best])
        else:
            steps = torch.stack([found, best])
        best, before = steps[log_prob(steps).argmax()], best
        if torch.equal(best, before):
            break
    return log_prob(best[None]).item()


def _searched(
    log_prob: LogProb, best: Tensor, low: Tensor, high: Tensor, step: float | None
) -> Tensor:
    """Return each value where p is largest, the others held, between bounds (D,)."""
    if step is not None:
        count = int(((high - low) / step).max().item()) + 1
        grid = low[:, None] + step * torch.arange(count).to(low)
        return _best_of(log_prob, best, torch.minimum(grid, high[:, None]))
    places = torch.linspace(0, 1, _POINTS).to(low)
    middle = best
    for _ in range(_ROUNDS):  # each looks an eighth as far as the last
        grid = torch.cat([low[:, None] + (high - low)[:, None] * places, middle[:, None]], 1)
        middle = _best_of(log_prob, best, grid)
        reach = (high - low) / 16
        low, high = torch.maximum(low, middle - reach), torch.minimum(high, middle + reach)
    return middle


def _best_of(log_prob: LogProb, base: Tensor, grid: Tensor) -> Tensor:
    """Return the best of each value's candidates (D, n), the others as in the base (D,)."""
    size, count = grid.shape
    points = base.expand(size, count, size).clone()
    points[torch.arange(size), :, torch.arange(size)] = grid
    scores = log_prob(points.flatten(0, 1)).view(size, count)
    return grid.gather(1, scores.argmax(1, keepdim=True))[:, 0]
