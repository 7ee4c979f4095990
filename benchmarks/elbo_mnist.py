"""Is the flow helping, on dynamically binarized MNIST? Posteriors beside the diagonal Gaussian.

    python benchmarks/elbo_mnist.py [--epochs 30] [--seeds 5] [--limit 2000]

The network is 784-500-500-20 with ReLU. All runs have the same budget, at which all have left the
steep part of their curves. The NLL is the model's, on the first test images; beside it stands the
bound under q, so that the table tells how much of a difference was the proposal's. The same command
again goes on where it was interrupted; the figures are in results/elbo_mnist.md.
"""

from __future__ import annotations

from pathlib import Path

import click
from shared.grids import compare_grids, remark_option

GRIDS = (
    "--posterior identity --posterior planar --posterior iaf --posterior realnvp "
    "--posterior sylvester",
)
NETWORK = "--latent 20 --encoder.hidden 500,500 --decoder.hidden 500,500"


@click.command()
@click.option("--epochs", default=30, show_default=True, help="Of each run.")
@click.option("--seeds", default="5", show_default=True, help="How many seeds, or which.")
@click.option("--jobs", default=1, show_default=True, help="Runs at a time.")
@click.option("--limit", default=2000, show_default=True, help="Test images, the first ones.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/elbo_mnist"))
@remark_option
def main(epochs: int, seeds: str, jobs: int, limit: int, work: Path, remark: str) -> None:
    """Train, evaluate and compare; write results/elbo_mnist.{md,json,png}."""
    compare_grids(
        "elbo_mnist",
        "Posteriors on dynamically binarized MNIST, 784-500-500-20",
        f"--dataset mnist --binarization dynamic {NETWORK} --epochs {epochs} "
        "--objective.warmup 3 --image-every 0 --no-tensorboard --test-samples 10 --threads 1 "
        f"--limit {limit}",
        GRIDS,
        work=work,
        options=["--seeds", seeds, "--jobs", str(jobs)],
        script="elbo_mnist",
        remark=remark,
    )


if __name__ == "__main__":
    main()
