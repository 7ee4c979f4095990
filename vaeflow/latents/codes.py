"""The latent codes of examples: means or draws of q(z|x), behind all maps of its flow.

Shapes: N examples, D draws, L latent size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaeflow.data.examples import Examples
from vaeflow.distributions.draw import draw
from vaeflow.model import VAE
from vaeflow.runtime.blame import Blame
from vaeflow.runtime.frozen import frozen
from vaeflow.runtime.noise import Noise
from vaeflow.runtime.progress import Advance, unseen
from vaeflow.runtime.ranks import ALONE, World

BATCH = 100  # examples; the noise of a batch is a function of the seed and of its number
_ROWS = 10_000  # draws times examples at a time


def encode_examples(
    model: VAE,
    data: Examples,
    *,
    draws: int = 0,
    seed: int = 0,
    world: World = ALONE,
    progress: Advance = unseen,
) -> tuple[Tensor, Tensor | None]:
    """Return the mean of q(z|x) of each example (N, L), or draws (N, D, L) with log q (N, D).

    log q is in nats, and scored in the pass that draws. The mean of a flow has no formula: it is
    the average of a hundred draws.

    Arguments:
        model: on the device where it encodes.
        data: the examples.
        draws: D, or 0 for the mean.
        seed: of the noise, which does not depend on the ranks.
        world: each rank takes its share of the batches; all return the same.
        progress: called with the number of examples that are done.

    Raises:
        PluginError: naming the part that fails.
    """
    each = (draws, model.posterior.latent) if draws else (model.posterior.latent,)
    z = torch.zeros(len(data), *each, dtype=model.dtype)
    log_q = torch.zeros(len(data), draws, dtype=model.dtype) if draws else None
    for index in world.part(torch.arange(0, len(data), BATCH)).tolist():
        rows = slice(index, index + BATCH)
        some = data[rows].read().to(model.device)
        noise = Noise(seed, model.device, (index // BATCH,))
        with (
            Blame(model, None).at(lambda: "in encoding", "take the CPU, as in --device cpu"),
            frozen(model),
            torch.no_grad(),
            noise.private("codes"),
        ):
            if log_q is None:
                z[rows] += model.encode(some).cpu()
            else:
                drawn, log_q[rows] = _draws(model, some, draws)
                z[rows] += drawn
        progress(len(some))
    return world.sum(z), None if log_q is None else world.sum(log_q)


def _draws(model: VAE, some: Examples, draws: int) -> tuple[Tensor, Tensor]:
    """Return draws (B, D, L) of q(z|x) and their log q (B, D)."""
    q, step = model.infer(some), max(1, _ROWS // len(some))
    found = [draw(q, (min(step, draws - done),)) for done in range(0, draws, step)]
    z = torch.cat([sample.z for sample in found])
    log_q = torch.cat([sample.log_prob for sample in found])
    return z.transpose(0, 1).cpu(), log_q.transpose(0, 1).cpu()
