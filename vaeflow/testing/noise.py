"""Noise given to a posterior in place of its own: z then is a function of it, with a Jacobian.

Shapes: K samples, B batch, L latent size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Size, Tensor
from torch.distributions import (
    Distribution,
    HalfCauchy,
    HalfNormal,
    Independent,
    TransformedDistribution,
    biject_to,
)
from torch.overrides import TorchFunctionMode

from vaeflow.distributions.draw import Draw, draw
from vaeflow.testing.registered import NotApplicable

_NORMAL = {torch.randn, torch.randn_like, torch.normal, torch.Tensor.normal_}
_UNIFORM = {
    torch.rand, torch.rand_like, torch.Tensor.uniform_, torch.Tensor.exponential_,
    torch.Tensor.cauchy_, torch.Tensor.log_normal_,
}  # fmt: skip
_OTHER = {
    torch.randint, torch.randint_like, torch.randperm, torch.bernoulli, torch.multinomial,
    torch.poisson, torch._standard_gamma, torch._sample_dirichlet, torch.Tensor.geometric_,
    torch.Tensor.bernoulli_, torch.Tensor.random_,
}  # fmt: skip
_CURE = (
    "draw one number for each latent dimension by torch.randn or torch.rand, or keep the law of "
    "the noise, a torch distribution with a log_prob, as `base` of the distribution"
)
# Farther out, Φ(ε) is so near to 1 that a float64 keeps too few digits of its distance.
UNIFORM_REACH = 4.5


class OtherNoise(NotImplementedError):
    """Raised where a part does not draw one number for each latent dimension."""


class GivenNoise(TorchFunctionMode):
    r"""Inside this context, torch's random draws are functions of `noise` ε (*, L), one each.

    Normal draws are ε, uniform ones Φ(ε), others the quantile function of their law at Φ(ε): if ε
    is standard normal, the draws have their own law. One draw of all the noise may have any shape.
    A part that draws in several calls, each (*, n), gets the next n latent dimensions in each.
    torch.normal, `normal_`, `uniform_` and the like shift and scale by their arguments, as the
    distributions of torch, Pyro and zuko need.

    Raises:
        OtherNoise: for a draw of another size or law, and at the end of the context if the noise
            was not used up.
    """

    def __init__(self, noise: Tensor) -> None:
        super().__init__()
        self.noise = noise
        self.used = 0  # latent dimensions handed out
        self.uniform = False  # whether some draw was not normal

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _OTHER:
            raise OtherNoise(f"the part draws by {func.__name__}: {_CURE}")
        if func not in _NORMAL and func not in _UNIFORM:
            return func(*args, **kwargs)
        wanted = func(*args, **kwargs)
        with torch.enable_grad():  # the Jacobian is needed even if the part draws without gradients
            noise = self._next(wanted.shape)
            if func in _UNIFORM:
                self.uniform = True
                drawn = _from_uniform(func, noise, args[1:], kwargs)
            else:
                drawn = _from_normal(func, noise, args, kwargs)
            drawn = drawn.to(wanted)
        return wanted.copy_(drawn) if func.__name__.endswith("_") else drawn

    def _next(self, shape: Size) -> Tensor:
        *lead, latent = self.noise.shape
        if not self.used and shape.numel() == self.noise.numel():
            self.used = latent
            return self.noise.reshape(shape)
        width = shape[-1] if list(shape[:-1]) == lead else 1 if list(shape) == lead else math.inf
        if self.used + width > latent:
            raise OtherNoise(
                f"the part draws {tuple(shape)} numbers where {(*lead, latent - self.used)} are "
                f"left: {_CURE}"
            )
        piece = self.noise[..., self.used : self.used + int(width)].reshape(shape)
        self.used += int(width)
        return piece

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        leave: Callable[..., object] = super().__exit__  # torch gives it no types
        leave(kind, error, trace)
        if error is None and self.used < self.noise.shape[-1]:
            raise OtherNoise(
                f"the part draws numbers for {self.used} of {self.noise.shape[-1]} latent "
                f"dimensions: {_CURE}"
            )


def arguments_of(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], **defaults: float
) -> tuple[Any, ...]:
    """Return the arguments of a draw in the order of `defaults`, given by position or by name."""
    named = [kwargs.get(name, value) for name, value in defaults.items()]
    return (*args, *named[len(args) :])[: len(named)]


def _from_normal(
    func: Callable[..., Any], noise: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor:
    if func is torch.normal:
        mean, std = arguments_of(args, kwargs, mean=0.0, std=1.0)
    elif func is torch.Tensor.normal_:
        mean, std = arguments_of(args[1:], kwargs, mean=0.0, std=1.0)
    else:
        return noise
    result: Tensor = mean + std * noise
    return result


def _from_uniform(
    func: Callable[..., Any], noise: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor:
    """Return the quantile at Φ(ε) of the law that `func` draws from."""
    u: Tensor = torch.special.ndtr(noise)
    low, high = 0.0, 1.0
    if func is torch.Tensor.uniform_:
        low, high = (float(x) for x in arguments_of(args, kwargs, **{"from": 0.0, "to": 1.0}))
    drawn = low + (high - low) * u
    if func is torch.Tensor.exponential_:
        (rate,) = arguments_of(args, kwargs, lambd=1.0)
        drawn = -torch.special.log_ndtr(-noise) / rate
    elif func is torch.Tensor.cauchy_:
        median, scale = arguments_of(args, kwargs, median=0.0, sigma=1.0)
        drawn = median + scale * torch.tan(math.pi * (u - 0.5))
    elif func is torch.Tensor.log_normal_:
        mean, std = arguments_of(args, kwargs, mean=1.0, std=2.0)
        drawn = (mean + std * noise).exp()
    result: Tensor = drawn
    return result


class Given(NamedTuple):
    """A draw of q at given noise ε (*, L), with the density of the noise there."""

    z: Tensor  # (*, L)
    log_prob: Tensor  # log q(z), (*)
    log_noise: Tensor  # (*): log N(ε; 0, I), or the log density over ε of the base of q


def given(q: Distribution, noise: Tensor) -> Given:
    """Draw from q with `noise` (*, B, L) in place of its own.

    Where q does not draw one number for each latent dimension, the draw of its base is replaced:
    by ε where the base has all of R^L as its support, else by ε mapped into the support.

    Raises:
        NotApplicable: if q has no base with a density.
    """
    shape = noise.shape[: -1 - len(q.batch_shape)]
    try:
        _refuse_halves(q)
        with GivenNoise(noise):
            sample = draw(q, shape)
    except OtherNoise as reason:
        base, z0, log_noise = _at_base(q, noise, reason)
        with _drawing(base, z0):
            sample = draw(q, shape)
        return Given(sample.z, sample.log_prob, log_noise)
    return Given(sample.z, sample.log_prob, log_normal(noise))


def noise_law(q: Distribution) -> Distribution | float:
    """Return how far out q's noise may be given: in standard deviations, or as its base's law."""
    noise = torch.full((*q.batch_shape, *q.event_shape), 0.3, dtype=torch.float64)
    try:
        _refuse_halves(q)
        with GivenNoise(noise) as mode, torch.no_grad():
            draw(q)
    except OtherNoise:
        return innermost(q)
    return UNIFORM_REACH if mode.uniform else math.inf


def innermost(q: Distribution) -> Distribution:
    """Return the law of the noise that a flow's maps move, or q itself if it has no maps."""
    while not isinstance(q, HalfNormal | HalfCauchy):  # whose noise is folded
        inner = q.base_dist if isinstance(q, TransformedDistribution) else getattr(q, "base", None)
        if not isinstance(inner, Distribution):
            return q
        q = inner
    return q


def _refuse_halves(q: Distribution) -> None:
    """Refuse laws that draw |ε|, of which each value has two noises."""
    base = innermost(q)
    while isinstance(base, Independent | TransformedDistribution):
        if isinstance(base, HalfNormal | HalfCauchy):
            break
        base = base.base_dist
    if isinstance(base, HalfNormal | HalfCauchy):
        raise OtherNoise(f"the part draws the absolute value of its noise: {_CURE}")


def _at_base(
    q: Distribution, noise: Tensor, reason: OtherNoise
) -> tuple[Distribution, Tensor, Tensor]:
    """Return the base of q, a z0 in its support for each ε, and the density over ε."""
    base = innermost(q)
    try:
        into = biject_to(base.support)
    except NotImplementedError:
        into = biject_to(torch.distributions.constraints.real_vector)
    z0 = into(noise)
    slope = into.log_abs_det_jacobian(noise, z0)
    try:
        log_prob = base.log_prob(z0)
    except (NotImplementedError, KeyError):
        raise NotApplicable(str(reason)) from None
    while slope.dim() > log_prob.dim():
        slope = slope.sum(-1)
    return base, z0, log_prob + slope


@contextmanager
def _drawing(base: Distribution, z0: Tensor) -> Iterator[None]:
    """Let a distribution draw z0, however it is asked."""
    log_prob = base.log_prob(z0)
    answers: dict[str, Any] = {
        "rsample": z0,
        "sample": z0.detach(),
        "draw": Draw(z0, log_prob, torch.zeros_like(log_prob), z0),
        "rsample_and_log_prob": (z0, log_prob),
    }
    found = [name for name in answers if hasattr(base, name)]
    for name in found:
        setattr(base, name, lambda *_, answer=answers[name], **__: answer)
    try:
        yield
    finally:
        for name in found:
            delattr(base, name)


def log_normal(eps: Tensor) -> Tensor:
    """Return log N(ε; 0, I), (*, L) to (*)."""
    return -0.5 * eps.square().sum(-1) - 0.5 * eps.shape[-1] * math.log(2 * math.pi)
