"""Checks of a likelihood. Shapes: K samples, B batch."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from vaeflow.testing.probes import (
    accepted,
    close,
    far_from_start,
    finite,
    keeps_to_itself,
    learns,
    normal,
)
from vaeflow.testing.registered import MakePart, NotApplicable, register

_SHAPES: list[tuple[Any, ...]] = [((1, 4, 3),), ((5,),)]
_DISCRETE = 2000  # values of an unbounded count that are added up


def _likelihoods(part: MakePart, *, dtype: torch.dtype = torch.float64) -> list[Any]:
    found = accepted(part, _SHAPES)
    return [far_from_start(module.to(dtype), 0.5).eval() for _, module in found]


def _outputs(module: Any, dtype: torch.dtype = torch.float64, seed: int = 2) -> Tensor:
    return normal(2, 3, *module.output_shape, seed=seed, dtype=dtype)


@register("likelihood")
def emits_the_shape_it_promises(part: MakePart) -> None:
    """From (K, B, *output_shape): batch (K, B), event data_shape; draws lie in the support."""
    for module in _likelihoods(part):
        p = module(_outputs(module))
        x = p.sample()
        for what, seen, wanted in (
            ("the batch shape", p.batch_shape, (2, 3)),
            ("the event shape", p.event_shape, module.data_shape),
            ("the mean", p.mean.shape, (2, 3, *module.data_shape)),
            ("a draw", x.shape, (2, 3, *module.data_shape)),
            ("a score of (K, B) draws", p.log_prob(x).shape, (2, 3)),
            ("a score of (B) images", p.log_prob(x[0]).shape, (2, 3)),
        ):
            assert tuple(seen) == tuple(wanted), f"{what} is {tuple(seen)}, not {tuple(wanted)}"
        assert module.support.check(x).all(), "a draw lies outside the support"


@register("likelihood", core=True)
def is_normalized(part: MakePart) -> None:
    """p(x|z) of a single value sums or integrates to 1 over its support."""
    for seed in range(3):
        _adds_up(part, 1, 20_001, seed)


@register("likelihood")
def is_normalized_over_pairs(part: MakePart) -> None:
    """p(x|z) of two values sums or integrates to 1 over all pairs of them."""
    _adds_up(part, 2, 401, 0)


def _adds_up(part: MakePart, values: int, n: int, seed: int) -> None:
    # A row of a table and an image: a density may be right for one and wrong for the other.
    for shape, module in accepted(part, [((values,),), ((1, 1, values),)]):
        far_from_start(module.double(), 0.5, seed).eval()
        p: Distribution = module((1 + 2 * seed) * normal(1, 1, *module.output_shape, seed=seed))
        with torch.no_grad():
            draws = p.sample((1001,)).reshape(1001, values)
            grids = [_grid(module.support, each, n) for each in draws.unbind(1)]
            x, log_volume = zip(*grids, strict=True)
            points = torch.cartesian_prod(*x).reshape(-1, 1, 1, *shape[0])
            log_volumes = torch.cartesian_prod(*log_volume).reshape(-1, values).sum(-1)
            total = (p.log_prob(points).flatten() + log_volumes).exp().sum().item()
        assert abs(total - 1) < 1e-3, f"p(x|z) of {values} adds up to {total:.4f}, not 1"


def _grid(support: Any, draws: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return values that cover a support, dense at the draws, and the log of their volumes."""
    if support is constraints.boolean:
        return torch.tensor([0.0, 1.0]).double(), torch.zeros(2).double()
    low, high = (getattr(support, f"{side}_bound", None) for side in ("lower", "upper"))
    if support.is_discrete and low is not None:
        step = getattr(support, "step", 1)  # between neighbours
        # All pairs of a count are too many; the tail beyond a few dozens has little mass.
        high = low + (_DISCRETE if n > _DISCRETE else 150) if high is None else high
        x = low + step * torch.arange(round((high - low) / step) + 1, dtype=torch.float64)
        return x, torch.zeros_like(x)
    t = torch.linspace(-12, 12, n, dtype=torch.float64)
    log_step = math.log(24 / (n - 1))
    if support is constraints.real:  # x = m + s·sinh t
        middle = draws.median()
        scale = (draws - middle).abs().median() + 1e-12
        return middle + scale * t.sinh(), log_step + scale.log() + t.cosh().log()
    if low is not None and high is not None:  # x = low + (high − low)·sigmoid 2t
        t = 2 * t
        log_slope = torch.nn.functional.logsigmoid(t) + torch.nn.functional.logsigmoid(-t)
        x = low + (high - low) * torch.sigmoid(t)
        return x, log_step + math.log(2 * (high - low)) + log_slope
    if low == 0.0 and high is None:  # x = m·exp t
        return draws.median() * t.exp(), log_step + draws.median().log() + t
    raise NotApplicable(f"no grid is known that covers {support}")


@register("likelihood")
def stays_finite_at_the_extremes(part: MakePart) -> None:
    """In float32, scores and their gradients are finite for extreme outputs and at the edges."""
    for module in _likelihoods(part, dtype=torch.float32):
        x = [module(_outputs(module, torch.float32)).sample()[0]]
        for side in ("lower", "upper"):
            edge = getattr(module.support, f"{side}_bound", None)
            if module.support is constraints.boolean:
                edge = float(side == "upper")
            if edge is not None:
                full = torch.full_like(x[0], float(edge))
                x += [full] if module.support.check(full).all() else []
        for size in (1.0, 100.0, -100.0, 1e4, -1e4):
            output = (size * _outputs(module, torch.float32)).requires_grad_()
            p = module(output)
            for value in x:
                score = p.log_prob(value)
                finite(score, f"a score at outputs of size {abs(size):g}")
                (gradient,) = torch.autograd.grad(
                    score.sum(), output, allow_unused=True, retain_graph=True
                )
                finite(gradient, f"its gradient at outputs of size {abs(size):g}")


@register("likelihood")
def refuses_what_it_cannot_score(part: MakePart) -> None:
    """`support` refuses NaN and values beyond its bounds or between its integers, one by one."""
    for module in _likelihoods(part):
        support: Any = module.support
        outside = [math.nan]
        low, high = (getattr(support, f"{side}_bound", None) for side in ("lower", "upper"))
        if support is constraints.boolean:
            low, high = 0, 1
        outside += [] if low is None else [float(low) - 1.0]
        outside += [] if high is None else [float(high) + 1.0]
        step = getattr(support, "step", 1)
        outside += [float(low or 0.0) + 0.5 * step] if support.is_discrete else []
        x = module(_outputs(module)).sample()[0, :1]
        for value in outside:
            spoiled = x.clone()
            spoiled.view(-1)[0] = value
            inside = support.check(spoiled)
            assert inside.shape == x.shape, (
                f"support.check returns {tuple(inside.shape)}, not one truth per value"
            )
            assert not inside.flatten()[0], f"the support admits {value}"
            assert inside.flatten()[1:].all(), f"the support refuses the values beside {value}"


@register("likelihood")
def draws_match_the_mean(part: MakePart) -> None:
    """The mean of many draws is `mean`, within five standard errors."""
    n = 4000
    for module in _likelihoods(part):
        with torch.no_grad():
            p = module(_outputs(module))
            x = p.sample((n,))
            error = (x.var(0) + 1 / n).sqrt() / math.sqrt(n)
            off = (x.mean(0) - p.mean).abs() / error
        assert off.max() <= 5.5, (
            f"the mean of {n} draws is {off.max().item():.0f} standard errors from `mean`"
        )


@register("likelihood")
def scores_each_sample_and_image_by_itself(part: MakePart) -> None:
    """The score of sample k of image b depends on output (k, b) alone."""
    for module in _likelihoods(part):
        output = _outputs(module).requires_grad_()
        x = module(output).sample()[0]
        score = module(output).log_prob(x)
        keeps_to_itself(score, output, "the score of a sample", 0)
        keeps_to_itself(score, output, "the score of an image", 1)
        close(module(output[1:, 2:]).log_prob(x[2:]), score[1:, 2:], "the score of one image alone")


@register("likelihood")
def passes_gradients_to_everything(part: MakePart) -> None:
    """A score has a gradient in the decoder's output and in every parameter."""
    for module in _likelihoods(part):
        output = _outputs(module).requires_grad_()
        x = module(output).sample()[0]
        score = module(output).log_prob(x)
        assert score.requires_grad, "the score has no gradient"
        (gradient,) = torch.autograd.grad(score.sum(), output, allow_unused=True)
        assert gradient is not None, "the score does not depend on the output"
        assert gradient.any(), "the score has no gradient in the output"
        learns(module, partial(_score, module, x))


def _score(module: nn.Module, x: Tensor, seed: int) -> Tensor:
    score: Tensor = module(_outputs(module, seed=seed)).log_prob(x)
    return score


@register("likelihood")
def peaks_where_it_says(part: MakePart) -> None:
    """No score exceeds `log_peak`, where the part claims one other than 0."""
    for module in _likelihoods(part):
        if not module.log_peak:
            raise NotApplicable("it claims no largest score")
        p = module(_outputs(module))
        with torch.no_grad():
            highest = max(p.log_prob(x).max().item() for x in (p.mean, p.sample()))
        assert highest <= float(module.log_peak) + 1e-6, (
            f"a score is {highest:.4f}, above log_peak = {module.log_peak:.4f}"
        )
