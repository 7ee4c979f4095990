"""The NLL of a model: a fitted proposal against q, at the same images.

Question: is an image's NLL to an error of 0.05 nats lower than the bound under q at K = 5,000, and
what share of its time does it take? A fifth is the aim. The figures are in results/nll.md: it is
lower for all runs there, and takes more than a fifth.

    pip install -e '.[peers]'
    python benchmarks/nll.py [--run PATH …] [--latent L …] [--epochs 10] [--images 200]

Given runs are measured as they are. Where none is given, and for each --latent, the posteriors
identity and planar are trained on MNIST, networks 784-500-500-L of ReLU, and kept in --work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click
import torch
from shared.common import RESULTS, machine, ratio, table, write_results
from shared.proposals import (
    FITTED,
    ONE,
    TOLERANCE,
    Contender,
    K,
    contenders,
    fitted,
    timed,
    under_q,
)
from shared.training import test_images, trained
from shared.work import HIDDEN, LATENT
from torch import Tensor

from vaeflow import VAE, load
from vaeflow.evaluation import PerImage
from vaeflow.evaluation.pareto import UNRELIABLE
from vaeflow.evaluation.proposals.marginal import Marginal

LARGE = 50_000
SETTINGS = {
    "dataset": {"name": "mnist", "validation": 5000},
    "encoder": {"hidden": [HIDDEN, HIDDEN]},
    "decoder": {"hidden": [HIDDEN, HIDDEN]},
    "binarization": "dynamic",
    "likelihood": "bernoulli",
    "objective": {"name": "elbo", "kl": "sampled", "warmup": 3.0},
    "test_samples": 10,
    "tensorboard": False,
    "seed": 0,
}
POSTERIORS: dict[str, dict[str, Any]] = {
    "identity": {"name": "identity"},
    "planar": {"name": "planar", "steps": 16},
}
SWEEP_K = (10, 50, 200, 500, 2_000, K, 20_000, LARGE)  # of the picture
SWEEP_TOLERANCES = (0.5, 0.2, 0.1, TOLERANCE, 0.02)
BATCHES = (1, 10, 100)


def described(found: Marginal, best: Marginal) -> dict[str, Any]:
    """Return what the estimates of images tell, and how far they lie above the fitted one's."""
    n, nll = len(found.draws), found.nll.over_images
    above = found.nll - PerImage(best.nll.values[:n], best.nll.errors[:n])
    return {
        "images": n,
        "nll": nll.mean,
        "monte_carlo_error": nll.monte_carlo_error,
        "above_fitted": above.over_images.mean,
        "above_fitted_error": above.monte_carlo_error,
        "share_unreliable": (found.pareto_k > UNRELIABLE).double().mean().item(),
        "median_error": found.nll.errors.median().item(),
        "median_ess": found.effective_sample_size.median().item(),
        "mean_draws": found.draws.double().mean().item(),
    }


@dataclass
class Measured:
    """All figures of a run."""

    seconds: dict[str, list[float]]  # per image, of each round
    figures: dict[str, dict[str, Any]]
    sweep: list[dict[str, Any]]  # of the picture

    def rows(self, run: str) -> list[list[str]]:
        """Return the rows of the table."""
        return [self._row(run, name) for name in (*self.seconds, *self._large)]

    @property
    def _large(self) -> list[str]:
        return [name for name in self.figures if name not in self.seconds]

    def _row(self, run: str, name: str) -> list[str]:
        f = self.figures.get(name)
        cells = [""] * 6
        if f is not None:
            difference = f"{f['above_fitted']:+.2f} ± {f['above_fitted_error']:.2f}"
            cells = [
                f"{f['nll']:.2f} ± {f['monte_carlo_error']:.3f}" + self._few(f),
                "" if name == FITTED else difference,
                f"{f['share_unreliable']:.0%}",
                f"{f['median_error']:.3f}",
                f"{f['median_ess']:,.0f}",
                f"{f['mean_draws']:,.0f}",
            ]
        if name in self.seconds:
            cells += [
                f"{1e3 * median(self.seconds[name]):.1f}", f"{ratio(self.seconds, name, ONE):.2f}"
            ]  # fmt: skip
        else:  # once, for the picture
            cells += [f"{1e3 * f['seconds']:.0f}" if f else "", ""]
        return [run, name, *cells]

    def _few(self, f: Mapping[str, Any]) -> str:
        whole = self.figures[FITTED]["images"]
        return "" if f["images"] == whole else f" ({f['images']} images)"


def measure(model: VAE, x: Tensor, rounds: int, few: int) -> Measured:
    """Measure all ways, and those of the picture once, on fewer images."""
    ways = contenders(model, x, few)
    seconds = timed(ways, rounds)
    best = ways[FITTED].found
    assert best is not None
    figures = {n: described(w.found, best) for n, w in ways.items() if w.found is not None}
    small = x[:few]
    points = {
        f"q, K = {k:,}": Contender(partial(under_q, model, small, k), len(small)) for k in SWEEP_K
    }
    points |= {
        f"laplace, tolerance {t}": Contender(partial(fitted, model, small, t), len(small))
        for t in SWEEP_TOLERANCES
    }
    once = timed(points, 1, warm=0)
    sweep = []
    for name, way in points.items():
        assert way.found is not None
        sweep.append({"name": name, "seconds": once[name][0], **described(way.found, best)})
        if name not in figures and name == f"q, K = {LARGE:,}":
            figures[name] = sweep[-1]
    return Measured(seconds, figures, sweep)


def scan(model: VAE, x: Tensor, rounds: int) -> dict[str, list[float]]:
    """Time q by K, and the fitted proposal, by the images of a batch."""
    ways = {}
    for batch in BATCHES:
        images = x[: max(batch, 10)]
        for k in (500, K):
            call = partial(under_q, model, images, k, batch)
            ways[f"{batch}|q, K = {k:,}"] = Contender(call, len(images))
        call = partial(fitted, model, images, TOLERANCE, batch)
        ways[f"{batch}|{FITTED}"] = Contender(call, len(images))
    return timed(ways, rounds)


def picture(measured: Mapping[str, Measured], path: Path) -> None:
    """Draw the NLL against the time of an image, a panel for each of the first two runs."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    shown = dict([*measured.items()][:2])
    figure, axes = plt.subplots(1, len(shown), figsize=(4 * len(shown), 3.3), squeeze=False)
    for ax, (run, one) in zip(axes[0], shown.items(), strict=True):
        for kind, marker in (("q", "o"), ("laplace", "s")):
            points = [p for p in one.sweep if p["name"].startswith(kind)]
            ax.errorbar(
                [1e3 * p["seconds"] for p in points], [p["nll"] for p in points],
                yerr=[2 * p["monte_carlo_error"] for p in points],
                marker=marker, markersize=4, capsize=2, linewidth=1,
                label="q, K = 10 to 50,000" if kind == "q" else "fitted, tolerance 0.5 to 0.02",
            )  # fmt: skip
        ax.set(xscale="log", xlabel="ms per image", title=run)
        ax.grid(alpha=0.3)
    axes[0][0].set_ylabel("NLL, nats")
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def report(measured: Mapping[str, Measured], scanned: Mapping[str, list[float]], how: str) -> None:
    """Write results/nll.md, .json and .png."""
    RESULTS.mkdir(exist_ok=True)
    picture(measured, RESULTS / "nll.png")
    headings = [
        "run", "NLL by", "nats ± error of the draws", "above the fitted one's", "k̂ > 0.7",
        "error of an image", "ESS", "draws", "ms per image", f"time over q's, K = {K:,}",
    ]  # fmt: skip
    rows = [row for run, one in measured.items() for row in one.rows(run)]
    names = [*dict.fromkeys(key.split("|")[1] for key in scanned)]
    per_batch = [
        [batch, *(f"{1e3 * median(scanned[f'{batch}|{name}']):.1f}" for name in names)]
        for batch in BATCHES
    ]
    text = (
        f"# The NLL of a model, and the bound under q\n\n{how}\n\n"
        "Differences are paired by image; the error is that of the draws. Error of an image and "
        "ESS are medians, draws a mean. A time is the median of the rounds, a ratio of times the "
        "median of the ratios within a round; without a ratio the time was taken once.\n\n"
        + table(headings, rows)
        + f"\n![NLL against the time of an image](nll.png)\n\n*The same images for all points of "
        "a panel; bars are two errors of the draws.*\n\n## Images of a batch\n\n"
        f"ms per image, of {next(iter(measured))}:\n\n"
        + table(["images of a batch", *names], per_batch)
    )
    runs = {name: vars(one) for name, one in measured.items()}
    write_results("nll", {"machine": machine(), "runs": runs, "batches": dict(scanned)}, text)


@click.command()
@click.option("--run", "runs", multiple=True, type=click.Path(exists=True, path_type=Path))
@click.option("--latent", "latents", multiple=True, type=int, help="Train with L; may be repeated.")
@click.option("--epochs", default=10, show_default=True, help="Of the runs that are trained.")
@click.option("--images", default=200, show_default=True, help="Test images.")
@click.option("--few", default=20, show_default=True, help="Of them, for what is slow.")
@click.option("--rounds", default=5, show_default=True, help="Rounds of one call each.")
@click.option("--threads", default=1, show_default=True, help="CPU threads.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/nll"))
def main(
    runs: tuple[Path, ...], latents: tuple[int, ...], epochs: int, images: int, few: int,
    rounds: int, threads: int, work: Path,
) -> None:  # fmt: skip
    """Measure and write results/nll.{md,json,png}."""
    torch.set_num_threads(threads)
    sizes = latents or (() if runs else (LATENT, 50))
    paths = [*runs]
    for size in sizes:
        settings = {**SETTINGS, "latent": size, "epochs": epochs}
        for name, posterior in POSTERIORS.items():
            path = work / f"{name}-L{size}"
            paths.append(trained(path, settings=settings, posterior=posterior))
    measured = {}
    for path in paths:
        measured[path.name] = measure(load(path), test_images(path, images), rounds, few)
        click.echo(f"{path.name} is measured", err=True)
    scanned = scan(load(paths[0]), test_images(paths[0], max(BATCHES)), rounds)
    own = f" Those named by L were trained for {epochs} epochs by the script." if sizes else ""
    how = (
        f"Measured by `python benchmarks/nll.py`: runs on MNIST, their first {images} test images, "
        f"{rounds} interleaved rounds.{own} Machine: {machine()}."
    )
    report(measured, scanned, how)


if __name__ == "__main__":
    main()
