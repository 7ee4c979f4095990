"""The gap between log p(x) and the ELBO, split into its parts.

Shapes: N images. Estimates are in nats per image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vaeflow.evaluation.estimates import PerImage, listed


@dataclass(frozen=True)
class Gaps:
    """The parts of log p(x) − ELBO of N images, each paired (Cremer et al. 2018, section 3)."""

    log_px: PerImage
    log_px_by: str  # the name of the estimate
    total: PerImage  # log p(x) − ELBO = approximation + amortization
    approximation: PerImage  # log p(x) − ELBO of the best q of the family, image by image
    amortization: PerImage  # ELBO of the best q − ELBO of the encoder's q
    richer: dict[str, PerImage]  # the approximation gap of each richer family
    closed: dict[str, PerImage]  # the part of it that each richer family closes

    def __repr__(self) -> str:
        return listed(self, self.listing())

    def listing(self) -> dict[str, object]:
        """Return the means over images, by name."""
        found: dict[str, object] = {"log_px_by": self.log_px_by}
        for name in ("log_px", "total", "approximation", "amortization"):
            found[name] = getattr(self, name).over_images
        return found | {f"closed by {name}": gap.over_images for name, gap in self.closed.items()}

    def as_dict(self) -> dict[str, object]:
        """Return plain numbers, for JSON."""
        parts = ("log_px", "total", "approximation", "amortization")
        return {
            "log_px_by": self.log_px_by,
            **{name: getattr(self, name).as_dict() for name in parts},
            "richer": {name: gap.as_dict() for name, gap in self.richer.items()},
            "closed": {name: gap.as_dict() for name, gap in self.closed.items()},
        }


def split_gap(
    amortized: PerImage,
    local: PerImage,
    log_px: Mapping[str, PerImage],
    richer: Mapping[str, PerImage] | None = None,
) -> Gaps:
    r"""Split log p(x) − ELBO in two.

    .. math:: \log p(x) - \mathrm{ELBO}(q_φ) =
        \underbrace{\log p(x) - \mathrm{ELBO}(q^*)}_\text{approximation} +
        \underbrace{\mathrm{ELBO}(q^*) - \mathrm{ELBO}(q_φ)}_\text{amortization}

    No part is held at 0 or more: a negative part is noise, or the search missed q*. Monte Carlo
    errors assume independent draws; two bounds from the same draws differ by less.

    Arguments:
        amortized: the ELBO of the encoder's own q.
        local: the ELBO of the best q of the same family, by `local_bounds`.
        log_px: lower bounds on log p(x) by name, such as those of AIS and IWAE. The one with the
            largest mean stands for log p(x); a choice image by image would pick noise.
        richer: the ELBO of the best q of other families, by name.
    """
    by = max(log_px, key=lambda name: log_px[name].values.mean().item())
    best = log_px[by]
    richer = richer or {}
    return Gaps(
        log_px=best,
        log_px_by=by,
        total=best - amortized,
        approximation=best - local,
        amortization=local - amortized,
        richer={name: best - elbo for name, elbo in richer.items()},
        closed={name: elbo - local for name, elbo in richer.items()},
    )
