"""Drawing from any distribution and scoring the draw in one pass.

Shapes: K importance samples, B batch, L latent size. Densities are in nats.
"""

from __future__ import annotations

import inspect
import sys
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, TransformedDistribution
from torch.distributions.utils import _sum_rightmost


class Draw(NamedTuple):
    """A sample and its own density, log q(z) = log q0(z0) − log|det ∂z/∂z0|."""

    z: Tensor  # (K, B, L)
    log_base: Tensor  # (K, B): log q0(z0)
    log_det: Tensor  # (K, B): log|det ∂z/∂z0|, zero where there is no flow
    z0: Tensor | None = None  # (K, B, L): the draw of a flow's base

    @property
    def log_prob(self) -> Tensor:
        """Return log q(z), shape (K, B)."""
        return self.log_base - self.log_det


class OwnDraw:
    """The density of a draw, for as long as the same tensor is asked for; it holds no draw."""

    def __init__(self, sample: Draw) -> None:
        self._z = weakref.ref(sample.z)
        self._version = _version(sample.z)
        self._log_prob = sample.log_prob
        self._with_gradients = torch.is_grad_enabled()

    def log_prob_of(self, value: Tensor) -> Tensor | None:
        """Return log q(z) if z is the draw, unchanged, and gradients that are wanted are there."""
        own = self._z() is value and _version(value) == self._version
        wanted = torch.is_grad_enabled() and not self._with_gradients
        return self._log_prob if own and not wanted else None

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return _no_draw, ()


def _no_draw() -> None:
    """Return what a copy of a distribution knows of the draws of the original."""


def _version(z: Tensor) -> int | None:
    return None if z.is_inference() else z._version


class OnePass(Distribution):
    """A distribution that scores z as it draws it: `draw` below asks it, and never its `log_prob`.

    A subclass defines `draw`. It may define `grad_log_prob` where its `log_prob` is missing or
    slow.

    `pyro.sample("z", q)` takes it as it is: where Pyro is imported, it counts as one of Pyro's own
    distributions, and has their methods. Nothing here imports Pyro.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Pyro may be imported at any time, and asks before it calls a method; compiled code does
        # not ask.
        if not torch.compiler.is_compiling() and (mixin := _pyro_mixin()) is not None:
            mixin.register(OnePass)

    def __call__(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:
        """Draw z, as Pyro asks a distribution for it: with gradients, where there are any."""
        z: Tensor = (self.rsample if self.has_rsample else self.sample)(Size(sample_shape))
        return z

    def __getattr__(self, name: str) -> Any:
        """Return what Pyro's distributions have beyond torch's, such as `mask` and `to_event`."""
        mixin = None if name.startswith("_") else _pyro_mixin()
        member = None if mixin is None else inspect.getattr_static(mixin, name, None)
        if member is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return member.__get__(self, type(self))

    def draw(self, sample_shape: Size | tuple[int, ...] = ()) -> Draw:
        """Draw z (K, B, L) and return it with its density."""
        raise NotImplementedError(f"{type(self).__name__} has no draw: define it")

    def grad_log_prob(self, sample: Draw) -> Tensor:
        """Return ∂ log q(z)/∂z (K, B, L) at a draw."""
        return _slope(self, sample.z)

    def __repr__(self) -> str:
        return brief(self)


def _pyro_mixin() -> Any:
    """Return what Pyro adds to torch's distributions, if Pyro was imported, else None."""
    module = sys.modules.get("pyro.distributions.torch_distribution")
    return getattr(module, "TorchDistributionMixin", None)


def brief(q: Distribution) -> str:
    """Return a distribution's name and shapes, such as "DiagonalNormal(batch (2,), event (3,))"."""
    return f"{type(q).__name__}(batch {tuple(q.batch_shape)}, event {tuple(q.event_shape)})"


_ESTIMATES = {
    "mean": "q.sample((1000,)).mean(0)",
    "variance": "q.sample((1000,)).var(0)",
    "entropy": "-vaeflow.distributions.draw(q, (1000,)).log_prob.mean(0)",
}


def no_formula(q: Distribution, what: str) -> NotImplementedError:
    """Return the error that tells how to estimate a mean, variance or entropy without a formula."""
    return NotImplementedError(
        f"the {what} of a {type(q).__name__} has no formula: estimate it from draws, such as "
        f"{_ESTIMATES[what]}"
    )


def draw(q: Distribution, sample_shape: Size | tuple[int, ...] = ()) -> Draw:
    """Draw z (K, B, L) from any distribution and score it in one forward pass.

    A `OnePass` does both at once, and so does a flow of zuko by its `rsample_and_log_prob`, whose
    log-determinant stays within log q0. A `TransformedDistribution` of torch or Pyro is walked
    forward. Any other distribution draws, then scores.
    """
    shape = Size(sample_shape)
    if isinstance(q, OnePass):
        return q.draw(shape)
    if hasattr(q, "rsample_and_log_prob"):
        z, log_prob = q.rsample_and_log_prob(shape)
        return Draw(z, log_prob, torch.zeros_like(log_prob))
    if isinstance(q, TransformedDistribution):
        return _walk(q, shape)
    z = q.rsample(shape)
    log_prob = q.log_prob(z)
    return Draw(z, log_prob, torch.zeros_like(log_prob))


def grad_log_prob(q: Distribution, sample: Draw) -> Tensor:
    """Return ∂ log q(z)/∂z at a draw of q, (K, B, L), as numbers: no gradient flows through it.

    Raises:
        NotImplementedError, KeyError: where q scores nothing but its own draws.
    """
    gradient = q.grad_log_prob(sample) if isinstance(q, OnePass) else _slope(q, sample.z)
    return gradient.detach()


def _slope(q: Distribution, z: Tensor) -> Tensor:
    """Return ∂ log q(z)/∂z by autograd."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        total = q.log_prob(z).sum()
        gradient = None
        if total.requires_grad:  # a uniform density does not change with z
            (gradient,) = torch.autograd.grad(total, z, allow_unused=True)
    return torch.zeros_like(z) if gradient is None else gradient


def _walk(q: TransformedDistribution, shape: Size) -> Draw:
    """Push a base sample through q's transforms, each transform and log-determinant once.

    Calling `q.log_prob(q.rsample())` would invert each transform; planar-like transforms have no
    inverse, and a cache of the last sample answers for that sample only.
    """
    # Event dimensions may grow or shrink along the chain; count them as torch's log_prob does.
    event_dim = len(q.event_shape)
    for t in reversed(q.transforms):
        event_dim += t.domain.event_dim - t.codomain.event_dim
    z = q.base_dist.rsample(shape)
    log_base = _sum_rightmost(q.base_dist.log_prob(z), event_dim - len(q.base_dist.event_shape))
    log_det = torch.zeros_like(log_base)
    for t in q.transforms:
        y = t(z)
        term = t.log_abs_det_jacobian(z, y)
        log_det = log_det + _sum_rightmost(term, event_dim - t.domain.event_dim)
        event_dim += t.codomain.event_dim - t.domain.event_dim
        z = y
    return Draw(z, log_base, log_det)
