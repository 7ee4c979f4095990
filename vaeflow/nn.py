"""Layers that several families of parts share: perceptrons, masked layers, flows' parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaeflow.distributions import DiagonalNormal, at_least_float32

Activation = Literal[
    "relu", "tanh", "sigmoid", "elu", "gelu", "silu", "softplus", "leaky-relu", "identity"
]
Init = Literal["torch", "glorot", "truncated-normal"]
Amortize = Literal["full", "none"]
AmortizeContext = Literal["context", "none"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "leaky-relu": nn.LeakyReLU,
    "identity": nn.Identity,
}
assert set(_ACTIVATIONS) == set(get_args(Activation))


def activation(name: Activation) -> nn.Module:
    """Return a new activation module by name."""
    return _ACTIVATIONS[name]()


def mlp(sizes: Sequence[int], act: Activation, *, last: bool) -> nn.Sequential:
    """Return Linear layers of the given sizes with `act` between them, and at the end if `last`."""
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(n_in, n_out))
        if last or i < len(sizes) - 2:
            layers.append(activation(act))
    return nn.Sequential(*layers)


def initialize(module: nn.Module, init: Init) -> None:
    """Re-draw the weights of every linear and convolutional layer below `module`.

    torch: leave torch's default, U(±1/√n_in). glorot: U(±√(6/(n_in + n_out))), biases 0 (Glorot &
    Bengio 2010, eq. 16). truncated-normal: N(0, 0.1²) cut at two standard deviations, biases 0.1.
    """
    if init == "torch":
        return
    for layer in module.modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            continue
        if init == "glorot":
            nn.init.xavier_uniform_(layer.weight)
        else:
            nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
        if layer.bias is not None:
            nn.init.constant_(layer.bias, 0.0 if init == "glorot" else 0.1)


class GaussianHead(nn.Linear):
    """q(z|x) = N(μ(h), diag σ²(h)) for features h (B, F): mean and log-variance linear in them.

    It is the base of most posteriors, and so its state is that of a linear layer of 2L outputs.

    Arguments:
        latent: L.
        features: F.
        init: how the weights are drawn.
    """

    def __init__(self, latent: int, features: int, init: Init = "torch") -> None:
        super().__init__(features, 2 * latent)
        initialize(self, init)

    def forward(self, h: Tensor) -> DiagonalNormal:  # type: ignore[override]  # noqa: D102
        return DiagonalNormal(*super().forward(h).chunk(2, dim=-1))


class FlowParameters(nn.Module):
    """The parameters of a flow for features h (B, F): (B, size), 0 for every image at the start.

    Arguments:
        features: F.
        size: numbers per image.
        amortize: "full" is linear in h; "none" is one learned vector for all images.
    """

    def __init__(self, features: int, size: int, amortize: Amortize = "full") -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(size))
        full = amortize == "full"
        self.weight = nn.Parameter(torch.zeros(size, features)) if full else None

    @torch.no_grad()
    def start_at(self, value: Tensor) -> None:
        """Start at `value` (size), the same for every image."""
        self.bias.copy_(value)

    def forward(self, h: Tensor) -> Tensor:  # noqa: D102
        if self.weight is None:
            return at_least_float32(self.bias).expand(*h.shape[:-1], -1)
        # Adam moves every weight by the learning rate, whatever its gradient, and F weights with
        # it each number that they add up to. Flows cannot follow such jumps; 1/√F tames them.
        return at_least_float32(F.linear(h * h.shape[-1] ** -0.5, self.weight, self.bias))


class MaskedLinear(nn.Linear):
    """A linear layer whose weight is multiplied by a fixed 0/1 mask of shape (out, in)."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        n_out, n_in = mask.shape
        super().__init__(n_in, n_out)
        # The mask follows from the sizes, so it is no part of a checkpoint.
        self.register_buffer("mask", mask.to(self.weight.dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return F.linear(x, self.weight * self.mask, self.bias)


class Conditioner(nn.Module):
    r"""A perceptron of z (*, n) that a context h (B, F) enters at the first hidden layer.

    .. math:: y_1 = a(W_1 z + b_1 + V h), \quad y_{j+1} = a(W_{j+1} y_j + b_{j+1})

    Arguments:
        layers: the linear layers W; they are taken one by one, after V is drawn.
        features: F, or 0 for no context.
        width: size of the first hidden layer.
        act: a; the last layer has none.
    """

    def __init__(
        self, layers: Iterable[nn.Linear], features: int, *, width: int, act: Activation
    ) -> None:
        super().__init__()
        self.context = nn.Linear(features, width, bias=False) if features else None
        self.first, *middle, last = layers
        self.middle = nn.ModuleList(middle)
        self.last = last
        self.act = activation(act)
        self.damped = False

    @torch.no_grad()
    def start_at_zero(self) -> None:
        """Start with an output of 0, whatever the input is, and leave it by small steps.

        Adam moves the weights of all n hidden units at once, as `FlowParameters` says of features;
        1/√n tames it, here and for the context.
        """
        self.last.weight.zero_()
        self.last.bias.zero_()
        self.damped = True

    def given(self, h: Tensor | None) -> Tensor | float:
        """Return V h (B, width), once per image whatever the number of samples; 0 without h."""
        if self.context is None or h is None:
            return 0.0
        out: Tensor = self.context(self._damp(h))
        return out

    def forward(self, z: Tensor, context: Tensor | float) -> Tensor:
        """Map z (K, B, n) to (K, B, outputs) for the context (B, width) that `given` returns."""
        y = self.act(self.first(z) + context)
        for layer in self.middle:
            y = self.act(layer(y))
        out: Tensor = self.last(self._damp(y))
        return out

    def _damp(self, y: Tensor) -> Tensor:
        return y * y.shape[-1] ** -0.5 if self.damped else y


class MADE(Conditioner):
    r"""Masked autoregressive network with context: out_i depends on z_1 … z_{i−1} and h only.

    Hidden unit j carries a degree m_j in 0 … L−1 and sees z_i where i ≤ m_j; output i sees hidden
    units with m_j < i (Germain et al. 2015, eqs. 8-9). Units of degree 0 see the context alone, so
    that the first output is not a constant.

    Arguments:
        latent: L, the number of inputs.
        features: size of the context h, or 0 for none.
        width: hidden units of each layer.
        depth: number of hidden layers, at least 1.
        outputs: numbers per input; the result has shape (*, L·outputs), one block per kind.
        act: the nonlinearity.
        reverse: count the dimensions from the last to the first.
    """

    def __init__(
        self,
        latent: int,
        features: int,
        *,
        width: int,
        depth: int,
        outputs: int,
        act: Activation,
        reverse: bool = False,
    ) -> None:
        inputs = torch.arange(1, latent + 1)
        inputs = inputs.flip(0) if reverse else inputs
        degrees = torch.arange(width) % latent
        masks = [
            degrees[:, None] >= inputs[None, :],
            *[degrees[:, None] >= degrees[None, :]] * (depth - 1),
            (inputs[:, None] > degrees[None, :]).repeat(outputs, 1),
        ]
        super().__init__(map(MaskedLinear, masks), features, width=width, act=act)
        # The dimensions in an order in which each depends on those before it alone.
        self.order = tuple(inputs.argsort().tolist())
