"""The test-set NLL by importance sampling, against the decoder's bare matrix products.

Claim: an image's NLL with K = 5,000 samples takes at most 1/0.6 of the decoder's own matrix
products, and a fraction of the time of Pythae's `get_nll`, in memory that does not grow with K. The
figures are in results/nll.md.

    pip install -e '.[peers]'
    python benchmarks/nll.py [--rounds 7] [--samples 5000]

The network of the recipe zoltowski-mnist (784-500-500-20-500-500-784), its weights as drawn: the
time does not depend on them.
"""

from __future__ import annotations

import resource
import statistics
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise

import click
import torch
from shared.common import interleaved, machine, ratio, table, write_results
from shared.peers import installed, pythae_networks
from shared.work import SHAPE, WORK, data, vaeflow_trainer

from vaeflow.evaluation import evaluate
from vaeflow.model import VAE
from vaeflow.runtime.validation import no_validation

DECODER = (20, 500, 500, 784)
PEER_CHUNKS = (100, 500, 1000, 5000)  # of Pythae's batch_size; its best one counts


def floor(samples: int, images: int, chunk: int) -> Callable[[], None]:
    """Return the decoder's matrix products for all samples of some images, chunk by chunk."""
    layers = [*pairwise(DECODER)]
    w = [torch.randn(b, a) for a, b in layers]
    x = [torch.randn(chunk, a) for a, _ in layers]

    def products() -> None:
        for _ in range(images * samples // chunk):
            for x_i, w_i in zip(x, w, strict=True):
                torch.mm(x_i, w_i.t())

    return products


def vaeflow_nll(model: VAE, x: torch.Tensor, samples: int) -> Callable[[], None]:
    """Return the evaluation of vaeflow, at its own chunk size."""

    def run() -> None:
        with no_validation():
            evaluate(model, x, samples=samples)

    return run


def pythae_nll(x: torch.Tensor, samples: int, chunk: int) -> Callable[[], None] | None:
    """Return Pythae's `get_nll` of the same network, or None without Pythae."""
    if not installed("Pythae"):
        return None
    models = import_module("pythae.models")
    config = models.VAEConfig(input_dim=SHAPE, latent_dim=20, reconstruction_loss="bce")
    model = models.VAE(config, *pythae_networks()).eval()

    def run() -> None:
        with torch.no_grad():
            model.get_nll(x, n_samples=samples, batch_size=chunk)

    return run


def megabytes() -> float:
    """Return the peak memory of the process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@click.command()
@click.option("--rounds", default=7, show_default=True, help="Rounds of one call each.")
@click.option("--samples", default=5000, show_default=True, help="K.")
@click.option("--images", default=4, show_default=True, help="Images of a call.")
@click.option("--threads", type=int, help="CPU threads.")
def main(rounds: int, samples: int, images: int, threads: int | None) -> None:
    """Measure and write results/nll.json and results/nll.md."""
    if threads:
        torch.set_num_threads(threads)
    splits = data()
    x = (splits.test[:images] > 0.5).float()
    models = {name: vaeflow_trainer(WORK[name], splits, 1).model for name in WORK}
    memory = [megabytes()]
    for k in (samples, 4 * samples):
        vaeflow_nll(models["planar 16"], x[:1], k)()
        memory.append(megabytes())
    contenders = {"floor": floor(samples, images, 1000)}
    contenders |= {f"vaeflow {n}": vaeflow_nll(m, x, samples) for n, m in models.items()}
    peers = {c: pythae_nll(x, samples, c) for c in PEER_CHUNKS}
    contenders |= {f"Pythae, chunk {c}": run for c, run in peers.items() if run is not None}
    times = interleaved(contenders, rounds=rounds, steps=1)
    best = min(
        (n for n in times if n.startswith("Pythae")), key=lambda n: min(times[n]), default=""
    )
    rows = []
    for name, seconds in times.items():
        share = 1 / ratio(times, name, "floor")
        faster = f"{ratio(times, best, name):.2f}" if best and name.startswith("vaeflow") else ""
        spent = f"{1e3 * statistics.median(seconds) / images:.1f}"
        rows.append([name, spent, f"{share:.0%}", faster])
    headings = ["NLL", "ms per image", "of the products' speed", f"times as fast as {best or 'it'}"]
    text = (
        f"# NLL by {samples:,} importance samples\n\n"
        f"Measured by `python benchmarks/nll.py`: medians of {rounds} interleaved rounds of "
        f"{images} images, one call each. Floor: the decoder's matrix products alone.\n\n"
        + table(headings, rows)
        + f"\nPeak memory of the process before {memory[0]:.0f} MB, after one image with K = "
        f"{samples:,} {memory[1]:.0f} MB, with K = {4 * samples:,} {memory[2]:.0f} MB.\n"
        + f"\nMachine: {machine()}.\n"
    )
    figures = {"machine": machine(), "seconds": times, "memory_mb": memory, "images": images}
    write_results("nll", figures, text)


if __name__ == "__main__":
    main()
