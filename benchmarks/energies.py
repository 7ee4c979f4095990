"""Which shapes a posterior can take: every posterior fitted to four energies of the plane.

Claim: with more steps, flow posteriors come closer to U1-U4 of Rezende & Mohamed 2015 (figure 3),
and the strong ones to within hundredths of a nat; on a Gaussian of correlation 0.9, where the best
diagonal Gaussian is 0.830 nats away, iaf and couplings come below 0.01, planar with 4 steps below
0.05. The distances are in results/energies.md.

    python benchmarks/energies.py [--only NAME …] [--plugins] [--quick]

Each posterior, with the constant features h = 1, minimizes KL(q‖p) = E_q[log q − log p] by its own
draws. Every fit is kept, below --runs: an interrupted run goes on where it was, and runs for some
posteriors alone add up. `--quick` makes small fits in seconds, to see that it works.
"""

from __future__ import annotations

import inspect
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image
from shared.common import RESULTS, machine, table, write_results
from torch import Tensor, nn
from torch.distributions import Distribution

from vaeflow.distributions.draw import draw
from vaeflow.distributions.energies import NAMES, Energy, correlated_gaussian, grid
from vaeflow.plugins.loading import load_plugins
from vaeflow.plugins.registry import Part

SIZES = (2, 8, 32)  # of `steps`, or of `components`
GAUSSIAN = "gaussian"
GAUSSIAN_STEPS = 4
WIDTH = 64  # of the networks, which see two numbers
TWICE = 8  # the largest size that is fitted twice
LEARNING_RATE = 0.005
EXTENT = 5.0  # half the width of a picture
SIDE = 100  # its pixels


@dataclass(frozen=True)
class Budget:
    """The cost of a fit: updates, draws per update, and draws that its KL is measured with."""

    updates: int = 1000
    draws: int = 128
    scored: int = 50_000


@dataclass(frozen=True)
class Fit:
    """A posterior of one size on one target."""

    part: Part
    size: int | None  # None where there is nothing to count
    target: str

    @property
    def key(self) -> str:
        """Name it in the results."""
        return _key(label(self.part), self.size, self.target)

    @property
    def density(self) -> Distribution:
        """Return p."""
        return correlated_gaussian() if self.target == GAUSSIAN else Energy(self.target)  # type: ignore[arg-type]

    def build(self) -> nn.Module:
        """Return a new posterior of two latent dimensions and one feature."""
        offered = options(self.part)
        chosen: dict[str, Any] = {} if self.size is None else {sized(self.part): self.size}
        if "width" in offered:
            chosen["width"] = WIDTH
        made: nn.Module = self.part.load()(2, 1, **chosen)
        return made


def options(part: Part) -> set[str]:
    """Return the names of a part's options."""
    return set(inspect.signature(part.load()).parameters)


def sized(part: Part) -> str | None:
    """Return the option that counts a posterior's maps or components, if there is one."""
    return next((name for name in ("steps", "components") if name in options(part)), None)


def label(part: Part) -> str:
    """Name a posterior: plugins' with their distribution."""
    return part.name if part.distribution == "vaeflow" else part.qualified


def fits(part: Part, sizes: tuple[int, ...]) -> list[Fit]:
    """List the targets of a posterior: the energies in all sizes, the Gaussian in one."""
    counts = sizes if sized(part) else (None,)
    found = [Fit(part, size, target) for size in counts for target in NAMES]
    return [*found, Fit(part, GAUSSIAN_STEPS if sized(part) else None, GAUSSIAN)]


def optimize(module: nn.Module, p: Distribution, budget: Budget, warmup: float) -> None:
    """Minimize KL(q‖p) by Adam, the target warmed up over a part of the updates.

    The paper anneals as well, E_q[log q − β log p] with β from 0.01 on: a flow that has found one
    mode before it has seen the others does not look for them. The rate falls to 0 as a cosine.
    """
    optimizer = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, budget.updates)
    for i in range(budget.updates):
        beta = min(1.0, 0.01 + i / (warmup * budget.updates)) if warmup else 1.0
        sample = draw(module(torch.ones(1, 1)), (budget.draws,))
        loss = (sample.log_prob - beta * p.log_prob(sample.z)).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 10.0)
        optimizer.step()
        schedule.step()


@torch.no_grad()
def divergence(module: nn.Module, p: Distribution, budget: Budget) -> tuple[float, float]:
    """Return KL(q‖p) in nats and its standard error, from fresh draws."""
    q, terms = module(torch.ones(1, 1)), []
    for _ in range(-(-budget.scored // 5000)):
        sample = draw(q, (min(5000, budget.scored),))
        terms.append(sample.log_prob - p.log_prob(sample.z))
    kl = torch.cat(terms)
    return kl.mean().item(), kl.std().item() / math.sqrt(kl.numel())


@torch.no_grad()
def portrait(module: nn.Module) -> Tensor:
    """Return q on a grid, (SIDE, SIDE): by its density, or by a histogram of its draws."""
    q = module.double()(torch.ones(1, 1, dtype=torch.float64))
    z = grid(SIDE, EXTENT)
    try:
        return q.log_prob(z.reshape(-1, 1, 2)).exp().reshape(SIDE, SIDE)
    except (NotImplementedError, KeyError):  # Pyro's planar-like transforms raise the latter
        edges = torch.linspace(-EXTENT, EXTENT, SIDE + 1, dtype=torch.float64)
        x, y = draw(q, (200_000,)).z.reshape(-1, 2).unbind(-1)
        counts, _ = torch.histogramdd(torch.stack([y, x], -1), [edges, edges], density=True)
        return counts


def measure(fit: Fit, budget: Budget) -> tuple[dict[str, Any], Tensor]:
    """Fit, with a warm-up and (if small) without; return figures and portrait of the closer one."""
    start, p, tried = time.perf_counter(), fit.density, []
    for warmup in (0.5, 0.0) if (fit.size or 0) <= TWICE else (0.5,):
        torch.manual_seed(0)
        module = fit.build()
        optimize(module, p, budget, warmup)
        tried.append((*divergence(module, p, budget), warmup, module))
    kl, error, warmup, module = min(tried, key=lambda t: t[0])
    figures = {
        "posterior": label(fit.part),
        "size": fit.size,
        "target": fit.target,
        "kl": kl,
        "standard_error": error,
        "warmup": warmup,
        "parameters": sum(x.numel() for x in module.parameters()),
        "seconds": time.perf_counter() - start,
    }
    return figures, portrait(module)


def kept(runs: Path) -> dict[str, dict[str, Any]]:
    """Read the fits made so far, by file name."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(runs.glob("*.json"))
    }


def keep(fit: Fit, figures: dict[str, Any], image: Tensor, runs: Path) -> None:
    """Write the portrait, then the figures, which say that the fit is done."""
    runs.mkdir(parents=True, exist_ok=True)
    np.save(runs / f"{fit.key}.npy", image.float().numpy())
    (runs / f"{fit.key}.json").write_text(json.dumps(figures), encoding="utf-8")


def picture(found: dict[str, dict[str, Any]], runs: Path, path: Path) -> None:
    """Draw the targets over the fits, a row for each posterior, its sizes from left to right."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    on_energies = [f for f in found.values() if f["target"] in NAMES]
    names = ranked(found)
    sizes = sorted({f["size"] for f in on_energies if f["size"]})
    columns = len(sizes) or 1
    width = 0.78 * columns * len(NAMES) + 1.1  # in inches; the names take one of them
    figure = plt.figure(figsize=(width, 0.8 * (len(names) + 1)))
    left = 1.05 / width
    blocks = figure.add_gridspec(
        1, len(NAMES), left=left, right=0.995, top=0.955, bottom=0.005, wspace=0.04
    )
    for target, block in zip(NAMES, blocks, strict=True):
        cells = block.subgridspec(len(names) + 1, columns, wspace=0.03, hspace=0.03)
        p = Energy(target).log_prob(grid(SIDE, EXTENT)).exp()
        middle = columns // 2
        _panel(figure.add_subplot(cells[0, middle]), p, p).set_title(target.upper(), fontsize=11)
        for row, name in enumerate(names, 1):
            for column in range(columns):
                size = sizes[column] if sizes else None
                if (key := _key(name, size, target)) not in found and column == middle:
                    key = _key(name, None, target)
                if key not in found:
                    continue
                # Far out an inverse may leave the range of the numbers: no density there.
                q = np.nan_to_num(np.load(runs / f"{key}.npy"), posinf=0.0)
                axes = _panel(figure.add_subplot(cells[row, column]), q, p)
                kl, count = found[key]["kl"], found[key]["size"]
                style = {"color": "white", "fontsize": 6.5, "transform": axes.transAxes}
                axes.text(0.04, 0.96, f"{kl:.2f}", va="top", **style)
                if count:
                    axes.text(0.96, 0.96, f"K={count}", ha="right", va="top", **style)
    height = 0.95 / (len(names) + 1)
    for row, name in enumerate(["target", *names]):
        middle_of_row = 0.955 - (row + 0.5) * height
        figure.text(0.93 * left, middle_of_row, name, ha="right", va="center", fontsize=9)
    figure.savefig(path, dpi=100)
    plt.close(figure)
    _shrink(path)


def _panel(axes: Any, density: Any, target: Tensor) -> Any:
    # One scale for a target and its fits; the square root shows the tails.
    shown = np.sqrt(np.asarray(density, dtype=float) / float(target.max())).clip(0, 1)
    axes.imshow(shown, origin="lower", cmap="magma", vmin=0, vmax=1, interpolation="bilinear")
    axes.set_axis_off()
    return axes


def _shrink(path: Path) -> None:
    """Store a picture in 128 colours."""
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(128)
    small.save(path, optimize=True)


def _key(name: str, size: int | None, target: str) -> str:
    return f"{name.replace('/', '.')} {size or '-'} {target}"


def ranked(found: dict[str, dict[str, Any]]) -> list[str]:
    """Order the posteriors from the farthest to the closest, by their best size on average."""
    best: dict[str, dict[str, float]] = {}
    for f in found.values():
        if f["target"] in NAMES:
            of = best.setdefault(f["posterior"], {})
            of[f["target"]] = min(of.get(f["target"], math.inf), f["kl"])
    return sorted(best, key=lambda name: -sum(best[name].values()) / len(best[name]))


def report(found: dict[str, dict[str, Any]], budget: Budget) -> str:
    """Return the tables."""

    def cell(f: dict[str, Any] | None) -> str:
        return f"{f['kl']:.3f} ± {f['standard_error']:.3f}" if f else ""

    rows = []
    for name in ranked(found):
        own = [f for f in found.values() if f["posterior"] == name]
        for size in sorted({f["size"] for f in own if f["target"] in NAMES}, key=lambda s: s or 0):
            some = [found.get(_key(name, size, target)) for target in NAMES]
            parameters = next(f["parameters"] for f in some if f)
            rows.append([name, size or "", *map(cell, some), f"{parameters:,}"])
    text = (
        "# Which shapes a posterior can take\n\n"
        "Measured by `python benchmarks/energies.py`. KL(q‖p) in nats, ± standard error over "
        f"{budget.scored:,} draws, after {budget.updates:,} updates with {budget.draws} draws "
        f"each, from one seed. Up to K = {TWICE} a fit is made twice, with β warmed up over half "
        "of the updates and without, and the closer one counts; beyond, with the warm-up alone. "
        f"K counts maps, of `mixture` components; networks are {WIDTH} wide. U2 to U4 "
        "stand between walls at ±4 (`vaeflow.distributions.energies`). A fit that leaves out one "
        "of two equal modes is ln 2 = 0.69 away. The error is that of the KL of one fit, not "
        "between fits; what a posterior can be is at most as far, and where a deep one is farther "
        "than a shallow one, it is the optimization that fell short.\n\n"
        + table(["posterior", "K", *(n.upper() for n in NAMES), "parameters"], rows)
        + "\n![Targets and fits](energies.png)\n\nEach row is a posterior, its sizes from left "
        "to right; colours show the square root of the density.\n"
    )
    gaussian = {f["posterior"]: f for f in found.values() if f["target"] == GAUSSIAN}
    if gaussian:
        text += (
            "\n## A Gaussian of correlation 0.9\n\nThe best diagonal Gaussian is "
            f"−½ ln(1 − 0.9²) = {-0.5 * math.log(1 - 0.81):.3f} nats away; flows have "
            f"{GAUSSIAN_STEPS} steps.\n\n"
        )
        order = sorted(gaussian, key=lambda name: -gaussian[name]["kl"])
        text += table(["posterior", *order], [["KL", *(cell(gaussian[n]) for n in order)]])
    return f"{text}\nMachine: {machine()}.\n"


@click.command()
@click.option("--only", multiple=True, metavar="NAME", help="Fit these posteriors alone.")
@click.option("--plugins", is_flag=True, help="Fit the posteriors of installed plugins too.")
@click.option("--quick", is_flag=True, help="Small fits in seconds, reported below --runs.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/energies"))
def main(only: tuple[str, ...], plugins: bool, quick: bool, runs: Path) -> None:
    """Make the fits that are not made yet, smallest first, then report on all that are."""
    torch.set_num_threads(1)
    budget = Budget(updates=20, draws=16, scored=500) if quick else Budget()
    runs = runs / "quick" if quick else runs
    registry = load_plugins().registry
    parts = [registry.get("posterior", name) for name in only] or [
        part for part in registry.parts("posterior") if plugins or part.distribution == "vaeflow"
    ]
    wanted = [fit for part in parts for fit in fits(part, SIZES[:2] if quick else SIZES)]
    for fit in sorted(wanted, key=lambda f: f.size or 0):
        if fit.key in kept(runs):
            continue
        figures, image = measure(fit, budget)
        keep(fit, figures, image, runs)
        click.echo(f"{fit.key}: {figures['kl']:.4f} ± {figures['standard_error']:.4f}")
    found = kept(runs)
    picture(found, runs, (runs if quick else RESULTS) / "energies.png")
    if quick:
        click.echo(report(found, budget))
    else:
        figures = {"machine": machine(), "budget": vars(budget), "fits": [*found.values()]}
        write_results("energies", figures, report(found, budget))


if __name__ == "__main__":
    main()
