"""Checks of a likelihood: shapes, support and who depends on whom. K samples, B batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from vaeflow.distributions.observed import log_prob_of_observed
from vaeflow.errors import ConfigError
from vaeflow.parts.abstract import Likelihood, Shape
from vaeflow.testing.probes import (
    accepted,
    close,
    far_from_start,
    finite,
    keeps_to_itself,
    learns,
    normal,
    options_of,
)
from vaeflow.testing.registered import MakePart, NotApplicable, register

SHAPES: tuple[Shape, ...] = ((1, 4, 3), (5,))  # an image and a row of a table
ROWS: tuple[Shape, ...] = ((1,), (2,), (5,))
IMAGES: tuple[Shape, ...] = ((1, 4, 3), (2, 3, 4), (3, 4, 4))


def likelihoods(
    part: MakePart,
    *shapes: Shape,
    dtype: torch.dtype = torch.float64,
    scale: float | None = 0.5,
    seed: int = 0,
) -> Iterator[Any]:
    """Yield the part for each data shape that it takes, parameters far from the start by `scale`.

    With `scale` None they are where they start.

    Raises:
        NotApplicable: if it takes neither these shapes nor any other that is tried.
    """
    found = [(shape,) for shape in shapes or SHAPES]
    try:
        taken = accepted(part, found)
    except NotApplicable:
        accepted(part, [(shape,) for shape in ROWS + IMAGES])
        return
    for _, made in taken:
        module = made.to(dtype).eval()
        yield module if scale is None else far_from_start(module, scale, seed)


def outputs(
    module: Any,
    size: float = 1.0,
    *,
    lead: tuple[int, ...] = (2, 3),
    seed: int = 2,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Return outputs of a decoder (*lead, *output_shape), of which most are below `size`."""
    return size * normal(*lead, *module.output_shape, seed=seed, dtype=dtype)


@torch.no_grad()
def drawn(module: Any, output: Tensor) -> Tensor:
    """Return a draw of p(x|z) for each output."""
    x: Tensor = module(output).sample()
    return x


def adapts(part: MakePart) -> bool:
    """Tell whether a training step changes the part's running statistics by `observe`."""
    return getattr(options_of(part), "observe", None) is not Likelihood.observe


@register("likelihood")
def emits_the_shape_it_promises(part: MakePart) -> None:
    """From (K, B, *output_shape): batch (K, B), event data_shape; draws lie in the support."""
    for module in likelihoods(part, *SHAPES, (1,), (2, 3, 4)):
        for lead in ((2, 3), (1, 1), (3, 1), (1, 4)):
            p = module(outputs(module, lead=lead))
            x = p.sample()
            wanted = (*lead, *module.data_shape)
            for what, seen, shape in (
                ("the batch shape", p.batch_shape, lead),
                ("the event shape", p.event_shape, module.data_shape),
                ("the mean", p.mean.shape, wanted),
                ("a draw", x.shape, wanted),
                ("a draw of (2,)", p.sample((2,)).shape, (2, *wanted)),
                ("a draw of (2, 1)", p.sample((2, 1)).shape, (2, 1, *wanted)),
                ("a score of (K, B) draws", p.log_prob(x).shape, lead),
                ("a score of (B) images", p.log_prob(x[0]).shape, lead),
            ):
                assert tuple(seen) == tuple(shape), f"{what} is {tuple(seen)}, not {tuple(shape)}"
            assert module.support.check(x).all(), "a draw lies outside the support"


@register("likelihood")
def stays_finite_at_the_extremes(part: MakePart) -> None:
    """In float32, scores and their gradients are finite for extreme outputs and at the edges."""
    for module in likelihoods(part, dtype=torch.float32):
        x = [drawn(module, outputs(module, dtype=torch.float32))[0]]
        for side in ("lower", "upper"):
            edge = getattr(module.support, f"{side}_bound", None)
            if module.support is constraints.boolean:
                edge = float(side == "upper")
            if edge is not None:
                full = torch.full_like(x[0], float(edge))
                x += [full] if module.support.check(full).all() else []
        for size in (0.0, 1.0, 100.0, -100.0, 1e4, -1e4):
            output = outputs(module, size, dtype=torch.float32).requires_grad_()
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
    for module in likelihoods(part):
        support: Any = module.support
        outside = [math.nan]
        low, high = (getattr(support, f"{side}_bound", None) for side in ("lower", "upper"))
        if support is constraints.boolean:
            low, high = 0, 1
        outside += [] if low is None else [float(low) - 1.0]
        outside += [] if high is None else [float(high) + 1.0]
        step = getattr(support, "step", 1)
        outside += [float(low or 0.0) + 0.5 * step] if support.is_discrete else []
        x = drawn(module, outputs(module))[0, :1]
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
def scores_each_sample_and_image_by_itself(part: MakePart) -> None:
    """The score of sample k of image b depends on output (k, b) alone."""
    for module in likelihoods(part):
        output = outputs(module).requires_grad_()
        x = drawn(module, output)[0]
        score = module(output).log_prob(x)
        keeps_to_itself(score, output, "the score of a sample", 0)
        keeps_to_itself(score, output, "the score of an image", 1)
        close(module(output[1:, 2:]).log_prob(x[2:]), score[1:, 2:], "the score of one image alone")
    for module in likelihoods(part, (3,), (1, 3, 3)):  # equal sizes, which may be confused
        output = outputs(module, lead=(3, 3))
        x = drawn(module, output)[0]
        alone = [module(output[:, b : b + 1]).log_prob(x[b : b + 1]) for b in range(3)]
        close(module(output).log_prob(x), torch.cat(alone, 1), "the score of K = B = 3 images")


@register("likelihood")
def passes_gradients_to_everything(part: MakePart) -> None:
    """A score has a gradient in the decoder's output and in every parameter."""
    for module in likelihoods(part):
        output = outputs(module).requires_grad_()
        x = drawn(module, output)[0]
        score = module(output).log_prob(x)
        assert score.requires_grad, "the score has no gradient"
        (gradient,) = torch.autograd.grad(score.sum(), output, allow_unused=True)
        assert gradient is not None, "the score does not depend on the output"
        assert gradient.any(), "the score has no gradient in the output"
        learns(module, partial(_score, module, x))


@register("likelihood")
def scores_what_was_observed(part: MakePart) -> None:
    """Scores of some values and of the others add up, and gaps leave gradients finite.

    Where values depend on each other, the score of all and of none are known instead.
    """
    for module in likelihoods(part):
        output = outputs(module).requires_grad_()
        x = drawn(module, output)[0]
        some = normal(*x.shape, seed=6) > 0
        p = module(output)
        scores = []
        for observed in (some, ~some):
            try:
                score = log_prob_of_observed(p, x.where(observed, math.nan), observed)
            except ConfigError as error:
                raise NotApplicable(f"it takes no missing values: {error}") from error
            (gradient,) = torch.autograd.grad(score.sum(), output, retain_graph=True)
            finite(gradient, "the gradient of the score of some values")
            scores.append(score)
        if hasattr(p, "log_prob_of_observed"):
            everything = torch.ones_like(x, dtype=torch.bool)
            whole = log_prob_of_observed(p, x, everything)
            close(whole, p.log_prob(x), "the score of all values")
            none = log_prob_of_observed(p, x, ~everything)
            close(none, torch.zeros_like(none), "the score of no value")
            continue
        both = scores[0] + scores[1]
        close(both, p.log_prob(x), "the scores of some values and of the others, added up")


def _score(module: nn.Module, x: Tensor, seed: int) -> Tensor:
    score: Tensor = module(outputs(module, seed=seed)).log_prob(x)
    return score
