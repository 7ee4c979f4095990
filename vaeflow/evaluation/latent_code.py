"""The latent code: its active units, I(x; z) and KL(q(z) ‖ p).

Shapes: N images, B batch, L latent size. Estimates are in nats per image.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.data.examples import Data, as_examples
from vaeflow.distributions.draw import draw
from vaeflow.evaluation.active_units import ActiveUnits, active_units, evenly_spaced
from vaeflow.evaluation.estimates import Estimate, listed
from vaeflow.evaluation.findings import Finding
from vaeflow.model import VAE
from vaeflow.runtime.frozen import frozen
from vaeflow.runtime.noise import Noise
from vaeflow.runtime.progress import Advance, unseen

LATENT_CODE_IMAGES = 500  # N² scores, and an autoregressive flow needs many passes for each
_ROWS = 10_000  # scores at a time
_MINUTES = 5.0


@dataclass(frozen=True)
class LatentCode:
    """Measures of the latent code of N images, which are fewer than the bounds are of."""

    images: int
    latent: int
    units: ActiveUnits  # of the latent dimensions, from all images where they are needed
    kl: Estimate  # E_x KL(q(z|x) ‖ p) of these images, the sum of the next two
    mutual_information: Estimate | None  # I(x; z), a bound from below; log N is its largest value
    marginal_kl: Estimate | None  # KL(q(z) ‖ p), a bound from above
    unknown: str | None = None  # the reason if the last two are None

    def __repr__(self) -> str:
        return listed(self, vars(self))

    @property
    def active_units(self) -> int:
        """Return how many of the latent dimensions are active."""
        return self.units.active

    @property
    def findings(self) -> list[Finding]:
        """Return the number of active units, and the limits of the other estimates."""
        units = self.units.counts(self.latent)
        found = [Finding("active-units", "latent code", severity="result", details=units)]
        if self.unknown is not None:
            reason = {"reason": self.unknown}
            found.append(Finding("information-unknown", "I(x; z)", details=reason))
        elif self.mutual_information is not None:
            limit = {"images": self.images, "limit": math.log(self.images)}
            found.append(Finding("information-limited", "I(x; z)", details=limit))
        return found

    def as_dict(self) -> dict[str, object]:
        """Return plain numbers, for JSON."""
        return {**asdict(self), "active_units": self.active_units}


@torch.no_grad()
def describe_latent_code(
    model: VAE,
    x: Data,
    *,
    images: int = LATENT_CODE_IMAGES,
    seed: int = 0,
    progress: Advance = unseen,
) -> LatentCode:
    r"""Estimate I(x; z), from up to `images` of x (N, *data_shape), evenly spaced.

    .. math:: E_x\,KL(q(z|x) ‖ p) = I(x; z) + KL(q(z) ‖ p), \quad
        \log q(z_i) ≈ \log \frac1N \sum_j q(z_i|x_j)

    (Hoffman & Johnson 2016.) One z_i is drawn for each image, and the sum includes its own. That
    makes I(x; z) a bound from below, which cannot exceed log N, and KL(q(z) ‖ p) one from above by
    as much: both are near the truth where I is well below log N. N² scores are needed; both are
    None, and `unknown` says why, where the posterior scores only its own draws or would take over
    five minutes.

    Active units are counted by `active_units`, of all images where they are needed.

    `progress` is called with the number of images done.
    """
    noise = Noise(seed, model.device)
    some = evenly_spaced(as_examples(x), min(images, len(x))).read().to(model.device)
    with noise.private("code"), frozen(model):
        q = model.infer(some)
        sample = draw(q, (1,))
        own = sample.log_prob[0].cpu().double()  # log q(z_i|x_i)
        log_pz = model.latent_prior().log_prob(sample.z[0]).cpu().double()
        information, marginal_kl, unknown = None, None, None
        try:
            log_qz = _log_aggregate(q, sample.z[0], own, progress)
        except _Unknown as error:
            unknown = str(error)
        else:
            information, marginal_kl = Estimate.of(own - log_qz), Estimate.of(log_qz - log_pz)
    with noise.private("active units"), frozen(model):
        units = active_units(model, x)
    return LatentCode(
        images=len(some),
        latent=model.posterior.latent,
        units=units,
        kl=Estimate.of(own - log_pz),
        mutual_information=information,
        marginal_kl=marginal_kl,
        unknown=unknown,
    )


class _Unknown(Exception):
    """The density of q(z) is unknown; the text is the reason."""


def _log_aggregate(q: Distribution, z: Tensor, own: Tensor, progress: Advance) -> Tensor:
    """Return log (1/N) Σ_j q(z_i|x_j) (N,), float64 on the CPU.

    The score of a draw under its own q is known from the draw, and exact where a flow's inverse
    is rounded.

    Raises:
        _Unknown: if q scores nothing but its own draws, does it badly, or takes too long.
    """
    n, each, began = len(z), max(1, _ROWS // len(z)), time.monotonic()
    totals = []
    for start in range(0, n, each):
        some = z[start : start + each]
        try:
            scores = q.log_prob(some[:, None].expand(-1, n, -1)).cpu().double()  # (k, N)
        except (NotImplementedError, KeyError) as error:  # Pyro's planar-like flows raise the last
            raise _Unknown(f"{type(q).__name__} scores its own draws alone") from error
        k = torch.arange(len(some))
        scores[k, start + k] = own[start : start + len(some)]
        if not (scores < torch.inf).all():  # NaN is not; −∞ is a density of 0
            raise _Unknown(f"a score of {type(q).__name__} is not finite")
        totals.append(scores.logsumexp(1) - math.log(n))
        progress(len(some))
        if not start:
            minutes = (time.monotonic() - began) / len(some) * n / 60
            if minutes > _MINUTES:
                raise _Unknown(f"{n * n:,} scores would take about {minutes:.0f} minutes")
    return torch.cat(totals)
