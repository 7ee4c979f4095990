"""A training step against its bare matrix products and against a plain PyTorch loop.

The network of the recipe zoltowski-mnist (784-500-500-20-500-500-784) at batch 100. Targets: at
most 1.7 times the time of the bare matrix products, at least 1.3 times as fast as the plain loop,
and an epoch of training in at most 1.1 times its steps. What was measured is in results/step.md.

    python benchmarks/step.py [--rounds 15] [--epochs 3]
"""

from __future__ import annotations

import resource
import statistics
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from common import interleaved, machine, ratio, table, write_results
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from vaeflow import experiment
from vaeflow.config import Layers, read_recipe
from vaeflow.data import Splits
from vaeflow.nn import FlowParameters
from vaeflow.plugins import load_plugins
from vaeflow.training import Trainer
from vaeflow.training.checks import no_validation
from vaeflow.training.tensorboard import TensorBoard

BATCH = 100
IMAGES = 55_000
SHAPE = (1, 28, 28)
WIDTHS = (784, 500, 500, 40, 20, 500, 500, 784)  # 40: mean and log-variance of 20 latents
BINARY = {
    "binarization": "dynamic",
    "likelihood": "bernoulli",
    "objective": {"name": "elbo", "kl": "sampled"},
}
WORK = {
    "recipe": {},
    "identity": {**BINARY, "posterior": {"name": "identity"}},
    "planar 16": {**BINARY, "posterior": {"name": "planar", "steps": 16}},
    "iaf 4 × 320": {**BINARY, "posterior": {"name": "iaf", "steps": 4, "width": 320}},
}


def floor() -> Callable[[], None]:
    """Return the forward and backward matrix products of one step, and nothing else.

    The gradient in the data is not needed, so the first layer has two products, not three.
    """
    layers = [(a, b) for a, b in pairwise(WIDTHS) if (a, b) != (40, 20)]
    w = [torch.randn(b, a) for a, b in layers]
    x = [torch.randn(BATCH, a) for a, _ in layers]
    g = [torch.randn(BATCH, b) for _, b in layers]

    def products() -> None:
        for i in range(len(layers)):
            torch.mm(x[i], w[i].t())
            torch.mm(g[i].t(), x[i])
            if i:
                torch.mm(g[i], w[i])

    return products


def own_floor(trainer: Trainer) -> Callable[[], None]:
    """Return the products of every linear layer of a model, the flow's included."""
    layers = [m for m in trainer.model.modules() if isinstance(m, nn.Linear | FlowParameters)]
    sizes = [(m.weight.shape[1], m.weight.shape[0]) for m in layers if m.weight is not None]
    w = [torch.randn(b, a) for a, b in sizes]
    x = [torch.randn(BATCH, a) for a, _ in sizes]
    g = [torch.randn(BATCH, b) for _, b in sizes]

    def products() -> None:
        for i, (a, _) in enumerate(sizes):
            torch.mm(x[i], w[i].t())
            torch.mm(g[i].t(), x[i])
            if a != 784:
                torch.mm(g[i], w[i])

    return products


def data() -> Splits:
    """Return random grey images of MNIST's size: the time of a step does not depend on them."""
    x = torch.rand(IMAGES + 5000, *SHAPE, generator=torch.Generator().manual_seed(0))
    return Splits(x[:IMAGES], x[IMAGES:], x[IMAGES:])


def vaeflow_trainer(options: dict[str, object], splits: Splits, epochs: int) -> Trainer:
    """Return the trainer of the recipe with `options` laid over it."""
    plugins = load_plugins()
    layers = Layers()
    layers.add(read_recipe("zoltowski-mnist"), "recipe")
    layers.add({**options, "epochs": epochs, "seed": 1}, "benchmark")
    config = layers.resolve(plugins)
    model = experiment.build(config, plugins, SHAPE)
    make = plugins.require("objective", config.objective.name).load()
    return Trainer(
        model,
        splits.train,
        splits.validation,
        objective=make(**config.objective.options),
        binarization=config.binarization,
        settings=config,
    )


def vaeflow_step(trainer: Trainer) -> Callable[[], None]:
    """Return one step of vaeflow on the next batch of a shuffled epoch."""
    order = torch.randperm(IMAGES).split(BATCH)
    beta = torch.tensor(1.0)
    i = 0

    def step() -> None:
        nonlocal i
        with no_validation():
            trainer.step(order[i % len(order)], beta)
        i += 1

    return step


def plain_step(splits: Splits, *, binary: bool) -> Callable[[], None]:
    """Return one step of the loop that one writes by hand: DataLoader, Adam, loss.item()."""

    class VAE(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(
                nn.Linear(784, 500), nn.Sigmoid(), nn.Linear(500, 500), nn.Sigmoid()
            )
            self.mean, self.log_variance = nn.Linear(500, 20), nn.Linear(500, 20)
            self.decoder = nn.Sequential(
                nn.Linear(20, 500), nn.Sigmoid(), nn.Linear(500, 500), nn.Sigmoid(),
                nn.Linear(500, 784),
            )  # fmt: skip

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.encoder(x)
            mean, log_variance = self.mean(h), self.log_variance(h)
            z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
            logits = self.decoder(z)
            if binary:
                fit = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
            else:
                fit = ((x - torch.sigmoid(logits)) ** 2).sum(-1) / 0.5
            kl = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(-1)
            return (fit + kl).mean()

    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(TensorDataset(splits.train.flatten(1)), batch_size=BATCH, shuffle=True)
    batches = iter(loader)
    losses = []

    def step() -> None:
        nonlocal batches
        try:
            (x,) = next(batches)
        except StopIteration:
            batches = iter(loader)
            (x,) = next(batches)
        if binary:
            x = torch.bernoulli(x)
        loss = model(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    return step


def epoch_overhead(splits: Splits, epochs: int) -> dict[str, float]:
    """Train with default logging and checkpoints; return an epoch's time over its steps' time.

    Also the growth of the process's memory after the first epoch.
    """
    trainer = vaeflow_trainer({}, splits, epochs)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        crew = [
            experiment.MetricsFile(run / "metrics.jsonl"),
            TensorBoard(run, {"recipe": "zoltowski-mnist"}, splits.validation, 10),
            Memory(),
        ]
        store = experiment.Run(run).store
        records = trainer.run(crew, store).records
    seconds = [r["seconds"] for r in records]
    spent = [b - a for a, b in zip([0.0, *seconds], seconds, strict=False)]
    steps = [IMAGES / r["images_per_second"] for r in records]
    memory = crew[-1].megabytes
    # Checkpoints fall between the records, so the whole run is compared, not single epochs.
    return {
        "epoch_over_steps": trainer.progress.seconds / sum(steps),
        "seconds_per_epoch": statistics.median(spent),
        "memory_after_first_epoch_mb": memory[0],
        "memory_after_last_epoch_mb": memory[-1],
    }


class Memory(experiment.Observer):
    """Notes the peak memory of the process after each epoch."""

    def __init__(self) -> None:
        self.megabytes: list[float] = []

    def epoch(self, record: object, model: nn.Module) -> None:
        """Note the peak so far."""
        self.megabytes.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


@click.command()
@click.option("--rounds", default=15, show_default=True, help="Rounds of 20 steps.")
@click.option("--epochs", default=3, show_default=True, help="Epochs of the whole training.")
@click.option("--threads", type=int, help="CPU threads.")
def main(rounds: int, epochs: int, threads: int | None) -> None:
    """Measure and write results/step.json and results/step.md."""
    if threads:
        torch.set_num_threads(threads)
    splits = data()
    trainers = {name: vaeflow_trainer(options, splits, 1) for name, options in WORK.items()}
    contenders: dict[str, Callable[[], None]] = {
        "floor": floor(),
        "plain recipe": plain_step(splits, binary=False),
        "plain identity": plain_step(splits, binary=True),
    }
    for name, trainer in trainers.items():
        contenders[f"own floor {name}"] = own_floor(trainer)
        contenders[f"vaeflow {name}"] = vaeflow_step(trainer)
    times = interleaved(contenders, rounds=rounds, steps=20)
    rows = []
    for name, seconds in times.items():
        if name.startswith("own floor"):
            continue
        row = [
            name,
            f"{1e3 * statistics.median(seconds):.2f}",
            f"{ratio(times, name, 'floor'):.2f}",
        ]
        kind, _, what = name.partition(" ")
        own = f"{ratio(times, name, f'own floor {what}'):.2f}" if kind == "vaeflow" else ""
        plain = f"plain {what}"
        faster = f"{ratio(times, plain, name):.2f}" if kind == "vaeflow" and plain in times else ""
        rows.append([*row, own, faster])
    whole = epoch_overhead(splits, epochs) if epochs else {}
    headings = ["step", "ms", "× floor", "× own floor", "times as fast as plain"]
    markdown = (
        f"# A training step\n\nBatch {BATCH}, 784-500-500-20-500-500-784, float32; medians of "
        f"{rounds} interleaved rounds of 20 steps. Floor: the bare matrix products of the identity "
        f"posterior's step; own floor: those of the row's own layers.\n\n{machine()}\n\n"
        + table(headings, rows)
    )
    if whole:
        markdown += (
            f"\nA whole epoch of the recipe, with validation, TensorBoard and checkpoints, takes "
            f"{whole['epoch_over_steps']:.3f} times its steps "
            f"({whole['seconds_per_epoch']:.2f} s). Peak memory after the first epoch "
            f"{whole['memory_after_first_epoch_mb']:.0f} MB, after epoch {epochs} "
            f"{whole['memory_after_last_epoch_mb']:.0f} MB.\n"
        )
    write_results("step", {"machine": machine(), "seconds": times, "epoch": whole}, markdown)


if __name__ == "__main__":
    main()
