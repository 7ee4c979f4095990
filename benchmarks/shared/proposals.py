"""Ways to the NLL of images: a proposal fitted to each posterior, q, Pythae's, and q's floor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import pairwise

import torch
from shared.common import interleaved
from shared.peers import installed, pythae_networks
from shared.work import HIDDEN, LATENT, PIXELS, SHAPE
from torch import Tensor

from vaeflow.evaluation import ImageBounds, PerImage, evaluate_images
from vaeflow.evaluation.proposals.joint import Joint
from vaeflow.evaluation.proposals.marginal import Marginal, Precision, marginal
from vaeflow.model import VAE
from vaeflow.runtime.frozen import frozen
from vaeflow.runtime.noise import Noise
from vaeflow.runtime.progress import unseen
from vaeflow.runtime.validation import no_validation

BATCH, BLOCK = 100, 1_000  # those of `evaluate`
K = 5_000
TOLERANCE = 0.05
PEER_CHUNKS = (500, 1000)  # of Pythae's batch_size; its better one counts
ONE = f"q, K = {K:,}"
FITTED = f"laplace, tolerance {TOLERANCE}"


@dataclass
class Contender:
    """A way to the NLL of some images; its last call's figures are kept."""

    estimate: Callable[[], Marginal | None]
    images: int
    found: Marginal | None = None

    def __call__(self) -> None:
        with no_validation():
            self.found = self.estimate()


def under_q(model: VAE, x: Tensor, samples: int, batch: int = BATCH) -> Marginal:
    """Return the bound with q as the proposal."""
    return _together([*evaluate_images(model, x, samples=samples, proposal="q", batch=batch)])


def fitted(model: VAE, x: Tensor, tolerance: float, batch: int = BATCH) -> Marginal:
    """Return the NLL by the fitted proposal, and nothing else."""
    precision, parts = Precision(tolerance), []
    for index, images in enumerate(x.split(batch)):
        with Noise(0, model.device, (index,)).private("proposal"), frozen(model), torch.no_grad():
            joint = Joint(model, images, BLOCK, BLOCK)
            parts.append(marginal(joint, "laplace", precision, unseen))
    return _together(parts)


def _together(parts: Sequence[ImageBounds | Marginal]) -> Marginal:
    """Return the figures of several batches as one."""
    return Marginal(
        PerImage.cat([p.nll for p in parts]),
        torch.cat([p.effective_sample_size for p in parts]),
        torch.cat([p.pareto_k for p in parts]),
        torch.cat([p.draws for p in parts]),
    )


def products(latent: int, images: int) -> Contender:
    """Return the decoder's matrix products for K draws of some images: the floor of q."""
    layers = [*pairwise((latent, HIDDEN, HIDDEN, PIXELS))]
    w = [torch.randn(b, a) for a, b in layers]
    x = [torch.randn(BLOCK, a) for a, _ in layers]

    def run() -> None:
        for _ in range(images * K // BLOCK):
            for x_i, w_i in zip(x, w, strict=True):
                torch.mm(x_i, w_i.t())

    return Contender(run, images)


def pythae(x: Tensor) -> dict[str, Contender]:
    """Return Pythae's `get_nll` of networks of this size, its weights as drawn, where it is."""
    if not installed("Pythae"):
        return {}
    models = import_module("pythae.models")
    config = models.VAEConfig(input_dim=SHAPE, latent_dim=LATENT, reconstruction_loss="bce")
    model = models.VAE(config, *pythae_networks()).eval()

    def run(chunk: int) -> None:
        with torch.no_grad():
            model.get_nll(x, n_samples=K, batch_size=chunk)

    return {
        f"Pythae's get_nll, K = {K:,}, batches of {chunk:,}": Contender(partial(run, chunk), len(x))
        for chunk in PEER_CHUNKS
    }


def contenders(model: VAE, x: Tensor, few: int) -> dict[str, Contender]:
    """Return all ways to the NLL of images x (N, …): of the slow ones, for `few` of them."""
    few = min(few, len(x))

    def both() -> None:
        for _ in evaluate_images(model, x, samples=500):
            pass

    ways = {
        FITTED: Contender(partial(fitted, model, x, TOLERANCE), len(x)),
        "vaeflow evaluate, the same and q at K = 500": Contender(both, len(x)),
        "q, K = 500": Contender(partial(under_q, model, x, 500), len(x)),
        ONE: Contender(partial(under_q, model, x, K), len(x)),
    }
    if model.data_shape == SHAPE:
        latent = model.posterior.latent
        ways[f"the decoder's products, K = {K:,}"] = products(latent, few)
        ways |= pythae(x[: min(few, 4)]) if latent == LATENT else {}
    return ways


def timed(ways: Mapping[str, Contender], rounds: int, warm: int = 1) -> dict[str, list[float]]:
    """Return seconds per image in each round, in turns."""
    times = interleaved(ways, rounds=rounds, steps=1, warm=warm)
    return {name: [t / ways[name].images for t in seconds] for name, seconds in times.items()}
