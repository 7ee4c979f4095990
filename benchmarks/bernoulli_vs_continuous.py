"""Bernoulli, continuous Bernoulli and Gaussian on grey MNIST: the tutorial's doubt, answered.

The 2017 tutorial wondered why people use cross-entropy on grey pixels. Here one network is trained
with four likelihoods under one budget. Cross-entropy is no density, so that its bound cannot stand
beside the others': all are scored again by the same two densities of the same test images. The
figures are in results/bernoulli_vs_continuous.md.

    python benchmarks/bernoulli_vs_continuous.py [--epochs 10] [--seeds 3] [--jobs 2]

A quarter of an hour on two cores. The same command again goes on where it was interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import click
import torch
from shared.common import RESULTS, machine, table, write_results
from shared.grids import train_grids
from shared.rescoring import CLIP, LARGEST, Scored, estimate, measure
from torch import Tensor

from vaeflow import load
from vaeflow.comparison.differences import Difference, over_seeds
from vaeflow.comparison.places import find
from vaeflow.pictures import grid
from vaeflow.plugins.loading import load_plugins
from vaeflow.runs.build import images_of, load_data
from vaeflow.runtime.noise import Noise

K = 10  # draws of each image: images differ by more than draws
# Grey levels are spread over [0, 1]: of pixels that are always black no density has a bound.
SETTINGS = (
    "--recipe zoltowski-mnist --dequantize 256 --image-every 0 --no-tensorboard "
    f"--test-samples {K} -k {K} --proposal q"
)
GRIDS = (
    # With ReLU the recipe's network is that of Loaiza-Ganem & Cunningham (2019), but for dropout.
    "--likelihood bernoulli --likelihood.grey true --likelihood continuous-bernoulli "
    "--likelihood gaussian --vary likelihood.scale=fixed,optimal "
    "--encoder.activation relu --decoder.activation relu",
    "--likelihood continuous-bernoulli",
)
CROSS_ENTROPY = "cross-entropy"
CONTINUOUS = "continuous Bernoulli"
SIGMOIDS = "continuous Bernoulli, sigmoids"
# Each model's name, and the keys of its configuration that tell it from the others.
MODELS = {
    CROSS_ENTROPY: {"likelihood.name": "vaeflow/bernoulli"},
    CONTINUOUS: {
        "likelihood.name": "vaeflow/continuous-bernoulli",
        "decoder.activation": "relu",
    },
    "Gaussian, σ = ½": {"likelihood.scale": "fixed"},
    "Gaussian, best σ": {"likelihood.scale": "optimal"},
    SIGMOIDS: {
        "likelihood.name": "vaeflow/continuous-bernoulli",
        "decoder.activation": "sigmoid",
    },
}
# Test ELBO on MNIST by Loaiza-Ganem & Cunningham (2019), from the authors' poster.
PUBLISHED = (
    ("trained by continuous Bernoulli", CONTINUOUS, "logits", 1470),
    ("by cross-entropy, with its mean", CROSS_ENTROPY, "continuous", 1416),
    ("by cross-entropy, with its logits", CROSS_ENTROPY, "logits", 1139),
)
SCORES = ("continuous", "gaussian", "squared_error")  # by which the models are compared
DIGITS = 10  # in a row of the picture


def differences(found: Mapping[str, Scored]) -> dict[str, dict[str, Difference]]:
    """Return name -> score above cross-entropy, of the other models of its network."""
    base = found[CROSS_ENTROPY]
    return {
        name: {score: scored.against(base, score) for score in SCORES}
        for name, scored in found.items()
        if name not in (CROSS_ENTROPY, SIGMOIDS)
    }


def answer(found: Mapping[str, Scored]) -> str:
    """Return the findings, as a list of sentences."""
    base, relu, sigmoid = (found[name] for name in (CROSS_ENTROPY, CONTINUOUS, SIGMOIDS))
    densities = {name: scored for name, scored in found.items() if scored is not base}
    mean, gaussian, error = (best(found, score) for score in SCORES)
    said = [
        f"Best under its own density: {best(densities, 'elbo')}. Best of all as a continuous "
        f"Bernoulli: {mean}; as a Gaussian: {gaussian}; in squared error: {error}."
    ]
    for name, by in differences(found).items():
        mean, gaussian, error = (in_words(by[score]) for score in SCORES)
        said.append(
            f"**{name}** rather than cross-entropy: {mean} as a continuous Bernoulli, {gaussian} "
            f"as a Gaussian, {error} in squared error; its KL is {found[name].mean('kl'):.2f}, "
            f"that of cross-entropy {base.mean('kl'):.2f}."
        )
    moved, clipped = (
        estimate(base.figures[f"continuous{how}"] - base.figures[f"logits{how}"])
        for how in ("", ", clipped")
    )
    said.append(
        "The logits of cross-entropy are not those of the continuous Bernoulli: moving them so "
        f"that the mean stays adds {moved:.2f} nats, and {clipped:.2f} where λ is clipped."
    )
    said.append(
        "With the recipe's sigmoid units the code of the continuous Bernoulli holds "
        f"{sigmoid.mean('kl'):.2f} nats in {sigmoid.active_units:.1f} of its dimensions, with ReLU "
        f"{relu.mean('kl'):.2f} in {relu.active_units:.1f}."
    )
    return "".join(f"- {sentence}\n" for sentence in said)


def best(found: Mapping[str, Scored], score: str) -> str:
    """Return the best model in a figure, and the next one if it cannot be told from it."""
    names = sorted(found, key=lambda name: found[name].mean(score).mean)
    first, second = names[:2] if score == "squared_error" else names[:-3:-1]
    d = found[first].against(found[second], score)
    also = "" if d.clear else f" (not clearly ahead of {second})"
    return f"**{first}**, {found[first].mean(score):.2f}{also}"


def in_words(d: Difference) -> str:
    """Return a difference in words, or that there is none to be seen."""
    size = f"{d.mean:+.2f} ± {d.standard_error:.2f}"
    if not d.clear:
        return f"no clear difference ({size})"
    return f"{size.lstrip('+-')} {'higher' if d.mean > 0 else 'lower'}"


def tables(found: Mapping[str, Scored]) -> str:
    """Return the figures under each likelihood, under the same two, and beside published ones."""
    own, same = [], []
    for name, scored in found.items():
        elbo, bits = f"{scored.mean('elbo'):.2f}", f"{scored.bits_per_dimension:.3f}"
        if name == CROSS_ENTROPY:
            elbo, bits = f"({elbo})", "–"
        units, error = f"{scored.active_units:.1f}", f"{scored.mean('squared_error'):.2f}"
        own.append([name, elbo, bits, f"{scored.mean('kl'):.2f}", units, error])
        sigma = f"{over_seeds(scored.sigmas):.4f}"
        both = (f"{scored.mean(score):.2f}" for score in ("continuous", "gaussian"))
        same.append([name, *both, sigma])
    published = [
        [what, *(f"{found[name].mean(s):.2f}" for s in (score, f"{score}, clipped")), number]
        for what, name, score, number in PUBLISHED
    ]
    top = math.log(LARGEST / -math.expm1(-LARGEST))
    return (
        "## Each under its own likelihood\n\nIn brackets what is no ELBO of grey images, as "
        "cross-entropy is no density. The uniform density takes "
        f"{math.log2(found[CROSS_ENTROPY].levels):g} bits/dim. The squared error is that of "
        "E[x|z], summed over an image.\n\n"
        + table(["trained by", "ELBO", "bits/dim", "KL", "active units", "squared error"], own)
        + "\n## All under the same two densities\n\nELBO with each network's own q(z|x) and "
        "E[x|z]: of the continuous Bernoulli that has this mean, and of the Gaussian that has it, "
        "whose σ is the best for the validation images. No mean is taken as nearer to 0 or 1 than "
        "half a grey level, as no pixel's can be. Encoders trained for these densities would raise "
        "the ELBO.\n\n"
        + table(["trained by", "as continuous Bernoulli", "as Gaussian", "σ"], same)
        + "\n## Beside the published figures\n\nELBO under the continuous Bernoulli, and what "
        "Loaiza-Ganem & Cunningham (2019) have of it on their poster. Their code keeps λ within "
        f"[{CLIP:g}, 1 − {CLIP:g}], and so log p of a pixel below {top:.2f} nats; the second "
        "column does so after training. They train on all 60,000 images, with dropout.\n\n"
        + table(["", "here", "λ clipped", "published"], published)
    )


def picture(found: Mapping[str, Scored], path: Path) -> None:
    """Draw test images, and reconstructions and samples by the first run of each model."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt
    from PIL import Image

    plugins = load_plugins()
    plan = found[CROSS_ENTROPY].runs[0].run.plan(plugins)
    x = images_of(load_data(plan), "test", plan.config)[:DIGITS].values
    rows: list[tuple[str, list[Tensor]]] = [("test images", [x])]
    for name, scored in found.items():
        model = load(scored.runs[0].run.path, plugins=plugins)
        with Noise(0, model.device).private("picture"), torch.no_grad():
            zs = (model.infer(x).rsample((1,)), model.latent_prior().sample((1, len(x))))
            rows.append((name, [model.generate(z).mean[0] for z in zs]))
    figure, axes = plt.subplots(len(rows), 2, figsize=(9, 0.37 * len(rows) + 0.3))
    figure.subplots_adjust(left=0.24, right=1, bottom=0, top=0.9, wspace=0.02, hspace=0.06)
    for row, (name, pictures) in zip(axes, rows, strict=True):
        row[0].text(
            -0.02, 0.5, name, transform=row[0].transAxes, ha="right", va="center", fontsize=9
        )
        for ax in row:
            ax.set_axis_off()
        for ax, images in zip(row, pictures, strict=False):  # of test images there are no samples
            ax.imshow(grid(1 - images, len(images))[0].numpy(), cmap="gray", vmin=0, vmax=1)
    for ax, title in zip(axes[0], ("reconstructions", "samples"), strict=True):
        ax.set_title(title, fontsize=9)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    with Image.open(path) as image:  # colours would make the file larger
        image.convert("L").save(path, optimize=True)


def report(found: Mapping[str, Scored], how: str) -> None:
    """Write results/bernoulli_vs_continuous.md, .json and .png."""
    name = "bernoulli_vs_continuous"
    RESULTS.mkdir(exist_ok=True)
    picture(found, RESULTS / f"{name}.png")
    base, versus = found[CROSS_ENTROPY], differences(found)
    seeds = len(base.runs)
    error = f"over {seeds} seeds" if seeds > 1 else "over images, of one seed"
    some = versus[CONTINUOUS]["gaussian"]
    text = (
        f"# Grey pixels: Bernoulli, continuous Bernoulli or Gaussian?\n\n{how}\n\n"
        f"Nats per image over {base.figures['elbo'].shape[1]:,} test images, ± standard error "
        f"{error}. A difference is {some.pairing}; its error covers {some.covers}.\n\n"
        f"{answer(found)}\n![Reconstructions and samples]({name}.png)\n\n"
        "*Means of p(x|z), z drawn from q(z|x) on the left and from the prior on the right.*\n\n"
        f"{tables(found)}"
    )
    models = {
        model: {
            "seeds": [run.seed for run in scored.runs],
            "sigma": list(scored.sigmas),
            "active_units": [run.active_units for run in scored.runs],
            "figures": {n: values.mean(1).tolist() for n, values in scored.figures.items()},
            "over_cross_entropy": {n: asdict(d) for n, d in versus.get(model, {}).items()},
        }
        for model, scored in found.items()
    }
    write_results(name, {"machine": machine(), "models": models}, text)


@click.command()
@click.option("--epochs", default=10, show_default=True, help="Of each run.")
@click.option("--seeds", default="3", show_default=True, help="How many seeds, or which.")
@click.option("--jobs", default=2, show_default=True, help="Runs at a time.")
@click.option(
    "--work", type=click.Path(path_type=Path), default=Path("runs/bernoulli_vs_continuous")
)
def main(epochs: int, seeds: str, jobs: int, work: Path) -> None:
    """Train, score and compare; write results/bernoulli_vs_continuous.{md,json,png}."""
    common = f"{SETTINGS} --epochs {epochs} --seeds {seeds} --jobs {jobs}"
    lines = [f"{line} {common}" for line in GRIDS]
    places = [work / f"grid{i}" for i in range(len(lines))]
    minutes = train_grids(work, places, lines)
    commands = "\n".join(f"    vaeflow benchmark {line}" for line in lines)
    report(
        measure(find(places)[0], MODELS, K),
        "Measured by `python benchmarks/bernoulli_vs_continuous.py`, which runs\n\n"
        f"{commands}\n\nin {minutes:.0f} minutes, and scores the networks again. Machine: "
        f"{machine()}.",
    )


if __name__ == "__main__":
    main()
