"""Checks of a likelihood's arithmetic: gradients, precision, calls. K samples, B batch."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vaeflow.testing.calls import layouts, same_in_every_call, same_without_gradients
from vaeflow.testing.kinds.likelihoods import adapts, drawn, likelihoods, outputs
from vaeflow.testing.lines import bounds_of
from vaeflow.testing.probes import close, reloaded
from vaeflow.testing.registered import MakePart, NotApplicable, register
from vaeflow.testing.slopes import gradients_are_slopes

_BATCH, _SAMPLES, _CHUNK = 257, 50, 60
_MANY = 1e5  # the largest value whose score has digits enough for a slope


def _score(module: Any, output: Tensor, x: Tensor) -> Tensor:
    score: Tensor = module(output).log_prob(x)
    return score


@register("likelihood", core=True)
def gradients_match_slopes(part: MakePart) -> None:
    """The gradients of a score in output, parameters and continuous x are its slopes."""
    for module in likelihoods(part):
        parameters = [p for p in module.parameters() if p.requires_grad]
        for size in (0.0, 0.1, 1.0, 5.0, 30.0):
            output = outputs(module, size).requires_grad_()
            at = f"at outputs of size {size:g}"
            # What is likely here, what is likely elsewhere, and what may have a kink.
            data = [drawn(module, output), drawn(module, outputs(module, seed=5))]
            mean = module(output).mean.detach()
            data += [] if module.support.is_discrete else [mean]
            for x in data:
                if not x.abs().max() <= _MANY:  # the digits of a score of more would be lost
                    continue
                score = partial(_score, module, output, x)
                for seed in range(3 if size else 6):
                    gradients_are_slopes(
                        score, [output], f"in the output {at}", seed=seed, each=2, alone=not size
                    )
                if parameters and size <= 1:
                    gradients_are_slopes(score, parameters, f"in the parameters {at}")
                if not module.support.is_discrete:
                    _in_data(module, output, x, at)


def _in_data(module: Any, output: Tensor, x: Tensor, at: str) -> None:
    """Check the gradient in data that may lie near the bounds of the support."""
    low, high = bounds_of(module.support)
    if ((x <= low) | (x >= high)).any():  # such as the zeros of a zero-inflated density
        return
    # Closer to a bound other than 0, floats are too coarse.
    x = x.clamp(
        low + 1e-4 * abs(low) if low > -math.inf else low,
        high - 1e-4 * abs(high) if high < math.inf else high,
    )
    room = torch.minimum(x - low, high - x)
    reach = (0.1 * room / 1e-6).clamp(max=1.0)
    x = x.clone().requires_grad_()
    if _score(module, output, x).requires_grad:
        gradients_are_slopes(
            partial(_score, module, output.detach(), x),
            [x],
            f"in the data {at}",
            each=2,
            reach=reach,
        )


@register("likelihood")
@torch.no_grad()
def is_continuous_up_to_the_edges(part: MakePart) -> None:
    """Where p(x|z) has a limit at a bound of the support or at 0, the score there is the limit."""
    for module in likelihoods(part):
        if module.support.is_discrete:
            raise NotApplicable("its values are discrete")
        p = module(outputs(module))
        x = p.sample()
        for edge in {*bounds_of(module.support), 0.0}:
            full = torch.full_like(x, edge)
            if not math.isfinite(edge) or not module.support.check(full).all():
                continue
            if (p.sample((200,)) == edge).float().mean() > 0.02:  # it has a probability of its own
                continue
            for side in (1.0, -1.0):
                near, nearer = (full + side * gap for gap in (1e-6, 1e-8))
                if not (module.support.check(near) & module.support.check(nearer)).all():
                    continue
                scores = [p.log_prob(value) for value in (near, nearer, full)]
                settled = (scores[0] - scores[1]).abs() < 1e-3
                jump = (scores[2] - scores[1]).abs() * settled
                assert not jump.max() > 2e-3, (
                    f"where all values are {edge:g}, log p(x|z) jumps by {jump.max().item():.3g}"
                )


@register("likelihood")
@torch.no_grad()
def agrees_in_float32(part: MakePart) -> None:
    """In float32, the scores are those of float64, to 10⁻³ of them, for likely x and unlikely x."""
    for single in likelihoods(part, dtype=torch.float32):
        double = copy.deepcopy(single).double()
        for size in (0.0, 1.0, 10.0, 30.0):
            output = outputs(single, size, dtype=torch.float32)
            for other in (size, 1.0):
                elsewhere = outputs(single, other, seed=5, dtype=torch.float32)
                for x in (drawn(single, output), drawn(single, elsewhere)):
                    if not (single.support.check(x).all() and x.abs().max() <= _MANY / 100):
                        continue
                    seen, wanted = (
                        _score(single, output, x),
                        _score(double, output.double(), x.double()),
                    )
                    assert seen.dtype == torch.float32, f"from float32, a score is {seen.dtype}"
                    finite = seen.isfinite() & wanted.isfinite()
                    gap = (seen - wanted).abs() / (1 + wanted.abs())
                    off = gap.where(finite, 0.0).max().item()
                    assert off <= 1e-3, (
                        f"in float32, a score at outputs of size {size:g} is off by {off:.2g} of it"
                    )


@register("likelihood")
def is_the_same_in_training(part: MakePart) -> None:
    """In training as in evaluation, an output has the same score, gradient and mean."""
    for scale in (None, 0.5):
        for module in likelihoods(part, scale=scale):
            output = outputs(module).requires_grad_()
            x = drawn(module, output)[0]
            before = {name: value.clone() for name, value in module.state_dict().items()}
            told = []
            for mode in (False, True, False):
                score = _score(module.train(mode), output, x)
                (gradient,) = torch.autograd.grad(score.sum(), output)
                told.append((score, gradient, module(output).mean))
                drawn(module, output)
            for name, value in module.state_dict().items():
                assert torch.equal(value, before[name]), f"a score in training changes {name}"
            for when, i in (("in training", 1), ("after training", 2)):
                for name, seen, wanted in zip(
                    ("the score", "its gradient", "the mean"), told[i], told[0], strict=True
                ):
                    if i == 2 or not adapts(part):
                        close(seen, wanted, f"{when}, {name}")


@register("likelihood")
def is_the_same_however_it_is_called(part: MakePart) -> None:
    """Scores depend neither on batch and K, nor on gradients, memory layout or earlier calls."""
    for module in likelihoods(part):
        output = outputs(module).requires_grad_()
        x = drawn(module, output)[0]
        score = partial(_score, module, output, x)
        same_without_gradients(score, "the score")
        wanted = score()
        for where, moved in layouts(output).items():
            close(_score(module, moved, x), wanted, f"with outputs {where}, the score")
        for where, moved in layouts(x).items():
            close(_score(module, output, moved), wanted, f"with data {where}, the score")
        one = x[:1].expand_as(x)
        close(
            _score(module, output, one),
            _score(module, output, one.clone()),
            "of equal images, the score",
        )
        _in_parts(module)
    for module in likelihoods(part, (2,)):
        output = outputs(module, lead=(1, 1))
        x = drawn(module, output)[0]
        same_in_every_call(partial(_score, module, output, x), "the score")


@torch.no_grad()
def _in_parts(module: Any) -> None:
    """Compare the scores of many images and samples with those of fewer at a time."""
    for lead, dim in (((1, _BATCH), 1), ((_SAMPLES, 2), 0), ((1, 128), 1)):
        output = outputs(module, lead=lead)
        x = drawn(module, output)
        whole = _score(module, output, x)
        size = _CHUNK if dim else 7
        parts = [
            _score(module, o, values)
            for o, values in zip(output.split(size, dim), x.split(size, dim), strict=True)
        ]
        close(whole, torch.cat(parts, dim), f"the score of {max(lead)} at once")
        images = x[0]
        parts = [
            _score(module, o, images[start:][:size] if dim else images)
            for start, o in zip(range(0, max(lead), size), output.split(size, dim), strict=True)
        ]
        close(
            _score(module, output, images),
            torch.cat(parts, dim),
            f"the score of {max(lead)} at once",
        )


@register("likelihood")
@torch.no_grad()
def survives_saving_and_loading(part: MakePart) -> None:
    """A new part with the state from a safetensors file gives the same scores and means."""
    for module in likelihoods(part):
        output = outputs(module)
        x = drawn(module, output)[0]
        if adapts(part):
            module.train()
            module.observe(module(output), x)
            module.eval()
        torch.manual_seed(1)
        (again,) = likelihoods(part, module.data_shape, scale=None)
        again = reloaded(module, again)
        close(_score(again, output, x), _score(module, output, x), "the score after loading", 1e-14)
        close(again(output).mean, module(output).mean, "the mean after loading", 1e-14)
