"""A training whose data stays in its file, beside one whose data is in memory.

Claim: for images of 64 × 64 on two cores, a training on a memory-mapped file, of which the next
batch is read while a step works, keeps at least 90 % of the throughput of one on data in memory.
The figures are in results/large_data.md.

    python benchmarks/large_data.py [--rounds 9 --steps 40 --images 50000]

The contenders take turns, with the same weights, batches and noise. The file is in the system's
cache: what a disk adds is told by its own speed.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import click
import numpy as np
import torch
from shared.common import interleaved, machine, ratio, table, write_results

import vaeflow
from vaeflow.config.settings import Settings
from vaeflow.data.stored import Stored, Values
from vaeflow.training import Trainer, feed, prepare_trainer

SHAPE, BATCH = (1, 64, 64), 100
NETWORKS = ("conv", "mlp")
IN_FILE = "bytes in a file"


def trainer(network: str, x: Values) -> Trainer:
    """Return the trainer of a network on images, which stay in their file if they lie there."""
    torch.manual_seed(0)
    model = vaeflow.build(SHAPE, encoder=network, decoder=network)
    before = feed.fits
    feed.fits = lambda nbytes, device: False  # as if the memory were full
    try:
        settings = Settings(batch_size=BATCH, device="cpu", epochs=1)
        return prepare_trainer(model, x, binarization="dynamic", settings=settings)
    finally:
        feed.fits = before


def batches(made: Trainer) -> Iterator[torch.Tensor]:
    """Yield the batches of one epoch after another."""
    for epoch in itertools.count():
        order = made.noise.order(epoch, len(made.data.train))
        yield from (batch for batch in order.split(BATCH) if len(batch) == BATCH)


def stepping(made: Trainer, open_until: ExitStack) -> Callable[[], None]:
    """Return what takes the next step of a training."""
    made.model.train()
    ahead, now = itertools.tee(batches(made))
    advance = open_until.enter_context(feed.following(made.data.train.x, ahead))
    beta = torch.ones(())

    def step() -> None:
        advance()
        made.step(next(now), beta)

    return step


def measured(network: str, path: Path, rounds: int, steps: int) -> dict[str, list[float]]:
    """Return the seconds of a step of each contender in each round."""
    mapped = np.load(path, mmap_mode="r")
    kept = {
        "floats in memory": Stored(np.array(mapped), 255).values(),
        "bytes in memory": Stored(np.array(mapped), 255),
        IN_FILE: Stored(mapped, 255),
    }
    with ExitStack() as open_until:
        each = {name: stepping(trainer(network, x), open_until) for name, x in kept.items()}
        return interleaved(each, rounds=rounds, steps=steps)


@click.command()
@click.option("--rounds", default=9, show_default=True, help="Turns of each contender.")
@click.option("--steps", default=40, show_default=True, help="Steps of a turn.")
@click.option("--images", default=50_000, show_default=True, help="Images of the file.")
def main(rounds: int, steps: int, images: int) -> None:
    """Measure and write results/large_data.json and results/large_data.md."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        file = np.lib.format.open_memmap(path, "w+", np.uint8, (images, *SHAPE))
        random = np.random.RandomState(0)
        for start in range(0, images, 1000):
            part = file[start : start + 1000]
            part[:] = random.randint(0, 256, part.shape)
        times = {network: measured(network, path, rounds, steps) for network in NETWORKS}
    rows = [
        [
            network,
            name,
            f"{BATCH / statistics.median(found):,.0f}",
            f"{100 * ratio(seconds, 'floats in memory', name):.0f} %",
        ]
        for network, seconds in times.items()
        for name, found in seconds.items()
    ]
    text = (
        "# Data in its file\n\nMeasured by `python benchmarks/large_data.py`: medians of "
        f"{rounds} turns of {steps} steps each, of {BATCH} of {images:,} images of 64 × 64, drawn "
        "anew at each visit.\n\n"
        + table(["networks", "images are", "images/s", "of floats in memory"], rows)
        + f"\nMachine: {machine()}.\n"
    )
    write_results("large_data", {"machine": machine(), "seconds": times}, text)


if __name__ == "__main__":
    main()
