"""Whether gradients are the slopes of the values, and whether the values jump."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vaeflow.testing.probes import normal

_STEP = 1e-6
_CLOSE = 1e-3  # of a gradient to the slope, relatively
_ROUNDING = 1e-14  # of a value, relatively
_JUMP = 1e-7  # nats, or whatever the values are


def gradients_are_slopes(
    value: Callable[[], Tensor],
    of: Sequence[Tensor],
    what: str,
    *,
    seed: int = 0,
    each: int = 0,
    alone: bool = False,
    reach: Tensor | float = 1.0,
    tolerance: float = 0.0,
) -> None:
    """Raise AssertionError unless the gradient of a value is its slope along a random direction.

    Where a value has a kink, a gradient between the slopes on its sides will do. A value that jumps
    at the point itself is an error, too.

    Arguments:
        value: a function of the tensors `of`, which are moved in place for a moment.
        of: tensors of float64 that require gradients.
        what: the gradient, in words.
        seed: of the direction.
        each: the value is (*b, …) and the tensors are (*b, …), with so many dimensions *b in
            common; each row has a gradient in its own row alone, and is compared by itself.
        alone: move one number of each row alone, for points where several may have kinks.
        reach: the size of the direction, where the values hold but near the point.
        tolerance: the relative error of the values, where it is more than rounding.
    """
    centre = value()
    gradients: Sequence[Tensor | None] = [None] * len(of)
    if centre.requires_grad:  # a constant does not
        gradients = torch.autograd.grad(centre.sum(), of, allow_unused=True)
    directions = [reach * normal(*x.shape, seed=seed + i) for i, x in enumerate(of)]
    if alone:
        directions = [_one_of_each(way, each, seed) for way in directions]
    slope = size = _rows(torch.zeros_like(centre), each)
    for gradient, direction in zip(gradients, directions, strict=True):
        if gradient is not None:
            slope = slope + _rows(gradient * direction, each)
            size = size + _rows((gradient * direction).abs(), each)
    values = {0.0: _rows(centre.detach(), each)}
    for step in (-_STEP, -_STEP / 2, _STEP / 2, _STEP):
        values[step] = _rows(_moved(value, of, directions, step), each)
    _compare(values, slope.detach(), max(_CLOSE, 10 * tolerance) * size.detach(), what)


def _one_of_each(way: Tensor, each: int, seed: int) -> Tensor:
    """Return a direction of which one number in each row is left."""
    rows = way.flatten(each) if way.dim() > each else way[..., None]
    kept = torch.arange(rows.shape[-1]) == (7 * seed + 3) % rows.shape[-1]
    return (rows * kept).reshape(way.shape)


@torch.no_grad()
def _moved(
    value: Callable[[], Tensor], of: Sequence[Tensor], directions: Sequence[Tensor], step: float
) -> Tensor:
    """Return the value with the tensors moved along directions."""
    old = [x.detach().clone() for x in of]
    try:
        for x, direction in zip(of, directions, strict=True):
            x += step * direction
        return value().detach()
    finally:
        for x, before in zip(of, old, strict=True):
            x.copy_(before)


def _rows(x: Tensor, each: int) -> Tensor:
    """Sum over all dimensions but the first `each`."""
    return x.flatten(each).sum(-1) if x.dim() > each else x


def _compare(values: dict[float, Tensor], slope: Tensor, near: Tensor, what: str) -> None:
    centre = values[0.0]
    known = torch.stack([v.isfinite() for v in values.values()]).all(0)
    assert not (known & ~slope.isfinite()).any(), f"the gradient {what} is not finite"
    (left, left_half), (right, right_half) = (
        [(values[side * h] - centre) / (side * h) for h in (_STEP, _STEP / 2)] for side in (-1, 1)
    )
    jumps = [
        (centre - (values[-h] + values[h]) / 2).abs() for h in (_STEP, _STEP / 2)
    ]  # a curve's is a quarter of it at half the step, a kink's half of it
    rounding = _ROUNDING * (1 + centre.abs())
    jumping = known & (jumps[1] > 0.75 * jumps[0]) & (jumps[1] > _JUMP * (1 + centre.abs()))
    assert not jumping.any(), (
        f"the value jumps by {jumps[1][jumping].max().item():.3g} at the very point where the "
        f"gradient {what} is taken"
    )
    low, high = torch.minimum(left, right), torch.maximum(left, right)
    # Slopes over a whole and a half step differ by the curvature and by rounding.
    near = near + (left - left_half).abs() + (right - right_half).abs() + 10 * rounding / _STEP
    off = known & ~((slope >= low - near) & (slope <= high + near))
    if off.any():
        i = int(off.flatten().nonzero()[0])
        seen, wanted = slope.flatten()[i].item(), ((left + right) / 2).flatten()[i].item()
        raise AssertionError(
            f"the gradient {what} is {seen:.6g} along a direction, but the slope is {wanted:.6g}"
        )
