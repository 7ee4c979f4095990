"""Is the fitted proposal's NLL right? Annealed importance sampling as its referee.

Claim: the two agree within two errors for all posteriors. Annealing knows nothing of q or of the
fitted proposal. Its bound is loose by an amount that simulated images tell: there it bounds
log p(x) from both sides. The figures are in results/referee.md.

    python benchmarks/referee.py [--run PATH …] [--images 100] [--temperatures 1000] [--chains 8]

Given runs are measured as they are; by default identity, planar, iaf, spline and mixture are
trained on scikit-learn's digits and kept in --work.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch
from shared.common import machine, table, write_results
from shared.proposals import TOLERANCE, fitted
from shared.training import test_images, trained
from torch import Tensor

from vaeflow import VAE, load
from vaeflow.diagnosis.annealing import Annealing, annealed, annealed_backwards
from vaeflow.diagnosis.calibration import simulate
from vaeflow.evaluation import PerImage

POSTERIORS = ("identity", "planar", "iaf", "spline", "mixture")
SETTINGS = {
    "dataset": "digits",
    "encoder": {"hidden": [200]},
    "decoder": {"hidden": [200]},
    "latent": 10,
    "batch_size": 50,
    "objective": {"name": "elbo", "kl": "sampled", "warmup": 10.0},
    "test_samples": 10,
    "tensorboard": False,
    "seed": 0,
}


@dataclass(frozen=True)
class Refereed:
    """The NLL of the same images in two ways, and how loose annealing is on simulated ones."""

    nll: PerImage
    annealing: PerImage  # from above, as the NLL is
    gap: PerImage  # of simulated images: the bound on log p(x) from above less that from below

    @property
    def difference(self) -> PerImage:
        """Return how far annealing lies above the NLL."""
        return self.annealing - self.nll

    @property
    def error(self) -> float:
        """Return the error of the mean difference: of both draws, and of annealing's looseness."""
        draws, loose = self.difference.monte_carlo_error, self.gap.over_images
        return float((draws**2 + loose.mean**2 + loose.standard_error**2) ** 0.5)

    def row(self, run: str) -> list[str]:
        """Return the row of the table."""
        cells = [
            f"{part.over_images.mean:.3f} ± {part.monte_carlo_error:.3f}"
            for part in (self.nll, self.annealing, self.difference)
        ]
        mean = self.difference.over_images.mean
        looseness = f"{self.gap.over_images.mean:+.3f} ± {self.gap.over_images.standard_error:.3f}"
        return [run, *cells, looseness, f"{mean / self.error:+.1f}"]

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers, for JSON."""
        parts = {"nll": self.nll, "annealing": self.annealing, "gap_simulated": self.gap}
        return {
            name: {"values": one.values.tolist(), "errors": one.errors.tolist()}
            for name, one in parts.items()
        }


def referee(model: VAE, x: Tensor, options: Annealing, simulated: int) -> Refereed:
    """Measure images x (N, …) of a model in both ways."""
    nll = fitted(model, x, TOLERANCE).nll
    z, own = simulate(model, simulated)
    below, above = annealed(model, own, options), annealed_backwards(model, own, z, options)
    return Refereed(nll, -annealed(model, x, options).log_px, above.log_px - below.log_px)


@click.command()
@click.option("--run", "runs", multiple=True, type=click.Path(exists=True, path_type=Path))
@click.option("--epochs", default=60, show_default=True, help="Of the runs that are trained.")
@click.option("--images", default=100, show_default=True, help="Test images.")
@click.option("--simulated", default=100, show_default=True, help="Images drawn from the model.")
@click.option("--temperatures", default=1000, show_default=True, help="Of annealing.")
@click.option("--chains", default=8, show_default=True, help="Of annealing.")
@click.option("--threads", default=1, show_default=True, help="CPU threads.")
@click.option("--name", default="referee", show_default=True, help="Of the results.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/referee"))
def main(
    runs: tuple[Path, ...], epochs: int, images: int, simulated: int, temperatures: int,
    chains: int, threads: int, name: str, work: Path,
) -> None:  # fmt: skip
    """Measure and write results/NAME.{md,json}."""
    torch.set_num_threads(threads)
    make = partial(trained, settings={**SETTINGS, "epochs": epochs})
    paths = runs or tuple(make(work / p, posterior=p) for p in POSTERIORS)
    options = Annealing(temperatures=temperatures, chains=chains)
    found = {}
    for path in paths:
        found[path.name] = referee(load(path), test_images(path, images), options, simulated)
        click.echo(" | ".join(found[path.name].row(path.name)), err=True)
    headings = [
        "run", "NLL, fitted proposal", "annealing", "annealing above it by",
        "annealing's gap, simulated images", "in errors",
    ]  # fmt: skip
    text = (
        f"# Annealing as the referee of the NLL\n\nMeasured by `python benchmarks/referee.py`: "
        f"{images} test images, {temperatures:,} temperatures and {chains} chains of each; nats "
        f"per image. Machine: {machine()}.\n\n± of the first three is the error of the draws. On "
        f"{simulated} images that the model made itself, annealing bounds log p(x) from both "
        "sides; the gap between them, ± its standard error over images, is how loose it may be. "
        "The last column divides the difference by the error of all three.\n\n"
        + table(headings, [one.row(run) for run, one in found.items()])
    )
    figures = {run: one.as_dict() for run, one in found.items()}
    write_results(name, {"machine": machine(), "runs": figures}, text)


if __name__ == "__main__":
    main()
