"""The work that the benchmarks time: the network, its data, vaeflow's step and the floors below it.

The network of the recipe zoltowski-mnist, 784-500-500-20-500-500-784 with sigmoids, at batch 100.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn

from vaeflow.config.files import read_recipe
from vaeflow.config.layers import Layers
from vaeflow.data.splits import Splits
from vaeflow.nn.heads import FlowParameters
from vaeflow.plugins.loading import load_plugins
from vaeflow.runs.build import build_model, make
from vaeflow.runtime.validation import no_validation
from vaeflow.training import Trainer, prepare_trainer

BATCH = 100
IMAGES = 55_000
HELD_OUT = 5_000
SHAPE = (1, 28, 28)
PIXELS, HIDDEN, LATENT = 784, 500, 20
WIDTHS = (PIXELS, HIDDEN, HIDDEN, 2 * LATENT, LATENT, HIDDEN, HIDDEN, PIXELS)
STEPS = 16  # planar maps
IAF_STEPS, IAF_WIDTH = 4, 320
BINARY: dict[str, object] = {
    "binarization": "dynamic",
    "likelihood": "bernoulli",
    "objective": {"name": "elbo", "kl": "sampled"},
}
WORK: dict[str, dict[str, object]] = {
    "recipe": {},
    "identity": {**BINARY, "posterior": {"name": "identity"}},
    f"planar {STEPS}": {**BINARY, "posterior": {"name": "planar", "steps": STEPS}},
    f"iaf {IAF_STEPS} × {IAF_WIDTH}": {
        **BINARY,
        "posterior": {"name": "iaf", "steps": IAF_STEPS, "width": IAF_WIDTH},
    },
}


def floor() -> Callable[[], None]:
    """Return the forward and backward matrix products of one step, and nothing else."""
    sizes = [(a, b) for a, b in pairwise(WIDTHS) if (a, b) != (2 * LATENT, LATENT)]
    return _products(sizes, BATCH)


def own_floor(trainer: Trainer, batch: int = BATCH) -> Callable[[], None]:
    """Return the products of every linear layer of a model, the flow's included."""
    layers = [m for m in trainer.model.modules() if isinstance(m, nn.Linear | FlowParameters)]
    sizes = [(m.weight.shape[1], m.weight.shape[0]) for m in layers if m.weight is not None]
    return _products(sizes, batch)


def _products(sizes: list[tuple[int, int]], batch: int) -> Callable[[], None]:
    """Return the products of layers (inputs, outputs): y = xWᵀ, ∂W = gᵀx and ∂x = gW.

    The gradient in the data is not needed, so the first layer has two products, not three.
    """
    w = [torch.randn(b, a) for a, b in sizes]
    x = [torch.randn(batch, a) for a, _ in sizes]
    g = [torch.randn(batch, b) for _, b in sizes]

    def products() -> None:
        for i, (a, _) in enumerate(sizes):
            torch.mm(x[i], w[i].t())
            torch.mm(g[i].t(), x[i])
            if a != PIXELS:
                torch.mm(g[i], w[i])

    return products


def data() -> Splits:
    """Return random grey images of MNIST's size: the time of a step does not depend on them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(IMAGES + HELD_OUT, *SHAPE, generator=generator)
    return Splits(x[:IMAGES], x[IMAGES:], x[IMAGES:])


def vaeflow_trainer(options: dict[str, object], splits: Splits, epochs: int) -> Trainer:
    """Return the trainer of the recipe with `options` laid over it."""
    plugins = load_plugins()
    layers = Layers()
    layers.add(read_recipe("zoltowski-mnist"), "recipe")
    layers.add({**options, "epochs": epochs, "seed": 1}, "benchmark")
    plan = layers.resolve(plugins)
    return prepare_trainer(
        build_model(plan, splits.form),
        splits.train,
        splits.validation,
        objective=make(plan, "objective"),
        binarization=plan.config.binarization,
        settings=plan.config,
    )


def vaeflow_step(trainer: Trainer, batch: int = BATCH) -> Callable[[], float]:
    """Return one step of vaeflow on the next batch of a shuffled epoch, which returns the loss."""
    order = torch.randperm(len(trainer.data.train)).split(batch)
    beta = torch.tensor(1.0)
    i = 0

    def step() -> float:
        nonlocal i
        with no_validation():
            loss = trainer.step(order[i % len(order)], beta)
        i += 1
        return loss.item()

    return step
