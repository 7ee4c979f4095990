"""The Sylvester-flow posterior.

Shapes: K samples, B batch, F features, L latent size, T steps, M columns of Q, N vectors that make
one Q.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.distributions import Distribution

from vaeflow.distributions import DiagonalNormal, Flow, at_least_float32, full_precision
from vaeflow.parts import Posterior

Kind = Literal["triangular", "householder", "orthogonal"]


class Sylvester(Posterior):
    r"""A diagonal Gaussian pushed through Sylvester maps whose parameters the encoder emits.

    .. math::
        f_t(z) = z + Q R_1 \tanh(a), \quad a = R_2 Q^T z + b, \quad
        \log|\det ∂f_t/∂z| = \sum_{i=1}^M \log(1 + r_{1i} r_{2i} \tanh'(a_i))

    Q has M orthonormal columns, R1 and R2 are upper triangular. Their diagonals r1 and r2 lie in
    (−1, 1), so that r1·r2·tanh' > −1, the condition under which each map is invertible (van den
    Berg et al. 2018). There is no closed inverse; q(z|x) is known for its own draws.

    Options:
        kind: of Q: the identity and the reversal in turn (triangular), a product of reflections
            (householder), or orthonormalized vectors (orthogonal).
        steps: number of Sylvester maps.
        vectors: columns of an orthogonal Q, up to the latent size; the other kinds have as many as
            that.
        reflections: number of reflections that make a householder Q.
    """

    def __init__(
        self,
        latent: int,
        features: int,
        *,
        kind: Kind = "householder",
        steps: NonNegativeInt = 4,
        vectors: PositiveInt = 8,
        reflections: PositiveInt = 8,
    ) -> None:
        super().__init__(latent, features)
        columns = min(vectors, latent) if kind == "orthogonal" else latent
        n = {"triangular": 0, "householder": reflections, "orthogonal": columns}[kind]
        self.frames = {
            "triangular": permutations, "householder": reflected, "orthogonal": orthonormal
        }[kind]  # fmt: skip
        # Of each map: a square for R1 and R2 without the latter's diagonal, which follows; b; the
        # vectors of Q.
        self.shapes = [(columns, columns), (columns,), (columns,), (n, latent)]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.steps = steps
        self.head = nn.Linear(features, 2 * latent)
        if steps:
            self.flow = nn.Linear(features, steps * sum(self.sizes))

    def forward(self, h: Tensor) -> Distribution:
        base = DiagonalNormal(*self.head(h).chunk(2, dim=-1))
        if not self.steps:
            return Flow(base, [])
        # Adam changes each of F weights by about lr per step; 1/√F bounds the change of their sum.
        flat = at_least_float32(self.flow(h * self.features**-0.5))
        flat = flat.unflatten(-1, (self.steps, sum(self.sizes)))
        parts = zip(flat.split(self.sizes, dim=-1), self.shapes, strict=True)
        square, s2, b, vectors = (part.unflatten(-1, shape) for part, shape in parts)
        # The log-determinant is that of an orthonormal Q, and half precision would not leave it so.
        with full_precision(h):
            stacks = (self.frames(vectors), *triangles(square, s2), b)
            maps = [SylvesterMap(*one) for one in zip(*(x.unbind(1) for x in stacks), strict=True)]
        return Flow(base, maps)


class SylvesterMap:
    """One map z + Q R1 tanh(R2 Qᵀz + b).

    Arguments:
        q: (B, L, M), orthonormal columns.
        r1: (B, M, M), upper triangular.
        r2: (B, M, M), upper triangular.
        log_slope: (B, M), log(1 + r1·r2) of the diagonals.
        b: (B, M).
    """

    def __init__(self, q: Tensor, r1: Tensor, r2: Tensor, log_slope: Tensor, b: Tensor) -> None:
        self.q, self.r1, self.r2, self.log_slope, self.b = q, r1, r2, log_slope, b

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*, B, L) to (*, B, L) and log|det| (*, B)."""
        with full_precision(z):
            a = _apply(self.r2, _apply(self.q.mT, z)) + self.b
            tanh = torch.tanh(a)
            z = z + _apply(self.q, _apply(self.r1, tanh))
        # 1 + r·tanh' is tanh² + (1 + r)·tanh', a sum of positive numbers: no digit is lost as
        # r → −1.
        slope = tanh**2 + torch.exp(self.log_slope - 2 * log_cosh(a))
        return z, torch.log(slope).sum(-1)


def triangles(square: Tensor, s2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return R1, R2 and log(1 + r1·r2) of their diagonals r = tanh(s).

    The upper half of `square` (*, M, M) is R1, its lower half R2ᵀ, its diagonal s1; `s2` is (*, M).
    """
    s1 = square.diagonal(dim1=-2, dim2=-1)
    r1 = square.triu(1) + torch.diag_embed(torch.tanh(s1))
    r2 = square.mT.triu(1) + torch.diag_embed(torch.tanh(s2))
    # 1 + tanh s1 tanh s2 = cosh(s1 + s2) / (cosh s1 cosh s2), which does not cancel.
    return r1, r2, log_cosh(s1 + s2) - log_cosh(s1) - log_cosh(s2)


def permutations(vectors: Tensor) -> Tensor:
    """Return Q (B, T, L, L): I for even steps, the reversal for odd ones; no vectors are needed."""
    batch, steps, _, latent = vectors.shape
    eye = torch.eye(latent, dtype=vectors.dtype, device=vectors.device)
    in_turn = torch.stack((eye, eye.flip(0))).repeat(steps // 2 + 1, 1, 1)[:steps]
    return in_turn.expand(batch, -1, -1, -1)


def reflected(vectors: Tensor) -> Tensor:
    """Return Q (B, T, L, L), the product of I − 2vvᵀ/‖v‖² over v in vectors (B, T, N, L).

    With unit vectors as the rows of V, and U the strictly upper half of VVᵀ, it is
    I − Vᵀ(½I + U)⁻¹V (Joffrain et al. 2006): one triangular solve instead of N products.
    """
    v = F.normalize(vectors, dim=-1)
    n, latent = v.shape[-2:]
    eye = torch.eye(max(n, latent), dtype=v.dtype, device=v.device)
    upper = (v @ v.mT).triu(1) + 0.5 * eye[:n, :n]
    return eye[:latent, :latent] - v.mT @ torch.linalg.solve_triangular(upper, v, upper=True)


def orthonormal(vectors: Tensor) -> Tensor:
    """Return Q (B, T, L, M), an orthonormal basis of the span of vectors (B, T, M, L).

    The paper iterates A ← A(I + ½(I − AᵀA)) until AᵀA is close to I. That test would make the host
    wait for the device at each turn. A fixed number of turns is too few where vectors nearly
    coincide, and makes the log-determinant silently wrong. QR is orthonormal to the last digit for
    every A, in less time than ten turns take on a CPU.
    """
    q, r = torch.linalg.qr(vectors.mT)
    # The Q of Gram-Schmidt, of which R's diagonal is positive, is continuous in the vectors.
    sign = torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)
    return q * sign[..., None, :]


def log_cosh(x: Tensor) -> Tensor:
    """Return log cosh x without overflow."""
    x = x.abs()
    return x + F.softplus(-2 * x) - math.log(2.0)


def _apply(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply each x (*, B, n) by its image's matrix (B, m, n)."""
    return torch.einsum("bmn,...bn->...bm", matrix, x)
