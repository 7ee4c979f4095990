"""The latent codes of examples: means or draws of q(z|x), after all maps of its flow.

Shapes: N examples, D draws, L latent size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vaeflow.data.examples import Examples
from vaeflow.data.memory import free_memory
from vaeflow.distributions.draw import draw
from vaeflow.errors import ConfigError
from vaeflow.model import VAE
from vaeflow.runtime.blame import Blame
from vaeflow.runtime.frozen import frozen
from vaeflow.runtime.noise import Noise
from vaeflow.runtime.progress import Advance, unseen
from vaeflow.runtime.ranks import ALONE, World

BATCH = 100  # examples; the noise of a batch is a function of the seed and of its number
_ROWS = 10_000  # draws times examples at a time
_COPIES = 6  # of the draws at once: batch by batch, in one, in the order of a file, and as a file


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
        ConfigError: if the draws take more than the memory that is free.
        PluginError: naming the part that fails.
    """
    _check_memory(model, len(data) * world.count, draws)
    each = (draws, model.posterior.latent) if draws else (model.posterior.latent,)
    z = torch.zeros(len(data), *each, dtype=model.dtype)
    log_q = torch.zeros(len(data), draws, dtype=model.dtype) if draws else None
    for number in world.part(torch.arange(math.ceil(len(data) / BATCH))).tolist():
        rows = slice(number * BATCH, (number + 1) * BATCH)
        found, scores = _batch(model, data[rows], number, draws, seed)
        z[rows] += found
        if log_q is not None and scores is not None:
            log_q[rows] += scores
        progress(len(found))
    return world.sum(z), None if log_q is None else world.sum(log_q)


def _check_memory(model: VAE, examples: int, draws: int) -> None:
    """Check that D draws of z with log q have room in main memory.

    Raises:
        ConfigError: if they have not, with how many would.
    """
    each = _COPIES * examples * (model.posterior.latent + 1) * model.dtype.itemsize
    free = free_memory(torch.device("cpu"))
    if draws and draws * each > free:
        most = free // each
        cure = f"take {most} or fewer" if most else "give fewer examples"
        raise ConfigError(
            f"--draws {draws} needs {draws * each / 2**30:,.3g} GiB of memory for {examples:,} "
            f"examples, and {free / 2**30:,.3g} GiB are free: {cure}"
        )


def encode_rows(model: VAE, data: Examples, rows: Sequence[int], *, seed: int = 0) -> Tensor:
    """Return the means (R, L) of some rows that `encode_examples` returns among those of all."""
    found = []
    for row in rows:
        first = row - row % BATCH
        z, _ = _batch(model, data[first : first + BATCH], first // BATCH, 0, seed)
        found.append(z[row - first])
    return torch.stack(found)


def _batch(
    model: VAE, some: Examples, number: int, draws: int, seed: int
) -> tuple[Tensor, Tensor | None]:
    """Return the codes of a batch by the noise of its number, and of draws log q."""
    some = some.read().to(model.device)
    with (
        Blame(model, None).at(lambda: "in encoding", "take the CPU, as in --device cpu"),
        frozen(model),
        torch.no_grad(),
        Noise(seed, model.device, (number,)).private("codes"),
    ):
        if not draws:
            return model.encode(some).cpu(), None
        q, step = model.infer(some), max(1, _ROWS // len(some))
        found = [draw(q, (min(step, draws - done),)) for done in range(0, draws, step)]
        z = torch.cat([sample.z for sample in found])
        log_q = torch.cat([sample.log_prob for sample in found])
        return z.transpose(0, 1).cpu(), log_q.transpose(0, 1).cpu()
