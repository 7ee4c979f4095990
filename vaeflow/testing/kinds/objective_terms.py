"""Terms of a bound, made up for the checks of an objective: any q, any p(z), any log p(x|z).

Shapes: K samples, B batch, L latent size. Densities are in nats.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.distributions.draw import Draw, draw
from vaeflow.distributions.flow import Flow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.errors import ConfigError
from vaeflow.terms import DrawPath, Terms
from vaeflow.testing.probes import normal
from vaeflow.testing.registered import MakePart

# log p(x|z) (K, B) of the draws z (K, B, L) and of their log q(z) − log p(z) (K, B).
LogLikelihood = Callable[[Tensor, Tensor], Tensor]


class _Stretch:
    """The map z -> e^a z, with its log-determinant L·a."""

    def __init__(self, a: float) -> None:
        self.a = a

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        stretched = z * torch.tensor(self.a, dtype=z.dtype).exp()
        return stretched, z.new_full(z.shape[:-1], self.a * z.shape[-1])

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        back = _Stretch(-self.a)(z)[0]
        return back, z.new_full(z.shape[:-1], self.a * z.shape[-1])


def gaussian(
    loc: Tensor, log_variance: Tensor, *, flow: bool = False, a: float = 0.4
) -> Distribution:
    """Return N(loc, diag exp(log_variance)), or the same law as a flow, of log-determinant L·a."""
    if not flow:
        return DiagonalNormal(loc, log_variance)
    return Flow(DiagonalNormal(loc * torch.tensor(-a).exp(), log_variance - 2 * a), [_Stretch(a)])


def standard(latent: int, dtype: torch.dtype = torch.float64) -> Distribution:
    """Return the prior N(0, I) of L dimensions."""
    zero = torch.zeros(latent, dtype=dtype)
    return DiagonalNormal(zero, zero)


def made_terms(
    q: Distribution,
    samples: int,
    log_px: LogLikelihood,
    prior: Distribution | None = None,
    *,
    seed: int = 3,
) -> Terms:
    """Draw K samples of q (B) and score them, with the noise of the seed; p is N(0, I)."""
    torch.manual_seed(seed)
    sample = draw(q, (samples,))
    prior = prior or standard(sample.z.shape[-1], sample.z.dtype)
    path = DrawPath.of(sample.z)
    log_pz = prior.log_prob(path.z)
    score = log_px(path.z, sample.log_prob - log_pz)
    return Terms(score, log_pz, sample, q, prior, path)


def changed(
    terms: Terms,
    change: Callable[[Tensor], Tensor],
    posterior: Distribution | None = None,
    prior: Distribution | None = None,
) -> Terms:
    """Return the terms with each of their tensors (K, B, …) changed, and with another q or p."""
    z, log_base, log_det = (change(x) for x in terms.sample[:3])
    z0 = None if terms.sample.z0 is None else change(terms.sample.z0)
    return Terms(
        change(terms.log_px),
        change(terms.log_pz),
        Draw(z, log_base, log_det, z0),
        posterior or terms.posterior,
        prior or terms.prior,
    )


def some_terms(
    h: Tensor, samples: int, *, flow: bool = False, log_px: LogLikelihood | None = None
) -> Terms:
    """Return terms at q = N(h₁, exp h₂) for h (B, 2L); by default log p(x|z) = −‖z − 1‖²."""
    loc, log_variance = h.chunk(2, -1)
    return made_terms(
        gaussian(loc, log_variance, flow=flow),
        samples,
        log_px or (lambda z, kl: -(z - 1).square().sum(-1)),
    )


def value_of(objective: Any, terms: Terms, beta: float = 1.0) -> Tensor:
    """Return the objective at a weight β."""
    value: Tensor = objective(terms, torch.tensor(beta, dtype=terms.log_px.dtype))
    return value


def objectives(part: MakePart, *counts: int) -> Iterator[Any]:
    """Yield the objective, then, where K is an option, the objective for these other K."""
    own = part()
    yield own
    if "samples" not in inspect.signature(part).parameters:
        return
    for count in counts:
        if count != own.samples:
            try:
                yield part(samples=count)
            except ConfigError:  # such as a K that is no multiple of something
                continue


def takes_flows(objective: Any) -> bool:
    """Tell whether the objective takes a q of which no KL, mean or entropy is known."""
    try:
        with torch.no_grad():
            value_of(objective, some_terms(normal(2, 4), objective.samples, flow=True))
    except (ConfigError, NotImplementedError, AttributeError):
        return False
    return True


def charge_at_prior(objective: Any, latent: int) -> tuple[float, float]:
    """Return what the objective charges where q is p and the KL is 0, with six standard errors.

    Free bits are charged there; else it is 0.
    """
    zero = torch.zeros(max(16, 400 // objective.samples), latent, dtype=torch.float64)
    with torch.no_grad():
        q = DiagonalNormal(zero, zero)
        charge = -value_of(objective, made_terms(q, objective.samples, lambda z, kl: kl))
    return charge.mean().item(), 6 * charge.std().item() / len(charge) ** 0.5 + 1e-9
