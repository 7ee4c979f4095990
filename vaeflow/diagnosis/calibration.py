"""Simulation-based calibration: is q(z|x) as wide as the posterior of the model's own data?

Shapes: S draws, N images, B batch, L latent size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vaeflow.data.examples import Data, as_examples
from vaeflow.distributions.draw import draw
from vaeflow.errors import ConfigError
from vaeflow.model import VAE
from vaeflow.runtime.frozen import frozen
from vaeflow.runtime.noise import Noise

_BINS = 20
_FEWEST = 5  # images expected in each bin, below which χ² is no χ²
FEWEST_IMAGES = _FEWEST * _BINS


@torch.no_grad()
def simulate(
    model: VAE, images: int, *, seed: int = 0, like: Data | None = None
) -> tuple[Tensor, Data]:
    """Draw z (N, L) from p(z) and x (N, *data_shape) from p(x|z): z is a posterior sample of x.

    Arguments:
        like: data whose covariates and gaps the draws take over, in its order and again.
    """
    beside = None
    if like is not None and (model.missing or model.covariates):
        beside = as_examples(like)[torch.arange(images) % len(like)].to(model.device)
    with Noise(seed, model.device).private("simulated data"), frozen(model):
        z = model.latent_prior().sample((images,))
        x: Tensor = model.generate(z[None], beside).sample()[0]
    if beside is None:
        return z, x
    return z, replace(beside, x=torch.where(beside.values.isnan(), torch.nan, x))


@dataclass(frozen=True)
class Calibration:
    """The ranks of N simulated z among S draws of q(z|x), and tests of their uniformity."""

    ranks: Tensor  # (N, L), integers in 0 … S
    samples: int  # S
    counts: Tensor  # (bins, L): images in each bin of neighbouring ranks
    expected: Tensor  # (bins,): the same if the ranks are uniform
    statistic: Tensor  # (L,): χ² of the counts
    p_value: Tensor  # (L,): of a χ² as large by chance; the smallest of L is by chance below 1/L

    def __repr__(self) -> str:
        lowest = f"{self.p_value.min().item():.2g}"
        return f"Calibration({len(self.ranks):,} images, lowest p_value {lowest})"

    @classmethod
    def of(cls, ranks: Tensor, samples: int, bins: int) -> Calibration:
        r"""Test ranks (N, L) for uniformity on 0 … S.

        .. math:: χ^2 = \sum_j \frac{(n_j - e_j)^2}{e_j}

        of n_j images in a bin where e_j are expected, with bins − 1 degrees of freedom.
        """
        bin_of = torch.arange(samples + 1) * bins // (samples + 1)  # equal to within one rank
        shares = torch.bincount(bin_of, minlength=bins).double() / (samples + 1)
        expected = len(ranks) * shares
        counts = torch.stack([torch.bincount(r, minlength=bins) for r in bin_of[ranks].T], -1)
        from scipy.stats import chisquare  # a second to import, which `train` need not wait for

        test = chisquare(counts.double().numpy(), expected[:, None].numpy(), axis=0)
        statistic, p_value = (torch.from_numpy(x) for x in (test.statistic, test.pvalue))
        return cls(ranks, samples, counts, expected, statistic, p_value)

    def as_dict(self) -> dict[str, object]:
        """Return plain numbers, for JSON."""
        return {
            "images": len(self.ranks),
            "samples": self.samples,
            "counts": self.counts.T.tolist(),
            "p_value": self.p_value.tolist(),
        }


@torch.no_grad()  # not inference mode: a part may differentiate inside its forward
def calibrate(
    model: VAE,
    *,
    images: int = 1000,
    samples: int = 99,
    bins: int = _BINS,
    batch: int = 100,
    seed: int = 0,
    like: Data | None = None,
) -> Calibration:
    r"""Rank z_i among draws of q(z_i|x), for (z, x) drawn from the model itself.

    .. math:: r_i = \#\{s : z_i^{(s)} < z_i\}, \quad z^{(s)} \sim q(z|x), \; (z, x) \sim p(z) p(x|z)

    (Talts et al. 2018.) If q is the posterior, r_i is uniform on 0 … S. A q too narrow piles the
    ranks up at both ends, one too wide in the middle, a shifted one at one end. Uniform ranks do
    not prove that q is right: the prior ignores x, and its ranks are uniform too.

    Arguments:
        model: evaluated on the device where it is, in evaluation mode.
        images: N.
        samples: S; bins that divide S + 1 hold equally many ranks.
        bins: of neighbouring ranks, for the χ² test.
        batch: images at a time.
        seed: the result is a function of it, and of `batch`.
        like: data whose covariates and gaps the simulated data has.

    Raises:
        ConfigError: if there are more bins than ranks, or too few images for them.
    """
    if not 2 <= bins <= samples + 1:
        raise ConfigError(
            f"{bins} bins do not fit {samples + 1} possible ranks: give 2 to {samples + 1}"
        )
    if images < _FEWEST * bins:
        raise ConfigError(
            f"{images} simulated images are too few for a χ² test of {bins} bins: give "
            f"{_FEWEST * bins} or more"
        )
    z, x = simulate(model, images, seed=seed, like=like)
    ranks: list[Tensor] = []
    with Noise(seed, model.device).private("calibration"), frozen(model):
        for truth, data in zip(z.split(batch), x.split(batch), strict=True):
            below = draw(model.infer(data), (samples,)).z < truth
            ranks.append(below.sum(0).cpu())
    return Calibration.of(torch.cat(ranks), samples, bins)
