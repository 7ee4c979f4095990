"""Draws of p(z|x) by Pyro's No-U-Turn sampler (Hoffman & Gelman 2014).

Shapes: C chains, S draws, B examples, L latent size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pyro.infer import MCMC, NUTS
from pyro.ops.stats import effective_sample_size, split_gelman_rubin
from torch import Tensor

from vaeflow.data.examples import Data
from vaeflow.model import VAE
from vaeflow.runtime.progress import Advance, unseen
from vaeflow.runtime.validation import no_validation


def posterior_draws(
    model: VAE, x: Data, start: Tensor, *, draws: int, warmup: int, progress: Advance = unseen
) -> Tensor:
    """Return draws of p(z|x) of each example, (C, S, B, L), by C chains that begin at `start`.

    All chains of all examples move in one trajectory over C · B · L dimensions, whose law is the
    product of their posteriors: an evaluation passes through the decoder once for all of them.

    Arguments:
        model: frozen, on the device of x.
        x: B examples.
        start: (C, B, L), such as draws of q.
        draws: S.
        warmup: iterations before, in which step size and diagonal mass matrix are adapted.
        progress: called with shares of B.
    """
    prior = model.latent_prior()

    def potential(at: Mapping[str, Tensor]) -> Tensor:
        z = at["z"]
        return -(model.log_px(z, x) + prior.log_prob(z)).sum()

    def advance(kernel: object, samples: object, stage: str, i: int) -> None:
        progress(len(x) / (draws + warmup))

    chains = MCMC(
        NUTS(potential_fn=potential),
        num_samples=draws,
        warmup_steps=warmup,
        initial_params={"z": start.detach().clone()},
        hook_fn=advance,
        disable_progbar=True,
    )
    with no_validation(), torch.enable_grad():
        chains.run()
    found: Tensor = chains.get_samples()["z"].detach().transpose(0, 1)
    return found


def convergence(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Return the split R̂ and the effective sample size of draws (C, S, *), each (*)."""
    values: Any = draws.double()
    return split_gelman_rubin(values, 0, 1), effective_sample_size(values, 0, 1)
