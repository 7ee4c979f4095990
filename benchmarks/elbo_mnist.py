"""Is the flow helping, on dynamically binarized MNIST? Two networks, equal budgets, 3 seeds.

    python benchmarks/elbo_mnist.py [--network 500-500-20] [--epochs 20] [--seeds 3]

500-500-20 is the network of the 2017 tutorial, its sigmoids and the way in which it draws weights
included. 200-200-50 is the one-layer network of Burda et al. (2016), who report 86.76 nats for the
VAE, and 85.54 and 84.78 for the IWAE with 5 and 50 samples, after 3,280 epochs of another schedule.
In the first quarter of the epochs the weight of the KL rises from 0, for all alike. The same
command again goes on where it was interrupted; the figures are in results/elbo_mnist_*.md.
"""

from __future__ import annotations

from pathlib import Path

import click
from shared.grids import compare_grids

_NETS = ("encoder", "decoder")
NETWORKS = {  # hidden layers, nonlinearity, how the weights are drawn, and further settings
    "500-500-20": ("500,500", "sigmoid", "truncated-normal", "--latent 20"),
    "200-200-50": ("200,200", "tanh", "glorot", "--latent 50 --start-at-mean"),
}
GRIDS = {
    "500-500-20": ("--posterior identity --posterior planar --posterior iaf",),
    "200-200-50": (
        "--posterior identity --posterior planar --posterior iaf",
        "--posterior identity --objective iwae --vary objective.samples=5,50",
    ),
}


def network_options(network: str) -> str:
    """Return the options of a network, as the command line writes them."""
    hidden, activation, init, more = NETWORKS[network]
    layers = (f"--{kind}.hidden {hidden} --{kind}.activation {activation}" for kind in _NETS)
    inits = (f"--{kind}.init {init}" for kind in (*_NETS, "posterior"))
    return " ".join((more, *layers, *inits))


@click.command()
@click.option("--network", type=click.Choice([*NETWORKS]), default="500-500-20", show_default=True)
@click.option("--epochs", default=20, show_default=True, help="Of each run.")
@click.option("--seeds", default="3", show_default=True, help="How many seeds, or which.")
@click.option("--jobs", default=1, show_default=True, help="Runs at a time.")
@click.option("-k", "samples", default=500, show_default=True, help="K of the bounds under q.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/elbo_mnist"))
def main(network: str, epochs: int, seeds: str, jobs: int, samples: int, work: Path) -> None:
    """Train, evaluate and compare; write results/elbo_mnist_NETWORK.{md,json,png}."""
    compare_grids(
        f"elbo_mnist_{network.replace('-', '_')}",
        f"Posteriors on dynamically binarized MNIST, 784-{network}",
        f"--dataset mnist --binarization dynamic {network_options(network)} --epochs {epochs} "
        f"--objective.warmup {epochs // 4} --image-every 0 --no-tensorboard -k {samples}",
        GRIDS[network],
        work=work / network,
        options=["--seeds", seeds, "--jobs", str(jobs)],
        script="elbo_mnist",
    )


if __name__ == "__main__":
    main()
