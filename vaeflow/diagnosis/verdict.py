"""A diagnosis in plain words."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from vaeflow.diagnosis.calibration import Calibration
from vaeflow.diagnosis.diagnose import GAUSSIAN, Diagnosis
from vaeflow.evaluation import Estimate

WIDE = 0.1  # of a bracket, in nats, and in shares of the gap: the larger of the two is too wide
LEVEL = 0.05  # of the test of calibration, over all latent dimensions together
_SURE = 2.0  # standard errors from 0


def verdict(found: Diagnosis) -> list[str]:
    """Return what the figures say, a sentence each, with what they cannot say."""
    return [
        *_split(found),
        *_others(found),
        *_unconverged(found),
        *_bracket(found),
        *([] if found.calibration is None else [_calibration(found.calibration)]),
    ]


def told(estimate: Estimate) -> str:
    """Return an estimate with as many digits as its error leaves it."""
    error = _error(estimate)
    digits = 2 if not error else min(max(1, math.ceil(-math.log10(error))), 3)
    return f"{estimate:.{digits}f}"


def _error(estimate: Estimate) -> float:
    """Return the standard error, of a single image that of its draws."""
    if estimate.standard_error is not None:
        return estimate.standard_error
    return estimate.monte_carlo_error or 0.0


def _sign(estimate: Estimate) -> int:
    """Return 1 or −1 of what is above or below 0, and 0 if neither is sure."""
    if abs(estimate.mean) <= _SURE * _error(estimate):
        return 0
    return 1 if estimate.mean > 0 else -1


def _split(found: Diagnosis) -> Iterator[str]:
    gaps = found.gaps
    total = gaps.total.over_images
    if found.active_units == 0:
        yield (
            "The code is unused (0 active units): q is the same for all images, and there is no "
            "gap that a flow could close to any use."
        )
    if _sign(total) == 0:
        yield (
            f"The {told(total)} nats between log p(x) and the ELBO are not distinguishable from 0: "
            "there is no gap to split."
        )
        return
    if not found.local:
        yield f"Between log p(x) and the ELBO are {told(total)} nats; they were not split."
        return
    family, encoder = gaps.approximation, gaps.amortization
    most, least = "", ""
    if _stuck(found, GAUSSIAN):
        family, encoder = gaps.richer[GAUSSIAN], found.local[GAUSSIAN].elbo - found.elbo
        most, least = "at most ", "at least "
    parts = {
        "family's (approximation)": family.over_images,
        "encoder's (amortization)": encoder.over_images,
    }
    (family_s, ours), (encoder_s, theirs) = parts.items()
    yield (
        f"Of {told(total)} nats between log p(x) and the ELBO, {most}{told(ours)}{_doubt(found)} "
        f"are the {family_s}, {least}{told(theirs)} are the {encoder_s}."
    )
    for whose, part in parts.items():
        if _sign(part) == 0:
            yield f"The {whose} part is not distinguishable from 0."
    if _sign(encoder.over_images) < 0:
        yield (
            f"The encoder's q is better than the local {found.own} q that was found: the family's "
            f"part is too large by {told(-encoder.over_images)} nats at least."
        )


def _stuck(found: Diagnosis, name: str) -> bool:
    """Tell whether a local Gaussian q is surely better than one of a family that contains it.

    Every family of ours does; of those of packages, which have a "/" in their names, none is known.
    """
    closed = found.gaps.closed.get(name)
    if closed is None or found.own is None or "/" in f"{found.own}{name}":
        return False
    sign = _sign(closed.over_images)
    return (found.own != GAUSSIAN == name and sign > 0) or (found.own == GAUSSIAN and sign < 0)


def _others(found: Diagnosis) -> Iterator[str]:
    for name, estimates in found.gaps.closed.items():
        closed, left = estimates.over_images, found.gaps.richer[name].over_images
        if _stuck(found, name):
            larger, smaller = (name, GAUSSIAN) if found.own == GAUSSIAN else (found.own, name)
            gap = closed if closed.mean > 0 else -closed
            yield (
                f"The optimization of the local {larger} q did not converge: it lost {told(gap)} "
                f"nats more than a local {smaller} q, which is one of them."
            )
        elif _sign(closed) > 0:
            part = f"{told(closed)} of the family's part and leaves {told(left)}"
            yield f"A local {name} q closes {part}."
        elif _sign(closed) < 0:
            yield f"A local {name} q loses {told(-closed)} nats more than a local {found.own} q."
        else:
            yield (
                f"A local {name} q differs from a local {found.own} q by {told(closed)} nats, "
                "which are not distinguishable from 0."
            )


def _unconverged(found: Diagnosis) -> Iterator[str]:
    for name, bounds in found.local.items():
        if not bounds.converged:
            what = (
                "the family's part may be smaller than that, and the encoder's larger"
                if name == found.own
                else "it may be better than that"
            )
            yield (
                f"The optimization of the local {name} q has not converged (its last round gained "
                f"{bounds.gain:.2g} nats): {what}."
            )


def _too_wide(found: Diagnosis) -> float:
    return max(WIDE, WIDE * found.gaps.total.over_images.mean)


def _doubt(found: Diagnosis) -> str:
    """Return what a bracket that may be too wide adds to the family's part."""
    if found.bracket is None:
        return ""
    width = found.bracket.width.over_images
    most = width.mean + _SURE * _error(width)
    if most <= _too_wide(found):
        return ""
    return f" (or up to {most:.2g} more, by what log p(x) may miss)"


def _bracket(found: Diagnosis) -> Iterator[str]:
    bracket = found.bracket
    if bracket is None:
        yield (
            f"log p(x) is bounded from below only, by {found.gaps.log_px_by}: without annealing "
            "nothing tells how far above it is."
        )
        return
    width, too_wide = bracket.width.over_images, _too_wide(found)
    about = (
        f"on {len(bracket.above.values)} simulated images the bounds of log p(x) from both sides "
        f"are {told(width)} nats apart"
    )
    if width.mean > too_wide:
        yield f"Do not trust the family's part: {about}, too far; more --temperatures help."
    elif width.mean + _SURE * _error(width) > too_wide:
        yield f"The family's part is not sure: {about}, maybe too far; more --images tell."
    elif _sign(width) == 0:
        yield f"O{about[1:]}, which is not distinguishable from 0."
    else:
        yield (
            f"O{about[1:]}: as much may be missing from log p(x) and from the family's "
            "part, at most."
        )


def _calibration(c: Calibration) -> str:
    images, latent = c.ranks.shape
    p = min(1.0, latent * c.p_value.min().item())
    by = f"p = {p:.2g} after Bonferroni, {images:,} simulated images"
    if p >= LEVEL:
        return f"Calibration finds nothing wrong with q ({by})."
    wrong = int((latent * c.p_value < LEVEL).sum())
    worst = int(c.p_value.argmin())
    shape = _shape(c.ranks[:, worst], c.samples)
    return (
        f"Calibration fails in {wrong} of {latent} dimensions ({by}), most in z_{worst + 1}, where "
        f"q {shape}."
    )


def _shape(ranks: Tensor, samples: int) -> str:
    """Name what ranks (N,) in 0 … S deviate by most from uniform ones: their mean or their spread.

    Of u uniform on (0, 1), the variance of u is 1/12, and that of (u − ½)² is 1/180.
    """
    u = (ranks.double() + 0.5) / (samples + 1) - 0.5
    root = math.sqrt(len(u))
    shift = u.mean().item() * root * math.sqrt(12)
    spread = (u.square().mean().item() - 1 / 12) * root * math.sqrt(180)
    if max(abs(shift), abs(spread)) < 3:
        return "has another shape than the posterior"
    if abs(spread) > abs(shift):
        return "is too narrow" if spread > 0 else "is too wide"
    return "lies too low" if shift > 0 else "lies too high"
