"""Whether draws follow a density, and whether each number drawn has noise of its own.

Shapes: N draws, D values of an example, M numbers that are drawn at once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaeflow.testing.conditionals import Conditionals, LogProb, conditionals
from vaeflow.testing.lines import Line, repeated

# Standard errors below which right parts stay in thousands of comparisons.
_BOUND = 6.0
_NEXT_TO_NOTHING = 1e-3  # draws, so that integrals need not resolve what is less
_UNDERFLOW = 1e-250
_OF_EACH, _OF_ALL = 300, 1500  # draws by which each value given the others is judged


@torch.no_grad()
def follow(draws: Tensor, law: Conditionals, line: Line, what: str, missed: float = 0.0) -> None:
    """Raise AssertionError unless draws (N, D) follow the laws of each value, from `marginals`.

    How many lie in each bin, and how many up to its end, is compared with the probabilities. Draws
    of a density repeat no value, but those of positive probability. `missed` is the share of the
    draws in narrow peaks that the laws may not know of.
    """
    columns = draws.T.contiguous()
    if line.step is None:
        for number in repeated(columns):
            often = (columns == number).sum(1) > 2
            known = (law.bins.atoms == number).any(1) | (number.abs() < _UNDERFLOW)
            known |= (line.low == number) | (line.high == number)  # perhaps too rare to be seen
            assert not (often & ~known).any(), (
                f"{what} repeat the value {number.item():.6g}, which has no probability"
            )
    bins = law.bins.of(columns)
    seen = torch.nn.functional.one_hot(bins, law.bins.count).sum(1).to(draws)
    for counts, p, where in (
        (seen, law.shares, "in"),
        (seen.cumsum(1), law.shares.cumsum(1), "up to"),
    ):
        wanted, reason = len(draws) * p, f"{what} do not follow the density:"
        # An integral may have missed some of them.
        nearest = counts - (counts - wanted).clamp(-missed * len(draws), missed * len(draws))
        _are_expected(nearest, wanted, len(draws), f"{reason} {where}")
        whole = nearest.sum(0), wanted.sum(0), draws.numel()
        _are_expected(*whole, f"{reason} of all values, {where}")


def _are_expected(seen: Tensor, wanted: Tensor, total: int, what: str) -> None:
    """Raise AssertionError unless counts (…, bins) of a total are noise about those wanted."""
    z = _surprise(seen, wanted, total)
    worst = int(z.argmax())
    assert z.max() <= _BOUND, (
        f"{what} bin {worst % z.shape[-1] + 1} of {z.shape[-1]} lie "
        f"{seen.flatten()[worst].item():.0f} of {total}, {z.max().item():.0f} standard errors "
        f"from the {wanted.flatten()[worst].item():.4g} expected"
    )


def _surprise(seen: Tensor, wanted: Tensor, total: int) -> Tensor:
    """Return how many standard errors counts are off: the root of the binomial's deviance."""
    most = total + 2 * _NEXT_TO_NOTHING
    seen, wanted = (x.clamp(0, total) + _NEXT_TO_NOTHING for x in (seen, wanted))
    each = seen * (seen / wanted).log() + (most - seen) * ((most - seen) / (most - wanted)).log()
    return (2 * each).clamp(min=0).sqrt().nan_to_num(nan=torch.inf)


@torch.no_grad()
def follow_given_the_rest(draws: Tensor, log_prob: LogProb, line: Line, what: str) -> None:
    """Raise AssertionError unless each value of draws (N, D) follows p(value | the others).

    This holds for the draws of any density, and no constant matters. Each draw tells of one value.
    The draws must be right on the whole, and right where the others make a bin more probable.
    """
    size = draws.shape[1]
    each = min(_OF_EACH, len(draws) // size, _OF_ALL // size)
    values = torch.arange(size).repeat_interleave(each)
    base = draws[: len(values)]
    law = conditionals(log_prob, base, values, line, draws, 1e-4)
    bins = law.bins.of(base.gather(1, values[:, None])).view(size, each)
    inside = torch.nn.functional.one_hot(bins, law.bins.count)
    shares = law.shares.view(size, each, -1)
    for seen, p, where in (
        (inside, shares, "in"),
        (inside.cumsum(2), shares.cumsum(2), "up to"),
    ):
        for weight in (torch.ones_like(p), p - p.mean(1, keepdim=True)):
            excess = (weight * (seen - p)).sum(1)
            variance = (weight.square() * p * (1 - p)).sum(1)
            _is_noise(excess, variance, each, f"{what} do not follow p(value | the rest): {where}")


def _is_noise(excess: Tensor, variance: Tensor, count: int, what: str) -> None:
    """Raise AssertionError if the excess (C, bins) of N draws in bins is no noise.

    It is judged for each of the C values, and for all of them together.
    """
    for gap, noise, total in (
        (excess, variance, count),
        (excess.sum(0), variance.sum(0), count * len(excess)),
    ):
        # A bin that expects next to nothing may hold a draw or two.
        z = gap.abs() / (noise.clamp(min=0) + 1).sqrt()
        if not z.max() <= _BOUND:
            worst = int(z.argmax())
            raise AssertionError(
                f"{what} bin {worst % z.shape[-1] + 1} of {z.shape[-1]} lie "
                f"{100 * gap.flatten()[worst].item() / total:+.2g} % of them too many, "
                f"{z.max().item():.0f} standard errors"
            )


def have_noise_of_their_own(x: Tensor, group: Tensor, what: str) -> None:
    """Raise AssertionError if numbers that are drawn at once depend on each other.

    Their ranks among the draws of each must not be correlated, nor how far the ranks are from the
    middle one.

    Arguments:
        x: (N, M), N draws of M numbers.
        group: (M,); numbers of one group may depend on each other.
        what: the numbers, in words.
    """
    count, size = x.shape
    assert not (x == x[0]).all(), f"{what} are the same in every draw"
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    # Equal numbers are put in a random order.
    by_noise = noise.argsort(0)
    order = x.gather(0, by_noise).argsort(dim=0, stable=True)
    ranks = torch.empty_like(x).scatter_(
        0, by_noise.gather(0, order), torch.arange(count).to(x)[:, None].expand(-1, size)
    )
    u = (ranks + 0.5) / count - 0.5
    apart = group[:, None] != group
    for numbers in (u, u.abs() - 0.25):
        unit = numbers / numbers.square().mean(0).sqrt()
        z = (unit.T @ unit / math.sqrt(count)).abs() * apart
        if not z.max() <= _BOUND:
            r = z.max().item() / math.sqrt(count)
            raise AssertionError(f"{what} depend on each other: their ranks correlate by {r:.2f}")
