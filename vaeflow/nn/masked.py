"""Masked networks: each output depends only on the inputs before it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaeflow.nn.mlp import Activation, activation


@dataclass(frozen=True)
class Hidden:
    """The hidden layers of a network: `depth` layers, at least 1, of `width` units each."""

    width: int
    depth: int
    act: Activation


class MaskedLinear(nn.Linear):
    """A linear layer whose weight is multiplied by a fixed 0/1 mask of shape (out, in)."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        n_out, n_in = mask.shape
        super().__init__(n_in, n_out)
        # The mask follows from the sizes, so it is no part of a checkpoint.
        self.register_buffer("mask", mask.to(self.weight.dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class Conditioner(nn.Module):
    r"""A perceptron of z (*, n) that a context h (B, F) enters at the first hidden layer.

    .. math:: y_1 = a(W_1 z + b_1 + V h), \quad y_{j+1} = a(W_{j+1} y_j + b_{j+1})

    Arguments:
        layers: the linear layers W. An iterator makes them after V, which fixes their random start.
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
        """Start with an output of 0 for any input, and let training leave it by small steps.

        Adam moves the weights of all n hidden units at once; the factor 1/√n bounds the change of
        their sum, here and for the context (see `FlowParameters`).
        """
        self.last.weight.zero_()
        self.last.bias.zero_()
        self.damped = True

    def given(self, h: Tensor | None) -> Tensor | float:
        """Return V h (B, width), the same for all samples of an image; 0 without h."""
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

    Hidden unit j has a degree m_j in 0 … L−1 and sees z_i where i ≤ m_j; output i sees hidden units
    with m_j < i (Germain et al. 2015, eqs. 8-9). Units of degree 0 see only the context; through
    them the first output depends on it.

    Arguments:
        latent: L, the number of inputs.
        features: size of the context h, or 0 for none.
        hidden: the hidden layers.
        outputs: numbers per input; the result has shape (*, L·outputs), one block per kind.
        reverse: count the dimensions from the last to the first.
    """

    def __init__(
        self,
        latent: int,
        features: int,
        hidden: Hidden,
        *,
        outputs: int,
        reverse: bool = False,
    ) -> None:
        inputs = torch.arange(1, latent + 1)
        inputs = inputs.flip(0) if reverse else inputs
        degrees = torch.arange(hidden.width) % latent
        masks = [
            degrees[:, None] >= inputs[None, :],
            *[degrees[:, None] >= degrees[None, :]] * (hidden.depth - 1),
            (inputs[:, None] > degrees[None, :]).repeat(outputs, 1),
        ]
        super().__init__(map(MaskedLinear, masks), features, width=hidden.width, act=hidden.act)
        # The order of the dimensions: each depends only on the ones before it.
        self.order = tuple(inputs.argsort().tolist())
