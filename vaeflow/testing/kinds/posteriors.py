"""Checks that log q is the density of a posterior's draws.

They need no inverse and no knowledge of the flow. They replace the noise that the flow draws, so
that z is a function of given noise, and autograd computes its Jacobian. Shapes: P points, L latent
size, F features.
"""

from __future__ import annotations

import math
from contextlib import suppress

import torch
from torch import Tensor, nn

from vaeflow.errors import ConfigError
from vaeflow.testing.dropout import fixed_dropout
from vaeflow.testing.noise import Given, given, noise_law
from vaeflow.testing.probes import far_from_start, normal
from vaeflow.testing.registered import MakePart, NotApplicable, Refused, register

FEATURES = 7
_SIZES = (*range(1, 67), 72, 80, 96, 100, 127, 128, 144, 192, 200, 256)
# Sizes of features that are tried with them in turn, beside L, 2 L and 10 L.
_FEATURE_SIZES = (7, 1, 300, 64, 500, 128, 400, 256, 512, 2, 100, 784)


def posterior(
    part: MakePart,
    latent: int,
    n_features: int = FEATURES,
    *,
    scale: float | None = 2.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> nn.Module:
    """Build the part for evaluation, far from its start; as it starts if `scale` is None.

    Raises:
        Refused: if the part refuses the size.
    """
    torch.manual_seed(seed)
    try:
        made: nn.Module = part(latent, n_features).to(dtype)
    except ConfigError as refusal:
        raise Refused(f"it refuses the latent size {latent}: {refusal}") from None
    return (made if scale is None else far_from_start(made, scale, seed)).eval()


def features(
    batch: int, dtype: torch.dtype = torch.float64, seed: int = 1, size: int = FEATURES
) -> Tensor:
    """Draw features h (B, F)."""
    return normal(batch, size, seed=seed, dtype=dtype)


def tolerance(module: nn.Module) -> float:
    """Return the relative error to allow for: the part's own, or 1e-9."""
    return max(1e-9, float(getattr(module, "tolerance", 0.0)))


def in_training(module: nn.Module) -> nn.Module:
    """Set training, but for norms over the batch, with which images would depend on each other."""
    module.train()
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._NormBase):
            layer.eval()
    return module


def within(module: nn.Module, h: Tensor, eps: Tensor) -> Tensor:
    """Keep noise where the part's law has digits enough, and off the kinks of laws with a peak."""
    law = noise_law(module(h[:1]))
    if law == math.inf:
        return eps
    reach = law if isinstance(law, float) else 4.5
    return torch.where(eps == 0, 0.01, eps).clamp(-reach, reach)


# What is special about each point at which the Jacobian is taken.
_PLACES = (
    "", "", "", "", "where the noise is 0", "where all features are 0",
    "where noise and features are 0", "where the noise of all dimensions is equal",
    "at noise of 3σ", "at noise of 6σ", "at noise of 10σ", "where one dimension is far out",
    "at features of size 5", "at features of size 30",
)  # fmt: skip
_TAME = 9  # of the places: there even an exact zero in the Jacobian is an error
_FEW = (0, 8, 6, 5, 7, 12)  # of the places, where many sizes are tried


def places(latent: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return features (P, F) and noise (P, L) at ordinary and special points."""
    # From other seeds than the parameters, whose numbers they would repeat.
    h = features(len(_PLACES), seed=seed + 100, size=size)
    eps = normal(len(_PLACES), latent, seed=seed + 200)
    h[5:7], eps[4], eps[6] = 0.0, 0.0, 0.0
    eps[7] = eps[7, :1]
    eps[8:11] *= torch.tensor([[3.0], [6.0], [10.0]])
    eps[11] *= 0.1
    eps[11, latent // 2] = 9.0
    h[12:] *= torch.tensor([[5.0], [30.0]])
    return h, eps


def with_jacobian(
    module: nn.Module, h: Tensor, eps: Tensor, *, autocast: bool = False
) -> tuple[Given, Tensor]:
    """Return the draws for h (P, F) at the noise ε (P, L), and their Jacobians ∂z/∂ε (P, L, L)."""
    latent = eps.shape[-1]
    # As many samples as rows, all equal: one pass backwards yields every row.
    copies = eps.detach().expand(latent, *eps.shape).clone().requires_grad_()
    with fixed_dropout(module), torch.autocast(h.device.type, torch.bfloat16, enabled=autocast):
        sample = given(module(h), copies)
    outputs = sample.z.diagonal(dim1=0, dim2=-1).sum()
    assert outputs.requires_grad, "z does not depend on its noise"
    (rows,) = torch.autograd.grad(outputs, copies, allow_unused=True)
    assert rows is not None, "z does not depend on its noise"
    return Given(*(x[0].detach() for x in sample)), rows.movedim(0, -2)


def log_abs_det(jacobian: Tensor) -> tuple[Tensor, Tensor]:
    """Return log|det| (P) of (P, L, L), and where its digits can be trusted.

    Rows and columns are scaled first: a Jacobian with entries from e^−20 to e^20 may be benign.
    """
    usable = torch.isfinite(jacobian).all(-1).all(-1)
    scaled = jacobian.where(usable[:, None, None], 0.0)
    rows = scaled.abs().amax(-1)
    # Numbers near the smallest and the largest that there are have fewer digits.
    usable &= ((rows == 0) | ((rows > 1e-280) & (rows < 1e280))).all(-1)
    total = torch.zeros_like(scaled[:, 0, 0])
    for dim in (-1, -2):
        size = scaled.abs().amax(dim, keepdim=True)
        scaled = scaled / size.where(size > 0, 1.0)
        total = total + size.log().sum((-1, -2))
    value = total + torch.linalg.slogdet(scaled).logabsdet
    return value, usable & (torch.linalg.cond(scaled) <= 1e6)


def judged(
    module: nn.Module, latent: int, size: int, seed: int, *, tame: bool
) -> tuple[int, list[tuple[float, str]]]:
    """Return how many points were compared, and the error in nats and the place of each fault."""
    chosen = range(len(_PLACES)) if latent <= 8 else _FEW if latent <= 40 else _FEW[:3]
    h, eps = (x[list(chosen)] for x in places(latent, size, seed))
    eps = within(module, h, eps)
    sample, jacobian = with_jacobian(module, h, eps)
    log_det, trusted = log_abs_det(jacobian)
    wanted = sample.log_noise - log_det
    error = (sample.log_prob - wanted).abs()
    trusted &= sample.log_noise.isfinite()  # elsewhere the base has no density
    off = trusted & ~(error <= tolerance(module) * (1 + wanted.abs()) + _lost(sample.z, jacobian))
    at = f"at latent size {latent}"
    names = [_PLACES[i] for i in chosen]
    found = [(error[i].item(), f"{at} {names[i]}".strip()) for i in off.nonzero().flatten()]
    if tame:
        still = jacobian.isnan().any(-1).any(-1) | (jacobian == 0).all(-1).any(-1)
        still &= torch.tensor([i < _TAME for i in chosen])
        found += [(math.inf, f"{at} {names[i]}".strip()) for i in still.nonzero().flatten()]
    return int(trusted.sum()), found


def _lost(z: Tensor, jacobian: Tensor) -> Tensor:
    """Return what rounding leaves open in log|det| and log q (P).

    Autograd takes the slope of a tanh as 1 − tanh². A log q that is scored from z knows z to its
    last digit, which is much where some direction of noise hardly moves it.
    """
    slopes = torch.linalg.svdvals(jacobian.nan_to_num(0.0, 0.0, 0.0))
    cond = (slopes.amax(-1) / slopes.amin(-1)).nan_to_num(1e7).clamp_max(1e7)
    coarse = (1 + z.abs().amax(-1)) / slopes.amin(-1)
    lost: Tensor = 20 * torch.finfo(z.dtype).eps * z.shape[-1] * (coarse + cond)
    return lost.nan_to_num(torch.inf)


def holds(
    part: MakePart,
    latent: int,
    scales: tuple[float | None, ...],
    size: int = FEATURES,
    *,
    anywhere: bool = True,
) -> list[tuple[float, str]]:
    """Return the faults of log q at one latent size, over parameters of the given scales.

    With `anywhere`, a part of which no point could be judged is at fault.
    """
    compared = 0
    found: list[tuple[float, str]] = []
    for seed, scale in enumerate(scales):
        module = posterior(part, latent, size, scale=scale, seed=seed)
        more, faults = judged(module, latent, size, seed, tame=(scale or 0.0) <= 0.5)
        compared, found = compared + more, found + faults
    assert compared or not anywhere, (
        f"z does not move with all of its noise at latent size {latent}: some of it is lost, or "
        "used twice"
    )
    return found


def complain(found: list[tuple[float, str]]) -> None:
    """Raise AssertionError telling the largest error of each place, if there is any."""
    worst: dict[str, float] = {}
    for nats, place in found:
        worst[place] = nats if math.isnan(nats) else max(worst.get(place, 0.0), nats)
    told = [
        f"z does not move with its noise {place}"
        if nats == math.inf
        else f"log q is off by {nats:.3g} nats {place}".replace("off by nan nats", "NaN")
        for place, nats in sorted(worst.items(), key=lambda item: -item[1])
    ]
    more = f" and at {len(told) - 3} other places" if len(told) > 3 else ""
    assert not told, ", ".join(told[:3]) + more


@register("posterior", core=True)
def log_q_matches_the_jacobian(part: MakePart) -> None:
    """log q(z) = log N(ε) − log|det ∂z/∂ε| by autograd in float64, near to the start and far."""
    found: list[tuple[float, str]] = []
    taken: list[int] = []
    for latent, scales in ((1, (0.5, 2.0)), (2, (None, 1.0)), (5, (0.5, 1.0, 2.0)), (20, (1.0,))):
        with suppress(Refused):  # of a size that the part refuses
            found += holds(part, latent, scales)
            taken.append(latent)
    _some(taken)
    complain(found)


def _some(taken: list[int]) -> None:
    if not taken:
        raise NotApplicable("it refuses all latent sizes that were tried")


@register("posterior", core=True, once=True)
def log_q_matches_at_every_size(part: MakePart) -> None:
    """log q is right for each latent size up to 66, some to 256, and sizes of features to 784."""
    found: list[tuple[float, str]] = []
    taken: list[int] = []
    for i, latent in enumerate(_SIZES):
        sizes = (_FEATURE_SIZES[i % len(_FEATURE_SIZES)], latent * (1, 2, 10)[i // 2 % 3])
        if latent > 40 and latent != 50:  # a part may have L² F weights
            sizes = FEATURES, FEATURES
        with suppress(Refused):
            found += holds(part, latent, (0.5,), sizes[i % 2])
            taken.append(latent)
    _some(taken)
    complain(found)


@register("posterior")
def log_q_matches_the_jacobian_in_training(part: MakePart) -> None:
    """In training, beside dropout too, log q is the density of the draw."""
    found: list[tuple[float, str]] = []
    for seed, latent in enumerate((2, 5)):
        module = in_training(posterior(part, latent, scale=0.5, seed=seed))
        found += judged(module, latent, FEATURES, seed, tame=True)[1]
    complain(found)
