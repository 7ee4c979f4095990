"""Numbers and functions that densities share, exact to the last digits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
# B_2k/(2k(2k − 1)) with the Bernoulli numbers B_2k
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)
_SHIFT = 8  # the series leaves 1e-14 from here on


def at_least_float32(x: Tensor) -> Tensor:
    """Return x in float32 if it came in a half precision, else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def widest(x: Tensor) -> Tensor:
    """Return x in float64, for sums of large terms that cancel; MPS alone has no float64."""
    return x if x.device.type == "mps" else x.double()


def softplus(x: Tensor) -> Tensor:
    """Return log(1 + eˣ) to the last digit; torch returns x from 20 on, off by e⁻²⁰."""
    return F.softplus(x, threshold=40)


def log_softplus(x: Tensor) -> Tensor:
    """Return log(log(1 + eˣ)), which tends to x as x → −∞, where softplus underflows."""
    far = x < -15  # there log(1 + eˣ) = eˣ(1 − eˣ/2 + …), exact in float64 up to e^(2x)/3
    near = torch.log(softplus(torch.where(far, 0.0, x)))
    return torch.where(far, x - 0.5 * torch.exp(torch.where(far, x, -15.0)), near)


def polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """Return Σ c_k x^k."""
    total = torch.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return total


def log_rising(x: Tensor, r: Tensor) -> Tensor:
    r"""Return log Γ(r + x) − log Γ(r) − x log r for r > 0 and x ≥ 0, which tends to 0 as r → ∞.

    For large r the two log Γ agree in all digits. With R = r + 8 and the error δ of Stirling's
    formula, δ(R) = 1/(12R) − 1/(360R³) + … (DLMF 5.11.1),

    .. math:: \log\frac{Γ(R + x)}{Γ(R)\, R^x}
        = (R + x - ½) \log(1 + x/R) - x + δ(R + x) - δ(R);

    Γ(r + 1) = r Γ(r) leads from R back to r.
    """
    far = r + _SHIFT
    total = (far + x - 0.5) * torch.log1p(x / far) - x + _stirling(far + x) - _stirling(far)
    total = total + x * torch.log1p(_SHIFT / r)
    for j in range(_SHIFT):
        total = total - torch.log1p(x / (r + j))
    return total


def _stirling(r: Tensor) -> Tensor:
    inverse = r.reciprocal()
    return inverse * polynomial(_STIRLING, inverse.square())
