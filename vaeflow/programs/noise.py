"""Noise as an input: the random draws of a forward pass, told by standard normal numbers.

Shapes: N examples, M numbers of noise of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vaeflow.errors import PluginError

_SQRT_HALF = math.sqrt(0.5)


def _uniform(noise: Tensor) -> Tensor:
    """Return Φ(ε), uniform between 0 and 1, both left out."""
    u = 0.5 * (1 + torch.erf(_SQRT_HALF * noise))
    return u.clamp(torch.finfo(u.dtype).tiny, 1 - torch.finfo(u.dtype).eps)


def _normal(noise: Tensor, mean: Any = 0.0, std: Any = 1.0) -> Tensor:
    moved: Tensor = noise * std + mean
    return moved


def _between(noise: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    return low + (high - low) * _uniform(noise)


def _exponential(noise: Tensor, rate: float = 1.0) -> Tensor:
    return -_uniform(noise).log() / rate


def _index(noise: Tensor, *ends: Any) -> Tensor:
    """Return whole numbers as `torch.randint` draws them."""
    low, high = (0, ends[0]) if not isinstance(ends[1], int) else ends[:2]
    steps: Tensor = (_uniform(noise) * (high - low)).floor().clamp(max=high - low - 1)
    index: Tensor = low + steps.long()
    return index


# What torch calls by name, and how its draw follows from standard normal numbers. A "_" writes
# into its first argument; a law of arguments behind the first takes them.
_LAWS: dict[str, Callable[..., Tensor]] = {
    "randn": lambda noise, *_: noise,
    "randn_like": lambda noise, *_: noise,
    "rand": lambda noise, *_: _uniform(noise),
    "rand_like": lambda noise, *_: _uniform(noise),
    "randint": _index,
    "normal": _normal,
    "normal_": _normal,
    "uniform_": _between,
    "exponential_": _exponential,
}
_OTHERS = frozenset(
    """bernoulli bernoulli_ binomial cauchy_ geometric_ log_normal_ multinomial poisson randint_like
    random_ randperm _sample_dirichlet _standard_gamma""".split()  # noqa: SIM905
)


class Shapes(TorchFunctionMode):
    """Notes the shapes of the random draws within the block, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, ...]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in _OTHERS:
            raise PluginError(
                f"a part draws by torch.{name}, which no noise of a program can stand for"
            )
        if name in _LAWS:
            self.found.append(tuple(made.shape))
        return made


class Layout:
    """Where in the noise (N, M) of a program each random draw of its pass finds its numbers.

    Arguments:
        few, more: the shapes of the draws of the same pass of 2 and of 3 examples.

    Raises:
        PluginError: if a draw is not one for each example.
    """

    def __init__(self, few: list[tuple[int, ...]], more: list[tuple[int, ...]]) -> None:
        self.draws: list[tuple[int, tuple[int, ...], slice]] = []
        self.width = 0
        for a, b in zip(few, more, strict=True):
            changed = [i for i, (m, n) in enumerate(zip(a, b, strict=True)) if m != n]
            if len(changed) != 1 or a[changed[0]] != 2:
                raise PluginError(
                    f"a part draws noise of shape {b} for 3 examples, but a program needs draws of "
                    "each example by itself"
                )
            axis = changed[0]
            rest = (*a[:axis], *a[axis + 1 :])
            self.draws.append((axis, rest, slice(self.width, self.width + math.prod(rest))))
            self.width += math.prod(rest)

    @classmethod
    def of(cls, run: Callable[[int], object]) -> Layout:
        """Return the layout of a pass, called with the number of examples."""
        found = []
        for count in (2, 3):
            with Shapes() as shapes:
                run(count)
            found.append(shapes.found)
        return cls(*found)


class Replayed(TorchFunctionMode):
    """Has the random draws within the block take their numbers from noise (N, M), in their order.

    Arguments:
        layout: of the same pass.
        noise: standard normal, (N, M).
    """

    def __init__(self, layout: Layout, noise: Tensor) -> None:
        super().__init__()
        self.draws = iter(layout.draws)
        self.noise = noise

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name == "empty_like":  # which a draw fills, and ONNX does not know
            func = torch.zeros_like
        if name not in _LAWS:
            return func(*args, **(kwargs or {}))
        axis, rest, where = next(self.draws)
        noise = self.noise[:, where].unflatten(1, rest) if rest else self.noise[:, where][:, 0]
        noise = noise.movedim(0, axis)
        if name == "normal":
            return _normal(noise, *args[:2])
        if not name.endswith("_"):
            return _LAWS[name](noise, *args)
        kwargs = {k: v for k, v in (kwargs or {}).items() if k != "generator"}
        return args[0].copy_(_LAWS[name](noise, *args[1:], **kwargs))
