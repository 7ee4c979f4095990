"""The findings of a diagnosis.

Shapes: N simulated images, S draws, L latent size. Estimates are in nats per image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from vaeflow.diagnosis.calibration import Calibration
from vaeflow.diagnosis.local_bounds import GAUSSIAN
from vaeflow.diagnosis.measured import Measured
from vaeflow.diagnosis.nuts import findings as nuts_findings
from vaeflow.evaluation import Estimate
from vaeflow.evaluation.findings import Finding, Severity

WIDE = 0.1  # of a bracket, in nats, and in shares of the gap: the larger of the two is too wide
LEVEL = 0.05  # of the test of calibration, over all latent dimensions together
_SURE = 2.0  # standard errors from 0


def findings(measured: Measured) -> list[Finding]:
    """Return the conclusions from the measurements, and the limits of the measurements."""
    return [
        *_unused(measured),
        *_gap(measured),
        *_richer(measured),
        *_not_converged(measured),
        _bracket(measured),
        *([] if measured.calibration is None else [_calibration(measured.calibration)]),
        *_nuts(measured),
    ]


def _nuts(measured: Measured) -> Iterator[Finding]:
    """Yield what NUTS says of q, and of the estimates that share no draw with the search for q."""
    if measured.nuts is not None:
        others = {n: b for n, b in measured.log_px.items() if n in ("Laplace", "AIS", "IWAE")}
        yield from nuts_findings(measured.nuts, others)


def _margin(estimate: Estimate) -> float:
    return _SURE * (estimate.error or 0.0)


def _sign(estimate: Estimate) -> int:
    """Return 1 for an estimate surely above 0, −1 for one surely below, 0 if neither is sure."""
    if abs(estimate.mean) <= _margin(estimate):
        return 0
    return 1 if estimate.mean > 0 else -1


def _unused(measured: Measured) -> Iterator[Finding]:
    """Yield a warning if no latent dimension is active, a note if some may be."""
    units = measured.units
    if units is None:
        return
    if units.undecided:
        details = units.counts(len(units.variances))
        yield Finding("units-undecided", "the latent code", details=details)
    elif units.active == 0:
        details = {"active_units": 0}
        yield Finding("unused-code", "the model", severity="warning", details=details)


def _gap(measured: Measured) -> Iterator[Finding]:
    """Yield the gap and its two shares."""
    total = measured.gaps.total.over_images
    if _sign(total) == 0:
        yield Finding.of("gap-not-distinguishable", "log p(x) − ELBO", total)
    elif measured.own is None:
        yield Finding.of("gap-not-split", "log p(x) − ELBO", total)
    else:
        yield from _split(measured, measured.own, total)


def _split(measured: Measured, own: str, total: Estimate) -> Iterator[Finding]:
    gaps, stuck = measured.gaps, _stuck(measured, GAUSSIAN)
    family, encoder = gaps.approximation, gaps.amortization
    if stuck:  # the Gaussian is in the family, so that the best q of the family is no worse
        family = gaps.richer[GAUSSIAN]
        encoder = measured.local[GAUSSIAN].elbo - measured.elbo
    shares = {"family": family.over_images, "encoder": encoder.over_images}
    yield Finding.of(
        "gap-split",
        own,
        total,
        approximation=shares["family"],
        amortization=shares["encoder"],
        bounds_only=stuck,
        may_be_missing=_may_be_missing(measured),
    )
    for whose, share in shares.items():
        if _sign(share) == 0:
            yield Finding.of("share-not-distinguishable", whose, share)
    if _sign(shares["encoder"]) < 0:
        yield Finding.of("encoder-beats-local", own, -shares["encoder"], "warning")


def _stuck(measured: Measured, name: str) -> bool:
    """Tell whether a local Gaussian q surely beats the local q of a family that contains it.

    Every family of vaeflow contains it; of a package's family, whose name has a "/", nothing is
    known.
    """
    closed = measured.gaps.closed.get(name)
    if closed is None or measured.own is None or "/" in f"{measured.own}{name}":
        return False
    sign = _sign(closed.over_images)
    own_is_gaussian = measured.own == GAUSSIAN
    return sign < 0 if own_is_gaussian else name == GAUSSIAN and sign > 0


def _richer(measured: Measured) -> Iterator[Finding]:
    """Yield a finding on each family beside the model's own."""
    own = measured.own
    for name, estimates in measured.gaps.closed.items():
        closed = estimates.over_images
        if _stuck(measured, name):
            larger, contained = (name, GAUSSIAN) if own == GAUSSIAN else (own or "", name)
            lost = closed if closed.mean > 0 else -closed
            yield Finding.of("optimization-failed", larger, lost, "warning", contained=contained)
        elif _sign(closed) > 0:
            left = measured.gaps.richer[name].over_images
            yield Finding.of("family-closes", name, closed, left=left)
        elif _sign(closed) < 0:
            yield Finding.of("family-loses", name, -closed, own=own)
        else:
            yield Finding.of("family-not-distinguishable", name, closed, own=own)


def _not_converged(measured: Measured) -> Iterator[Finding]:
    for name, bounds in measured.local.items():
        if not bounds.converged:
            own = name == measured.own
            yield Finding("not-converged", name, bounds.gain, None, "warning", {"own": own})


def _too_wide(measured: Measured) -> float:
    return max(WIDE, WIDE * measured.gaps.total.over_images.mean)


def _may_be_missing(measured: Measured) -> float | None:
    """Return how much a bracket that may be too wide can add to the family's share, in nats."""
    if measured.bracket is None:
        return None
    width = measured.bracket.width.over_images
    most = width.mean + _margin(width)
    return most if most > _too_wide(measured) else None


def _bracket(measured: Measured) -> Finding:
    bracket = measured.bracket
    if bracket is None:
        return Finding("bounded-from-below", measured.gaps.log_px_by)
    width = bracket.width.over_images
    images = len(bracket.above.values)

    def finding(kind: str, severity: Severity = "note") -> Finding:
        return Finding.of(kind, "log p(x)", width, severity, images=images)

    if width.mean > _too_wide(measured):
        return finding("bracket-too-wide", "warning")
    if _may_be_missing(measured) is not None:
        return finding("bracket-unsure", "warning")
    return finding("bracket-closed" if _sign(width) == 0 else "bracket")


def _calibration(c: Calibration) -> Finding:
    images, latent = c.ranks.shape
    details: dict[str, Any] = {
        "p_value": min(1.0, latent * c.p_value.min().item()),
        "images": images,
    }
    if details["p_value"] >= LEVEL:
        return Finding("calibration-passed", "q", severity="result", details=details)
    worst = int(c.p_value.argmin())
    details |= {
        "wrong": int((latent * c.p_value < LEVEL).sum()),
        "latent": latent,
        "shape": _shape(c.ranks[:, worst], c.samples),
    }
    return Finding("calibration-failed", f"z_{worst + 1}", severity="result", details=details)


def _shape(ranks: Tensor, samples: int) -> str:
    """Name the largest deviation of ranks (N,) in 0 … S from uniform ones: in mean or in spread.

    Of u uniform on (0, 1), the variance of u is 1/12, and that of (u − ½)² is 1/180.
    """
    u = (ranks.double() + 0.5) / (samples + 1) - 0.5
    root = math.sqrt(len(u))
    shift = u.mean().item() * root * math.sqrt(12)
    spread = (u.square().mean().item() - 1 / 12) * root * math.sqrt(180)
    if max(abs(shift), abs(spread)) < 3:
        return "other"
    if abs(spread) > abs(shift):
        return "narrow" if spread > 0 else "wide"
    return "low" if shift > 0 else "high"
