"""Checks that tie a likelihood's scores, draws and mean to each other. K samples, B batch."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.errors import ConfigError
from vaeflow.testing.conditionals import Conditionals, conditionals, marginals
from vaeflow.testing.draws import follow, follow_given_the_rest, have_noise_of_their_own
from vaeflow.testing.kinds.likelihoods import IMAGES, ROWS, adapts, likelihoods, outputs
from vaeflow.testing.lines import line_of, middle_of
from vaeflow.testing.masses import Mass, factorizes, log_mass, mass_of_product
from vaeflow.testing.peaks import highest
from vaeflow.testing.probes import close, normal
from vaeflow.testing.registered import MakePart, NotApplicable, register

_DRAWS, _FEWER = 2000, 800
_EXACT = 1e-6  # nats
_ROUGH = 0.01  # where narrow peaks may be missed
_LARGE = (1, 28, 28)
_FEW = 12  # values that depend on each other


class _One:
    """p(x|z) of one sample and image, with draws of it, as a law of examples in a row.

    Arguments:
        module: the likelihood.
        output: (1, 1, *output_shape).
        look: how many draws, which tell where p has its mass.
    """

    def __init__(self, module: Any, output: Tensor, look: int = 1000) -> None:
        self.p: Distribution = module(output)
        self.line = line_of(module.support, module.data_shape)
        self.draws = self.p.sample(torch.Size((look,))).reshape(look, -1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Score examples in a row, (n, D) to (n,)."""
        return self.p.log_prob(x.reshape(-1, 1, 1, *self.p.event_shape)).flatten()

    @cached_property
    def is_product(self) -> bool:
        """Tell whether the values are independent."""
        return factorizes(self.log_prob, self.draws, self.line)

    def law(self, *, fine: bool = False) -> Conditionals:
        """Return the laws of the values, where they are independent."""
        return marginals(self.log_prob, self.draws, self.line, fine=fine)


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
            one = _One(module, outputs(module, size, lead=(1, 1)))
            mass = log_mass(one.log_prob, one.draws, one.line, fine=tolerance == _ROUGH)
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
    one = _One(module, of_pixel.expand(1, 1, *module.output_shape), 200)
    if not factorizes(one.log_prob, one.draws[:20], one.line):
        return Mass(0.0)
    size = one.draws.shape[1]
    example = one.draws[:, 0].median().expand(2, size)
    two = torch.tensor([0, size // 2])
    law = conditionals(one.log_prob, example, two, one.line, one.draws)
    log_c = one.log_prob(example) - law.log_total
    if (log_c[0] - log_c[1]).abs() > 1e-8:
        return Mass(0.0)
    log = one.log_prob(example)[0] - size * log_c[0]
    return Mass(log.item(), size * law.error.max().item())


@register("likelihood", core=True)
@torch.no_grad()
def draws_follow_the_density(part: MakePart) -> None:
    """In evaluation and in training, the draws of each sample and image follow its own p(x|z)."""
    for shape, size, scale in (
        (IMAGES[1], 1.0, 0.5),
        ((3, 2, 2), 1.0, None),
        (ROWS[1], 3.0, 4.0),
    ):
        for module in likelihoods(part, shape, scale=scale):
            output = outputs(module, size)
            modes = (False,) if adapts(part) else (False, True)
            seen = [module.train(mode)(output).sample((_DRAWS,)).flatten(3) for mode in modes]
            module.eval()
            for k, b in ((0, 0), (0, 1), (1, 0), (1, 2)):
                one = _One(module, output[k : k + 1, b : b + 1])
                if (k or b) and (size > 1 or not one.is_product):  # each takes a second
                    continue
                for mode, x in zip(modes, seen, strict=True):
                    what = f"the draws of an image in {'training' if mode else 'evaluation'}"
                    _fit(one, x[:, k, b], what, size)
    for module in likelihoods(part, ROWS[2]):
        output = outputs(module, lead=(1, 1))
        x = module(output.expand(40, 50, *module.output_shape)).sample()
        _fit(_One(module, output), x.flatten(0, 1), "draws of many images, one of each,")
    for module in likelihoods(part, ROWS[0]):
        for size in (8.0, 25.0):
            for output in _every_sort_of_output(module, size):
                one = _One(module, output)
                # In other supports, the values at larger outputs may be too small for a float.
                if size < 10 or one.line.unbounded:
                    x = one.p.sample((4 * _DRAWS,)).flatten(1)
                    _fit(one, x, f"the draws for an output of size {size:g}", size)


def _fit(one: _One, x: Tensor, what: str, size: float = 1.0) -> None:
    """Raise AssertionError unless draws x (N, D) are of p(x|z) for an output of some size."""
    if not one.is_product:
        if x.shape[1] <= _FEW:
            follow_given_the_rest(x, one.log_prob, one.line, what)
        return
    law = one.law(fine=size > 1)
    missed = abs(mass_of_product(one.log_prob, one.draws, law).log) if size > 1 else 0.0
    if missed < 0.02:
        follow(x, law, one.line, what, missed)


@register("likelihood")
@torch.no_grad()
def draws_noise_for_every_value(part: MakePart) -> None:
    """Draws of other samples, images and values are independent; a seed repeats them."""
    for module in likelihoods(part, IMAGES[1], ROWS[2]):
        p = module(outputs(module))
        torch.manual_seed(7)
        x = [p.sample((_FEWER,)).flatten(3), p.sample((_FEWER,)).flatten(3)]
        torch.manual_seed(7)
        assert torch.equal(x[0], p.sample((_FEWER,)).flatten(3)), "a seed does not repeat the draws"
        numbers = torch.stack(x, 1)  # (N, calls, K, B, D)
        group = torch.arange(numbers[0].numel()).view(numbers[0].shape)
        if not _One(module, outputs(module, lead=(1, 1)), 100).is_product:
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
    """Where the values are independent, `mean` is ∫ x p(x|z) dx, at large outputs, too."""
    cases = [
        (module, outputs(module, size, lead=(1, 1)), size)
        for size in (0.0, 1.0, 3.0)
        for module in likelihoods(part)
    ]
    cases += [
        (module, output, 12.0)
        for module in likelihoods(part, ROWS[0])
        for output in _every_sort_of_output(module, 12.0)
        if module.support.is_discrete  # added up exactly
    ]
    for module, output, size in cases:
        one = _One(module, output)
        if not one.is_product:
            raise NotApplicable("the values of an example are not independent given z")
        _has_mean(one, size)


def _has_mean(one: _One, size: float) -> None:
    """Raise AssertionError unless the mean is that of the density, for an output of some size."""
    law, told, x = one.law(fine=size > 1), one.p.mean.flatten(), one.draws
    if one.line.step is None:
        spread = (x - middle_of(x)).abs().mean(0)
        spread = torch.where(spread > 0, spread, law.mean.abs())
        allowed = (1e-4 if size <= 1 else 1e-2) * spread  # of narrow peaks, some may be missed
    else:
        allowed = 1e-6 * (one.line.step + law.mean.abs())
    off = (told - law.mean).abs() - allowed - law.mean_error - 1e-9 * told.abs()
    worst = int(off.nan_to_num(nan=-math.inf).argmax())
    assert not off[worst] > 0, (
        f"the mean of a value is told as {told[worst].item():.6g}, that of its density is "
        f"{law.mean[worst].item():.6g}"
    )


@register("likelihood")
@torch.no_grad()
def finds_the_output_of_a_mean(part: MakePart) -> None:
    """`output_at(mean)` is an output of that mean, or raises ConfigError."""
    for module in likelihoods(part, ROWS[2]):
        mean = module(outputs(module, lead=(1, 1))).mean[0, 0]
        try:
            output = module.output_at(mean)
        except ConfigError as error:
            raise NotApplicable(str(error)) from error
        assert output.shape == module.output_shape, (
            f"output_at returns {tuple(output.shape)}, not {tuple(module.output_shape)}"
        )
        close(module(output[None, None]).mean[0, 0], mean, "the mean of output_at(mean)", 1e-2)


@register("likelihood")
@torch.no_grad()
def peaks_where_it_says(part: MakePart) -> None:
    """`log_peak`, where it is not 0, is the largest score: none exceeds it, one reaches it."""
    for module in likelihoods(part):
        told = float(module.log_peak)
        if not told:
            raise NotApplicable("it claims no largest score")
        best = -math.inf
        for output in _every_sort_of_output(module, 1e3):
            one = _One(module, output, 200)
            x = torch.cat([one.draws, one.p.mean.reshape(1, -1)])
            best = max(best, highest(one.log_prob, x, one.line))
        assert best <= told + 1e-6 * (1 + abs(told)), (
            f"a score is {best:.4f}, above log_peak = {told:.4f}"
        )
        assert told - best <= 1e-3 * x.shape[1], (
            f"no score comes near log_peak = {told:.4f}: the highest found is {best:.4f}"
        )


def _every_sort_of_output(module: Any, extreme: float) -> list[Tensor]:
    """Return outputs (1, 1, *output_shape), random ones and extremes of some groups of channels."""
    found = [outputs(module, size, lead=(1, 1)) for size in (0.0, 1.0, 30.0)]
    extra = module.output_shape[: len(module.output_shape) - len(module.data_shape)]
    if module.output_shape != (*extra, *module.data_shape):
        return found
    channels = math.prod(extra)
    groups = min(3, channels)
    ends = torch.tensor([0.0, -extreme, extreme], dtype=torch.float64)
    for levels in torch.cartesian_prod(*[ends] * groups).reshape(-1, groups):
        pixel = levels[torch.arange(channels) * groups // channels]
        pixel = pixel.reshape(1, 1, *extra, *[1] * len(module.data_shape))
        found.append(pixel.expand(1, 1, *module.output_shape))
    return found
