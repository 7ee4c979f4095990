"""Is the flow helping, on scikit-learn's digits? Posteriors beside the diagonal Gaussian, 5 seeds.

    python benchmarks/elbo_digits.py [--seeds 5] [--jobs 2] [--work runs/elbo_digits]

Minutes on two cores. The same command again goes on where it was interrupted; the figures are
in results/elbo_digits.md.
"""

from __future__ import annotations

from pathlib import Path

import click
from shared.grids import compare_grids, remark_option

SETTINGS = (
    "--dataset digits --latent 10 --encoder.hidden 200 --decoder.hidden 200 --batch-size 50 "
    "--epochs 150 --objective.warmup 40 --image-every 0 --no-tensorboard -k 5000"
)
GRIDS = (
    "--posterior identity --posterior planar --vary posterior.steps=4,16",
    "--posterior iaf --vary posterior.steps=2,4",
    "--posterior spline --posterior sylvester",
)


@click.command()
@click.option("--seeds", default="5", show_default=True, help="How many seeds, or which.")
@click.option("--jobs", default=2, show_default=True, help="Runs at a time.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/elbo_digits"))
@remark_option
def main(seeds: str, jobs: int, work: Path, remark: str) -> None:
    """Train, evaluate and compare; write results/elbo_digits.{md,json,png}."""
    compare_grids(
        "elbo_digits",
        "Posteriors on scikit-learn's digits",
        SETTINGS,
        GRIDS,
        work=work,
        options=["--seeds", seeds, "--jobs", str(jobs)],
        script="elbo_digits",
        remark=remark,
    )


if __name__ == "__main__":
    main()
