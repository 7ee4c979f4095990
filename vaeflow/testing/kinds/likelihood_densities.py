"""Checks that tie a likelihood's scores, draws and mean to each other. K samples, B batch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.testing.conditionals import LogProb, conditionals, marginals
from vaeflow.testing.draws import follow, follow_given_the_rest, have_noise_of_their_own
from vaeflow.testing.kinds.likelihoods import IMAGES, ROWS, adapts, likelihoods, outputs
from vaeflow.testing.lines import line_of
from vaeflow.testing.masses import Mass, factorizes, log_mass
from vaeflow.testing.peaks import highest
from vaeflow.testing.probes import normal
from vaeflow.testing.registered import MakePart, NotApplicable, register

_LOOK = 1000  # draws that tell where a density has its mass
_DRAWS = 2000
_EXACT = 1e-6  # nats
_ROUGH = 0.01  # where narrow peaks may be missed
_LARGE = (1, 28, 28)


def _flat(p: Distribution) -> LogProb:
    """Return log p(x|z) of examples in a row, (n, D) to (n,), for p of one sample and image."""
    shape = (1, 1, *p.event_shape)
    return lambda x: p.log_prob(x.reshape(-1, *shape)).flatten()


def _drawn(p: Distribution, count: int) -> Tensor:
    """Draw examples in a row, (N, D), where p is of one sample and image."""
    return p.sample(torch.Size((count,))).reshape(count, -1)


@register("likelihood", core=True)
@torch.no_grad()
def is_normalized(part: MakePart) -> None:
    """p(x|z) sums or integrates to 1 over all data, of 1 to 48 values, and of 784 equal ones."""
    # Usual outputs; zeros; parameters where they start; large outputs and parameters.
    for shapes, size, scale, tolerance in (
        (ROWS + IMAGES, 1.0, 0.5, _EXACT),
        (ROWS + IMAGES[:1], 0.0, 0.5, _EXACT),
        (ROWS, 1.0, None, _EXACT),
        (ROWS, 3.0, 4.0, _ROUGH),
    ):
        for module in likelihoods(part, *shapes, scale=scale):
            p = module(outputs(module, size, lead=(1, 1)))
            line = line_of(module.support, module.data_shape)
            mass = log_mass(_flat(p), _drawn(p, _LOOK), line, fine=tolerance == _ROUGH)
            _is_one(mass, tolerance, module.data_shape)
    for module in likelihoods(part, _LARGE, scale=None):
        _is_one(_mass_of_equal_values(module), _EXACT, module.data_shape)


def _is_one(mass: Mass, tolerance: float, shape: tuple[int, ...]) -> None:
    bound = tolerance * (1 + 0.1 * math.prod(shape)) + mass.slack
    assert abs(mass.log) <= bound, (
        f"p(x|z) of data of shape {shape} adds up to {math.exp(mass.log):.7g}, not 1 ± {bound:.1g}"
    )


def _mass_of_equal_values(module: Any) -> Mass:
    """Return the mass for an output of equal pixels, from the law of two of them.

    It is log p(x) − D log c(v) for an example of equal values v, if all values have one law.
    """
    extra = len(module.output_shape) - len(module.data_shape)
    if module.output_shape[max(extra, 0) :] != module.data_shape:
        return Mass(0.0)
    of_pixel = normal(1, 1, *module.output_shape[:extra], *[1] * len(module.data_shape))
    p = module(of_pixel.expand(1, 1, *module.output_shape))
    log_prob, x = _flat(p), _drawn(p, 200)
    size = x.shape[1]
    line = line_of(module.support, module.data_shape)
    if not factorizes(log_prob, x[:20], line):
        return Mass(0.0)
    example = x[:, 0].median().expand(2, size)
    law = conditionals(log_prob, example, torch.tensor([0, size // 2]), line, x)
    log_c = log_prob(example) - law.log_total
    if (log_c[0] - log_c[1]).abs() > 1e-8:
        return Mass(0.0)
    return Mass((log_prob(example)[0] - size * log_c[0]).item(), size * law.error.max().item())


@register("likelihood", core=True)
@torch.no_grad()
def draws_follow_the_density(part: MakePart) -> None:
    """In evaluation and in training, the draws of each sample and image follow its own p(x|z)."""
    for shape, size, scale in (
        (IMAGES[1], 1.0, 0.5),
        (ROWS[2], 1.0, None),
        (ROWS[1], 3.0, 4.0),
        (ROWS[2], 20.0, 0.5),
    ):
        for module in likelihoods(part, shape, scale=scale):
            output = outputs(module, size)
            line = line_of(module.support, module.data_shape)
            if size > 3 and not line.unbounded:  # all but one of the values may be improbable
                continue
            modes = (False,) if adapts(part) else (False, True)
            seen = [module.train(mode)(output).sample((_DRAWS,)).flatten(3) for mode in modes]
            module.eval()
            for k, b in ((0, 0), (0, 1), (1, 0), (1, 2)):
                p = module(output[k : k + 1, b : b + 1])
                log_prob, look = _flat(p), _drawn(p, _LOOK)
                product = factorizes(log_prob, look, line)
                law = marginals(log_prob, look, line, fine=size > 1) if product else None
                for mode, x in zip(modes, seen, strict=True):
                    what = f"the draws of an image in {'training' if mode else 'evaluation'}"
                    if law is not None:
                        follow(x[:, k, b], law, line, what)
                    elif k == b:
                        follow_given_the_rest(x[:, k, b], log_prob, line, what)


@register("likelihood")
@torch.no_grad()
def draws_noise_for_every_value(part: MakePart) -> None:
    """Draws of other samples, images and values are independent; a seed repeats them."""
    for module in likelihoods(part):
        p = module(outputs(module))
        torch.manual_seed(7)
        x = [p.sample((_DRAWS,)).flatten(3), p.sample((_DRAWS,)).flatten(3)]
        torch.manual_seed(7)
        assert torch.equal(x[0], p.sample((_DRAWS,)).flatten(3)), "a seed does not repeat the draws"
        numbers = torch.stack(x, 1)  # (N, calls, K, B, D)
        one = module(outputs(module, lead=(1, 1)))
        line = line_of(module.support, module.data_shape)
        product = factorizes(_flat(one), _drawn(one, 100), line)
        group = torch.arange(numbers[0].numel()).view(numbers[0].shape)
        if not product:
            group = group[..., :1].expand_as(group)
        have_noise_of_their_own(numbers.flatten(1), group.flatten(), "the values of draws")


@register("likelihood")
@torch.no_grad()
def draws_match_the_mean(part: MakePart) -> None:
    """The mean of many draws is `mean`, within five standard errors."""
    n = 4000
    for module in likelihoods(part):
        p = module(outputs(module))
        x = p.sample((n,))
        error = (x.var(0) + 1 / n).sqrt() / math.sqrt(n)
        off = (x.mean(0) - p.mean).abs() / error
        assert off.max() <= 5.5, (
            f"the mean of {n} draws is {off.max().item():.0f} standard errors from `mean`"
        )


@register("likelihood")
@torch.no_grad()
def mean_is_that_of_the_density(part: MakePart) -> None:
    """Where the values are independent, `mean` is ∫ x p(x|z) dx, to 10⁻⁴ of their spread."""
    for size in (0.0, 1.0, 3.0):
        for module in likelihoods(part):
            p = module(outputs(module, size, lead=(1, 1)))
            log_prob, x = _flat(p), _drawn(p, _LOOK)
            line = line_of(module.support, module.data_shape)
            if not factorizes(log_prob, x, line):
                raise NotApplicable("the values of an example are not independent given z")
            law = marginals(log_prob, x, line, fine=size > 1)
            told = p.mean.flatten()
            spread = (x - x.median(0).values).abs().mean(0)
            spread = torch.where(spread > 0, spread, law.mean.abs())
            if line.step is not None:
                spread = torch.full_like(spread, line.step)
            allowed = (1e-4 if size <= 1 else 1e-2) * spread + 1e-9 * told.abs() + law.mean_error
            off = (told - law.mean).abs() - allowed
            worst = int(off.nan_to_num(nan=-math.inf).argmax())
            assert not off[worst] > 0, (
                f"the mean of a value is told as {told[worst].item():.6g}, that of its density "
                f"is {law.mean[worst].item():.6g}"
            )


@register("likelihood")
@torch.no_grad()
def peaks_where_it_says(part: MakePart) -> None:
    """`log_peak`, where it is not 0, is the largest score: none exceeds it, one reaches it."""
    for module in likelihoods(part):
        told = float(module.log_peak)
        if not told:
            raise NotApplicable("it claims no largest score")
        line = line_of(module.support, module.data_shape)
        best = -math.inf
        for output in _every_sort_of_output(module):
            p = module(output)
            x = torch.cat([_drawn(p, 200), p.mean.reshape(1, -1)])
            best = max(best, highest(_flat(p), x, line))
        assert best <= told + 1e-6 * (1 + abs(told)), (
            f"a score is {best:.4f}, above log_peak = {told:.4f}"
        )
        assert told - best <= 1e-3 * x.shape[1], (
            f"no score comes near log_peak = {told:.4f}: the highest found is {best:.4f}"
        )


def _every_sort_of_output(module: Any) -> list[Tensor]:
    """Return outputs (1, 1, *output_shape), random ones and the extremes of each channel."""
    found = [outputs(module, size, lead=(1, 1)) for size in (0.0, 1.0, 30.0)]
    extra = module.output_shape[: len(module.output_shape) - len(module.data_shape)]
    signs = torch.cartesian_prod(
        *[torch.tensor([0.0, -1e3, 1e3]).double()] * min(4, math.prod(extra))
    )
    for row in signs.reshape(len(signs), -1):
        channels = row.repeat(-(-math.prod(extra) // len(row)))[: math.prod(extra)]
        pixel = channels.reshape(1, 1, *extra, *[1] * len(module.data_shape))
        found.append(pixel.expand(1, 1, *module.output_shape))
    return found
