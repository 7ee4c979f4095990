"""The best q of a family for each image, and the bounds on log p(x) under it.

Shapes: K samples, B batch, N images, L latent size. Estimates are in nats per image.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.data.examples import Data, as_examples
from vaeflow.errors import ConfigError, NonFiniteError
from vaeflow.evaluation.estimates import PerImage, listed, log_weights
from vaeflow.model import VAE
from vaeflow.nn.heads import GaussianHead
from vaeflow.nn.masked import Conditioner
from vaeflow.parts.abstract import Posterior
from vaeflow.runtime.frozen import frozen
from vaeflow.runtime.noise import Noise
from vaeflow.runtime.progress import Advance, unseen
from vaeflow.terms import Terms

GAUSSIAN = "identity"  # the family of diagonal Gaussians, at whose best q the others start


@dataclass(frozen=True)
class LocalBounds:
    """The bounds of N images, each under a q of its own."""

    elbo: PerImage
    iwae: PerImage  # from the same draws
    gain: float  # in the mean ELBO by the last round of optimization; the largest of the batches'
    converged: bool  # every batch stopped gaining more than `tolerance`, or than its noise
    posteriors: tuple[Posterior, ...] = ()  # of each batch of images

    def __repr__(self) -> str:
        elbo, iwae = self.elbo.over_images, self.iwae.over_images
        ended = {"gain": f"{self.gain:.2g}", "converged": self.converged}
        return listed(self, {"elbo": elbo, "iwae": iwae, **ended})

    def as_dict(self) -> dict[str, object]:
        """Return plain numbers, for JSON."""
        return {
            "elbo": self.elbo.as_dict(),
            "iwae": self.iwae.as_dict(),
            "gain": self.gain,
            "converged": self.converged,
        }

    def q(self, images: int) -> Distribution:
        """Return the q of the first images, at most as many as the first batch had."""
        posterior = self.posteriors[0]
        features = _features(posterior.features, next(posterior.parameters()))
        q: Distribution = posterior(features[:images])
        return q


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """How the ELBO of each image is maximized over a q of its own.

    Attributes:
        steps: of each round.
        rounds: at most; without a plateau the bounds are marked as not converged.
        lr: the learning rate at the start of the first round.
        draws: of q for each image and step.
        samples: K of the bounds that are returned, and of the bounds between rounds.
        tolerance: in nats per image.
        batch: images at a time.
        seed: the result is a function of it, and of `batch`.
    """

    steps: int = 500
    rounds: int = 8
    lr: float = 0.02
    draws: int = 16
    samples: int = 2000
    tolerance: float = 0.01
    batch: int = 25
    seed: int = 0


def local_bounds(
    model: VAE,
    x: Data,
    make_posterior: Callable[[int], Posterior],
    options: Optimization | None = None,
    *,
    gaussian: LocalBounds | None = None,
    progress: Advance = unseen,
) -> LocalBounds:
    r"""Maximize the ELBO of each image over a q of its own, and estimate it by fresh draws.

    .. math:: \max_{φ_i} E_{q(z; φ_i)}[\log p(x_i|z) + \log p(z) - \log q(z; φ_i)]

    (Cremer et al. 2018, section 3.) No encoder is needed: a new posterior has as many features as
    the batch has images, and image i gets the i-th one-hot vector, so that each feature column is
    the image's own set of parameters. Parameters that no feature enters (an option `amortize`
    "none", the later layers of an IAF) are shared by the images of a batch. Decoder and prior stay
    as they are.

    Adam follows the path gradient (Roeder et al. 2017), which is 0 at an exact q. The plain
    gradient is not, and its noise, times the parameters of 16 planar maps, holds them below the
    diagonal Gaussian that is one of them. It is followed only where q scores its own draws alone,
    or where the maps are networks.

    The optimization runs in rounds. The learning rate falls to 0 along a cosine in each: from `lr`
    in the first, from a quarter of it in the others, as a restart at the full rate would stir up
    the noise that has settled. It ends when a round raises the mean ELBO by no more than
    `tolerance` or twice the standard error of that rise. A round that loses is undone, the first
    one too: a flow that is the best Gaussian at the start ends no lower.

    Arguments:
        model: on the device where it is, in evaluation mode; it ends as it began.
        x: (N, *data_shape).
        make_posterior: features to a posterior, `lambda features: Planar(latent, features)`.
        options: how the ELBO is maximized.
        gaussian: the bounds of diagonal Gaussians in the same batches, at which every posterior
            with a `GaussianHead` starts.
        progress: called with the number of images done.

    Raises:
        ConfigError: if there are fewer than two rounds.
        NonFiniteError: if the optimization leaves the range of the numbers.
    """
    options = options or Optimization()
    if options.rounds < 2:
        raise ConfigError(f"--rounds {options.rounds} cannot show a plateau: give 2 or more")
    found: list[LocalBounds] = []
    with Noise(options.seed, model.device).private("local bounds"), frozen(model):
        for i, images in enumerate(x.split(options.batch)):
            images = images.to(model.device)
            posterior = make_posterior(len(images)).to(as_examples(images).values)
            if gaussian is not None:
                _start_at(gaussian.posteriors[i], posterior)
            noise = Noise(options.seed, model.device, (i,))  # equal noise errs equally everywhere
            found.append(_Local(model, images, posterior, noise, options).optimize())
            progress(len(images))
    return LocalBounds(
        elbo=PerImage.cat([part.elbo for part in found]),
        iwae=PerImage.cat([part.iwae for part in found]),
        gain=max(part.gain for part in found),
        converged=all(part.converged for part in found),
        posteriors=tuple(posterior for part in found for posterior in part.posteriors),
    )


def _start_at(gaussian: Posterior, posterior: Posterior) -> None:
    """Give a posterior the head of the best Gaussian, if it has one such head."""
    best, own = _heads(gaussian), _heads(posterior)
    if len(best) == len(own) == 1:
        own[0].load_state_dict(best[0].state_dict())


def _heads(posterior: Posterior) -> list[GaussianHead]:
    return [part for part in posterior.children() if isinstance(part, GaussianHead)]


def _features(images: int, like: Tensor) -> Tensor:
    """Return the one-hot features of a batch.

    A step moves a linear head by the scale of the features, and a flow's parameters by the scale/√B
    (`FlowParameters`): this one holds both near the learning rate.
    """
    one_hot = torch.eye(images, dtype=like.dtype, device=like.device)
    return one_hot * float(images**0.25)


class _Local:
    """A posterior without an encoder, and its optimization for one batch of images."""

    def __init__(
        self, model: VAE, x: Data, posterior: Posterior, noise: Noise, options: Optimization
    ) -> None:
        self.model, self.x, self.posterior = model, x, posterior
        self.noise, self.options = noise, options
        self.features = _features(len(x), as_examples(x).values)
        # ∂ log q/∂z takes L + 1 passes through a flow: too long where the maps are networks.
        self.path = not any(isinstance(m, Conditioner) for m in posterior.modules())

    def optimize(self) -> LocalBounds:
        lr, tolerance = self.options.lr, self.options.tolerance
        best, log_weight = self.state(), self.log_weights()
        for i in range(self.options.rounds):
            self.maximize(lr / 4 if i else lr)
            after = self.log_weights()
            rise = PerImage.mean(after - log_weight)
            gain = rise.over_images.mean
            if gain > 0:
                best, log_weight = self.state(), after
            else:
                self.posterior.load_state_dict(best)
            converged = i > 0 and gain <= max(tolerance, 2 * rise.monte_carlo_error)
            if converged:
                break
        # Fresh draws: the best round was selected for a high bound.
        log_weight = self.log_weights("of the best round")
        elbo, iwae = PerImage.mean(log_weight), PerImage.log_mean_exp(log_weight)
        return LocalBounds(elbo, iwae, gain, converged, (self.posterior,))

    def state(self) -> dict[str, Tensor]:
        """Return a copy of the parameters."""
        return copy.deepcopy(self.posterior.state_dict())

    def maximize(self, lr: float) -> None:
        """Take the steps of one round."""
        optimizer = torch.optim.Adam(self.posterior.parameters(), lr=lr)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=self.options.steps)
        self.posterior.train()
        with torch.enable_grad():
            for _ in range(self.options.steps):
                optimizer.zero_grad()
                terms = self.model.terms(self.x, self.posterior(self.features), self.options.draws)
                log_weight = _of_path(terms) if self.path else terms.log_weight
                (-log_weight.mean()).backward()
                optimizer.step()
                decay.step()

    def log_weights(self, which: str = "between rounds") -> Tensor:
        """Return log w (K, B) of draws that no step has seen.

        Their noise is the same after each round and for each family, which makes the difference
        more exact than the bounds are. It is another for each batch of images, as the error of a
        mean over images takes them as independent.
        """
        with torch.no_grad(), self.noise.private(f"draws of local bounds {which}"):
            q = self.posterior.eval()(self.features)
            log_weight = log_weights(self.model, self.x, q, samples=self.options.samples)
        if not log_weight.mean(0).isfinite().all():
            raise NonFiniteError(
                f"the ELBO of an image under its own {type(self.posterior).__name__} is not "
                f"finite after a round at the learning rate {self.options.lr:g}: give a smaller one"
            )
        return log_weight


def _of_path(terms: Terms) -> Tensor:
    """Return log w (K, B) with the path gradient, or its own where there is no ∂ log q/∂z."""
    try:
        return terms.log_px + terms.log_pz - terms.log_q_of_path()
    except ConfigError:
        return terms.log_weight
