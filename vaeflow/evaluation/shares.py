"""An evaluation whose batches are shared among ranks.

Shapes: N examples.
"""

from __future__ import annotations

from typing import Any

import torch

from vaeflow.config.way import ProposalKind
from vaeflow.data.examples import Examples
from vaeflow.evaluation.bounds import ImageBounds
from vaeflow.evaluation.estimates import PerImage
from vaeflow.evaluation.measure import BATCH, evaluate_images
from vaeflow.evaluation.proposals.marginal import Precision
from vaeflow.model import VAE
from vaeflow.runtime.progress import Advance, unseen
from vaeflow.runtime.ranks import World

_BOUNDS = ("elbo", "log_px", "kl", "nll", "under_q")
_TENSORS = ("draws", "effective_sample_size", "pareto_k")


def evaluate_shared(
    model: VAE,
    data: Examples,
    world: World,
    *,
    samples: int,
    proposal: ProposalKind,
    precision: Precision,
    chunk: int | None = None,
    seed: int = 0,
    progress: Advance = unseen,
) -> ImageBounds:
    """Return the bounds on N examples that `evaluate_images` yields, without squared errors.

    Each rank takes its share of the batches; all return the same, which one process returns too.
    """
    numbers = torch.zeros(2 * len(_BOUNDS) + len(_TENSORS), len(data), dtype=torch.float64)
    done = world.rank * BATCH
    for part in evaluate_images(
        model,
        data,
        samples=samples,
        proposal=proposal,
        precision=precision,
        chunk=chunk,
        seed=seed,
        world=world,
        progress=progress,
    ):
        numbers[:, done : done + len(part)] = _stacked(part)
        done += world.count * BATCH
    found = _unstacked(world.sum(numbers))
    return found if data.weight is None else found.weighted(data.weight)


def _stacked(part: ImageBounds) -> torch.Tensor:
    """Return the numbers of each example as the rows of one tensor."""
    bounds: list[PerImage] = [getattr(part, name) for name in _BOUNDS]
    rows = [row for bound in bounds for row in (bound.values, bound.errors)]
    return torch.stack([row.double() for row in (*rows, *(getattr(part, n) for n in _TENSORS))])


def _unstacked(numbers: torch.Tensor) -> ImageBounds:
    """Return the bounds that such a tensor holds."""
    count = len(_BOUNDS)
    pairs = numbers[: 2 * count].unflatten(0, (count, 2))
    each = zip(_BOUNDS, pairs, strict=True)
    bounds: dict[str, Any] = {name: PerImage(*pair.unbind()) for name, pair in each}
    rest = dict(zip(_TENSORS, numbers[2 * count :], strict=True))
    rest["draws"] = rest["draws"].long()
    return ImageBounds(**bounds, **rest, squared_error=None)
