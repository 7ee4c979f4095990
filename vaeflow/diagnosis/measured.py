"""All that a diagnosis measures of one model.

Shapes: N images. All estimates are in nats per image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vaeflow.diagnosis.calibration import Calibration
from vaeflow.diagnosis.gaps import Gaps
from vaeflow.diagnosis.local_bounds import LocalBounds
from vaeflow.diagnosis.nuts import NutsReferee
from vaeflow.evaluation import Estimate, PerImage
from vaeflow.evaluation.active_units import ActiveUnits
from vaeflow.evaluation.estimates import listed, listed_html


@dataclass(frozen=True)
class Bracket:
    """log p(x) of images that the model made, from both sides (Grosse et al. 2015)."""

    below: PerImage
    below_by: str  # the name of the estimate
    above: PerImage

    @property
    def width(self) -> PerImage:
        """Return how far log p(x) is unknown: 0 or more but for the noise of the draws."""
        return self.above - self.below

    def as_dict(self) -> dict[str, object]:
        """Return plain numbers, for JSON."""
        return {
            "images": len(self.above.values),
            "below_by": self.below_by,
            **{name: getattr(self, name).as_dict() for name in ("below", "above", "width")},
        }


@dataclass(frozen=True)
class Measured:
    """The measurements of one model; None stands for a stage left out, or one that cannot apply."""

    samples: int
    elbo: PerImage
    log_px: Mapping[str, PerImage]  # lower bounds, by name
    bracket: Bracket | None
    local: Mapping[str, LocalBounds]  # by family, the model's own first
    gaps: Gaps
    calibration: Calibration | None
    log_dets: list[tuple[str, Estimate]] | None  # by map, in order of application
    units: ActiveUnits | None  # of the latent dimensions; a single image shows none
    nuts: NutsReferee | None = None

    def __repr__(self) -> str:
        return listed(self, self._told())

    def _repr_html_(self) -> str:
        return listed_html(self, self._told())

    def _told(self) -> dict[str, object]:
        gaps = self.gaps.listing() if self.local else {"total": self.gaps.total.over_images}
        first = {"images": len(self.elbo.values), "samples": self.samples}
        last = {
            "width": None if self.bracket is None else self.bracket.width.over_images,
            "units": self.units,
        }
        return {**first, "elbo": self.elbo.over_images, **gaps, **last}

    @property
    def active_units(self) -> int | None:
        """Return how many latent dimensions are active, if more than one image shows it."""
        return None if self.units is None else self.units.active

    @property
    def own(self) -> str | None:
        """Return the name of the model's own family, if it was optimized."""
        return next(iter(self.local), None)

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers, for JSON."""
        return {
            "images": len(self.elbo.values),
            "samples": self.samples,
            "active_units": self.active_units,
            "units": None if self.units is None else asdict(self.units),
            "elbo": self.elbo.as_dict(),
            "log_px": {name: bound.as_dict() for name, bound in self.log_px.items()},
            "simulated": None if self.bracket is None else self.bracket.as_dict(),
            "local": {name: bounds.as_dict() for name, bounds in self.local.items()},
            "gaps": self._gaps(),
            "calibration": None if self.calibration is None else self.calibration.as_dict(),
            "nuts": None if self.nuts is None else self.nuts.as_dict(),
            "log_dets": None
            if self.log_dets is None
            else [{"map": name, **asdict(estimate)} for name, estimate in self.log_dets],
        }

    def _gaps(self) -> dict[str, object]:
        """Return the gaps; without local bounds only their sum is known."""
        gaps = self.gaps.as_dict()
        return gaps if self.local else {key: gaps[key] for key in ("log_px_by", "log_px", "total")}
