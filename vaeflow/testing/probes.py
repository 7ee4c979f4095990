"""The instruments that the checks share: given noise, parameters far from the start, tolerances."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.overrides import TorchFunctionMode

from vaeflow.distributions.draw import Draw, draw
from vaeflow.errors import ConfigError
from vaeflow.testing.registered import MakePart, NotApplicable

_NORMAL = {torch.randn, torch.randn_like, torch.normal, torch.Tensor.normal_}
_OTHER = {
    torch.rand, torch.rand_like, torch.randint, torch.randint_like, torch.randperm,
    torch.bernoulli, torch.multinomial, torch.poisson, torch._standard_gamma,
    torch._sample_dirichlet, torch.Tensor.uniform_, torch.Tensor.exponential_,
    torch.Tensor.cauchy_, torch.Tensor.log_normal_, torch.Tensor.geometric_,
    torch.Tensor.bernoulli_, torch.Tensor.random_,
}  # fmt: skip
_CURE = "draw one standard normal for each latent dimension, or exempt the part with a reason"


class GivenNoise(TorchFunctionMode):
    """Inside this context, torch's standard normal draws return `noise` (*, L).

    One draw of all the noise may have any shape. A part that draws in several calls, each (*, n),
    gets the next n latent dimensions in each. torch.normal and `normal_` shift and scale the noise
    by their arguments, as the distributions of torch, Pyro and zuko need.

    Raises:
        NotImplementedError: for a draw of another size or distribution, and at the end of the
            context if the noise was not used up.
    """

    def __init__(self, noise: Tensor) -> None:
        super().__init__()
        self.noise = noise
        self.used = 0  # latent dimensions handed out

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _OTHER:
            raise NotImplementedError(f"the part draws by {func.__name__}: {_CURE}")
        wanted = func(*args, **kwargs)
        if func not in _NORMAL:
            return wanted
        with torch.enable_grad():  # the Jacobian is needed even if the part draws without gradients
            noise = self._next(wanted.shape).to(wanted)
        if func is torch.normal:
            mean, std = (*args, *(kwargs[k] for k in ("mean", "std") if k in kwargs))[:2]
            return mean + std * noise
        if func is torch.Tensor.normal_:
            mean, std = (kwargs.get(k, d) for k, d in (("mean", 0.0), ("std", 1.0)))
            mean, std = (*args[1:], *(mean, std)[len(args) - 1 :])[:2]
            return wanted.copy_(mean + std * noise)
        return noise

    def _next(self, shape: torch.Size) -> Tensor:
        *lead, latent = self.noise.shape
        if not self.used and shape.numel() == self.noise.numel():
            self.used = latent
            return self.noise.reshape(shape)
        width = shape[-1] if list(shape[:-1]) == lead else 1 if list(shape) == lead else math.inf
        if self.used + width > latent:
            raise NotImplementedError(
                f"the part draws {tuple(shape)} normals where {(*lead, latent - self.used)} are "
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
            raise NotImplementedError(
                f"the part draws normals for {self.used} of {self.noise.shape[-1]} latent "
                f"dimensions: {_CURE}"
            )


def given(q: Distribution, noise: Tensor) -> Draw:
    """Draw from q with `noise` (*, B, L) in place of its own."""
    with GivenNoise(noise):
        return draw(q, noise.shape[: -1 - len(q.batch_shape)])


def normal(*shape: int, seed: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw standard normals from a generator of their own."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def log_normal(eps: Tensor) -> Tensor:
    """Return log N(ε; 0, I), (*, L) to (*)."""
    return -0.5 * eps.square().sum(-1) - 0.5 * eps.shape[-1] * math.log(2 * math.pi)


def integrals(q: Distribution, r: Distribution, side: int, repeats: int, reach: float) -> Tensor:
    """Sum r(z(ε)) |det ∂z/∂ε| over the cells of a square of ε, a random point in each.

    The square is ±reach wide; ε = sinh t of uniform cells of t, dense where the noise is.
    """
    half = math.asinh(reach)
    width = 2 * half / side
    corners = torch.arange(side, dtype=torch.float64) * width - half
    corner = torch.cartesian_prod(corners, corners)[:, None, :]
    totals = []
    for seed in range(repeats):
        t = corner + width * torch.special.ndtr(normal(*corner.shape, seed=seed + 30))
        parts = []
        for some in t.split(20_000):
            eps, log_slope = some.sinh(), some.cosh().log().sum(-1)
            sample = given(q, eps)
            log_r = r.log_prob(sample.z) + log_normal(eps) - sample.log_prob
            parts.append((log_r + log_slope).exp().sum())
        totals.append(torch.stack(parts).sum() * width**2)
    return torch.stack(totals)


def far_from_start(module: nn.Module, scale: float = 2.0, seed: int = 0) -> nn.Module:
    """Redraw every parameter: a log-determinant can be right near the start alone.

    A weight matrix is drawn from N(0, scale²/n_in), so that its output is `scale` times as large as
    its input; any other parameter is drawn from N(0, scale²/4).
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            if not p.requires_grad:  # fixed by the part, such as a rotation
                continue
            # The kernel of a convolution sums over all axes but the first.
            n_in = p.shape[1:].numel() if p.dim() > 3 else p.shape[-1] if p.dim() > 1 else 4
            size = scale / math.sqrt(max(n_in, 1))
            p.copy_(size * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return module


def options_of(part: MakePart) -> Any:
    """Return the class whose constructor holds the options of a part, given it or its partial."""
    return part.func if isinstance(part, partial) else part


def accepted(part: MakePart, sizes: Sequence[tuple[Any, ...]]) -> list[tuple[tuple[Any, ...], Any]]:
    """Build the part for each of the sizes that it takes; it may refuse others by ConfigError.

    Raises:
        NotApplicable: if it refuses them all.
    """
    made, refused = [], ConfigError("")
    for size in sizes:
        try:
            made.append((size, part(*size)))
        except ConfigError as error:
            refused = error
    if not made:
        raise NotApplicable(f"none of the sizes tried is taken: {refused}")
    return made


def close(seen: Tensor, wanted: Tensor, what: str, tolerance: float = 1e-9) -> None:
    """Raise AssertionError unless both have one shape and differ by `tolerance`, relatively."""
    assert seen.shape == wanted.shape, (
        f"{what}: shape {tuple(seen.shape)}, not {tuple(wanted.shape)}"
    )
    error = (seen - wanted).abs().max().item() if seen.numel() else 0.0
    size = 1.0 + (wanted.abs().max().item() if wanted.numel() else 0.0)
    assert error <= tolerance * size, f"{what}: off by {error:.3g}"


def finite(x: Tensor | None, what: str) -> None:
    """Raise AssertionError if a value is infinite or NaN."""
    assert x is None or torch.isfinite(x).all(), f"{what} is not finite"


def learns(module: nn.Module, outputs: Callable[[int], Tensor]) -> None:
    """Raise AssertionError unless every parameter has a finite gradient in some of the outputs.

    `outputs(i)` is the module's output for the i-th draw of its inputs.
    """
    named = dict(module.named_parameters())
    moved = dict.fromkeys(named, 0.0)
    for i in range(3 if named else 0):
        total = outputs(i).square().sum()
        assert total.requires_grad, "no parameter has a gradient"
        gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True)
        for name, gradient in zip(named, gradients, strict=True):
            finite(gradient, f"the gradient of {name}")
            moved[name] += 0.0 if gradient is None else gradient.abs().sum().item()
    still = [name for name, size in moved.items() if not size]
    assert not still, f"no gradient reaches {', '.join(still)}"


def keeps_to_itself(output: Tensor, x: Tensor, what: str, dim: int) -> None:
    """Raise AssertionError if row 0 of `output` has a gradient in other rows of x along `dim`."""
    gradient: Tensor | None = None
    first = output.select(dim, 0)
    if first.requires_grad:
        (gradient,) = torch.autograd.grad(first.sum(), x, retain_graph=True, allow_unused=True)
    others = None if gradient is None else gradient.narrow(dim, 1, x.shape[dim] - 1)
    assert others is None or not others.any(), f"{what} of one row depends on another row"


def reloaded(module: nn.Module, again: nn.Module) -> nn.Module:
    """Give `again`, made anew, the state of `module`, by way of a safetensors file in memory."""
    state = {name: x.contiguous() for name, x in module.state_dict().items()}
    again.load_state_dict(load(save(state)))
    return again.train(module.training)


def averages_to_one(log_weight: Tensor, what: str) -> None:
    """Raise AssertionError unless the mean weight is 1, for the best covered of several weights.

    `log_weight` is (C, N) for C densities r and N draws: log r − log q. The first half of the draws
    chooses the r whose weights vary least; the mean is taken over the second half.

    Raises:
        NotApplicable: if the weights of every r vary so much that their mean says nothing.
    """
    assert not log_weight.isnan().any(), f"{what} is not a number"
    first, second = log_weight.exp().chunk(2, dim=-1)
    effective = first.sum(-1).square() / first.square().sum(-1)
    best = int(effective.nan_to_num(nan=0.0).argmax())
    if effective[best] < 500:  # fewer may leave out a region, unseen
        raise NotApplicable(f"{what} varies too much for an average")
    mean = second[best].mean().item()
    error = second[best].std().item() / math.sqrt(second.shape[-1])
    assert abs(mean - 1) <= 5 * error + 0.01, f"{what} is {mean:.3f} ± {error:.3f}, not 1"
