"""Numbers and functions that densities share, exact to the last digits."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def at_least_float32(x: Tensor) -> Tensor:
    """Return x in float32 if it came in a half precision, else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def softplus(x: Tensor) -> Tensor:
    """Return log(1 + eˣ) to the last digit; torch returns x from 20 on, off by e⁻²⁰."""
    return F.softplus(x, threshold=40)


def log_softplus(x: Tensor) -> Tensor:
    """Return log(log(1 + eˣ)), which tends to x as x → −∞, where softplus underflows."""
    far = x < -15  # there log(1 + eˣ) = eˣ(1 − eˣ/2 + …), exact in float64 up to e^(2x)/3
    near = torch.log(softplus(torch.where(far, 0.0, x)))
    return torch.where(far, x - 0.5 * torch.exp(torch.where(far, x, -15.0)), near)
