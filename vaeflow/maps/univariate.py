"""Increasing functions of one number; a network emits their parameters."""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Univariate(Protocol):
    """A family of increasing functions f of one number: the transformer of a coupling.

    θ (*, size, L) holds the parameters of L functions, applied to z (*, L) one by one. The name is
    that of Papamakarios et al. 2021, section 3.1, where a conditioner emits θ.
    """

    size: int  # parameters of each function

    def __call__(self, z: Tensor, theta: Tensor, /) -> tuple[Tensor, Tensor]:
        """Return f(z) and log f'(z), both (*, L)."""
        ...

    def inverse(self, z: Tensor, theta: Tensor, /) -> tuple[Tensor, Tensor]:
        """Return z0 with f(z0) = z, and log f'(z0), both (*, L)."""
        ...


class Affine:
    r"""f(z) = exp(s) z + t with a bounded log-scale, :math:`s = c \tanh(a/c)`; θ = (a, t).

    The identity at θ = 0. The scale stays within e^±c, so that no stack of maps can explode (Dinh
    et al. 2017, section 4.1, take a tanh with a learned factor).

    Arguments:
        bound: c, the largest |log f'|.
    """

    size = 2

    def __init__(self, bound: float = 3.0) -> None:
        self.bound = bound

    def __repr__(self) -> str:
        return f"Affine(bound={self.bound})"

    def __call__(self, z: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._split(theta)
        return z * log_scale.exp() + shift, log_scale

    def inverse(self, z: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._split(theta)
        return (z - shift) * torch.exp(-log_scale), log_scale

    def _split(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        a, shift = theta.unbind(-2)
        return self.bound * torch.tanh(a / self.bound), shift


class Gate:
    r"""f(z) = σ z + (1 − σ) m with a gate :math:`σ = \mathrm{sigmoid}(s + 2)`; θ = (m, s).

    Kingma et al. 2016, algorithm 1, with the shift that opens the gate at the start. It only
    contracts: f' = σ < 1.
    """

    size = 2

    def __repr__(self) -> str:
        return "Gate()"

    def __call__(self, z: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        mean, s = theta.unbind(-2)
        s = s + 2
        return torch.lerp(mean, z, torch.sigmoid(s)), F.logsigmoid(s)

    def inverse(self, z: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        mean, s = theta.unbind(-2)
        log_gate = F.logsigmoid(s + 2)
        # A gate below this has let nothing of z0 through; its inverse would be infinite.
        least = -0.4 * math.log(torch.finfo(s.dtype).max)
        return mean + (z - mean) * torch.exp(-log_gate.clamp(min=least)), log_gate
