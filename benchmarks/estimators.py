"""The bias and the variance of the gradient of each objective.

Claim: `stl` and `dreg` have the mean gradient of `elbo` and `iwae`, and less variance in the
posterior's parameters, the less the better q fits. Figures are in results/estimators.md.

    python benchmarks/estimators.py [--quick]

One model per posterior, trained on digits for a while; then, for the same images, many gradients of
each objective. The bias is looked for along random directions, in standard errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import click
import torch
from shared.common import machine, table, write_results
from torch import Tensor

import vaeflow
from vaeflow.data.binarization import binarize
from vaeflow.parts.abstract import Objective, Posterior
from vaeflow.parts.datasets.digits import Digits
from vaeflow.parts.decoders.mlp import MLP as Decoder
from vaeflow.parts.encoders.mlp import MLP as Encoder
from vaeflow.parts.likelihoods.bernoulli import Bernoulli
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.parts.objectives.iwae import IWAE, DReG
from vaeflow.parts.objectives.stl import STL
from vaeflow.parts.posteriors.iaf import IAF
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.posteriors.planar import Planar
from vaeflow.parts.priors.normal import Normal

LATENT, WIDTH, IMAGES = 5, 200, 50
DIRECTIONS = 20
POSTERIORS = {
    "identity": lambda: Identity(LATENT, WIDTH),
    "planar, 8 steps": lambda: Planar(LATENT, WIDTH, steps=8),
    "iaf, 2 steps": lambda: IAF(LATENT, WIDTH, steps=2, width=50),
}
# Each plain gradient with the one that leaves its part of mean 0 out.
PAIRS: list[tuple[Objective, Objective]] = [
    (ELBO(), STL()),
    (IWAE(samples=5), DReG(samples=5)),
    (IWAE(samples=50), DReG(samples=50)),
]


@dataclass
class Measured:
    """Gradients of one objective in the parameters of q (φ) and of the rest (θ)."""

    mean: dict[str, Tensor]
    noise: dict[str, float]  # √(trace of the covariance) / ‖mean‖
    projected: Tensor  # (repeats, directions), of φ and θ together


def trained(posterior: Posterior, data: Tensor, epochs: int) -> vaeflow.VAE:
    """Return a model after some epochs of the plain ELBO."""
    shape = tuple(data.shape[1:])
    model = vaeflow.VAE(
        Encoder(shape, hidden=(WIDTH,)),
        posterior,
        Normal(LATENT, shape),
        Decoder(LATENT, shape, hidden=(WIDTH,)),
        Bernoulli(shape),
    )
    vaeflow.fit(model, data, binarization="dynamic", epochs=epochs, device="cpu")
    return model


def measure(model: vaeflow.VAE, x: Tensor, objective: Objective, repeats: int) -> Measured:
    """Take the gradient of the mean over x many times."""
    groups = {
        "φ": [*model.encoder.parameters(), *model.posterior.parameters()],
        "θ": [*model.decoder.parameters()],
    }
    sizes = {name: sum(p.numel() for p in ps) for name, ps in groups.items()}
    generator = torch.Generator().manual_seed(1)
    along = torch.randn(sum(sizes.values()), DIRECTIONS, generator=generator)
    along /= along.norm(dim=0)
    total = torch.zeros(len(along), dtype=torch.float64)
    square = torch.zeros_like(total)
    projected = []
    torch.manual_seed(0)
    for _ in range(repeats):
        value = objective(model(x, objective.samples), torch.ones(())).mean()
        parts = torch.autograd.grad(value, [p for ps in groups.values() for p in ps])
        flat = torch.cat([g.flatten() for g in parts])
        projected.append(flat @ along)
        total += flat
        square += flat.double().square()
    mean = total / repeats
    variance = (square / repeats - mean.square()) * repeats / (repeats - 1)
    means = dict(zip(groups, mean.split([*sizes.values()]), strict=True))
    variances = dict(zip(groups, variance.split([*sizes.values()]), strict=True))
    noise = {g: (variances[g].sum().sqrt() / means[g].norm()).item() for g in groups}
    return Measured(means, noise, torch.stack(projected).double())


def bias(one: Measured, other: Measured) -> float:
    """Return the largest mean difference of the projections, in standard errors.

    The two have the same noise, gradient by gradient, so that most of it cancels.
    """
    difference = one.projected - other.projected
    error = difference.std(0) / len(difference) ** 0.5
    return (difference.mean(0).abs() / error).max().item()


def variance_ratio(path: Measured, plain: Measured, group: str) -> float:
    """Return the variance of the path gradient over that of the plain one."""
    scale = path.mean[group].norm() / plain.mean[group].norm()
    return (path.noise[group] / plain.noise[group] * scale).item() ** 2


@click.command()
@click.option("--quick", is_flag=True, help="A few gradients, to see that it runs; write nothing.")
def main(quick: bool) -> None:
    """Measure all pairs and write results/estimators.md."""
    torch.set_num_threads(1)
    repeats, trainings = (20, (0, 1)) if quick else (400, (0, 100))
    data = Digits().load()
    x = binarize(data.test[:IMAGES], "dynamic")
    rows, figures = [], []
    for (name, make), epochs in product(POSTERIORS.items(), trainings):
        torch.manual_seed(0)
        # Without training, one step: it leaves the flows' start, where they are the identity.
        model = trained(make(), data.train if epochs else data.train[:100], max(epochs, 1))
        for objectives in PAIRS:
            plain, path = (measure(model, x, o, repeats) for o in objectives)
            names = [type(o).__name__.lower() for o in objectives]
            found = {
                "posterior": name,
                "epochs": epochs,
                "K": objectives[0].samples,
                "pair": names,
                "bias_in_standard_errors": bias(path, plain),
                "noise_phi": [plain.noise["φ"], path.noise["φ"]],
                "variance_ratio_phi": variance_ratio(path, plain, "φ"),
                "variance_ratio_theta": variance_ratio(path, plain, "θ"),
            }
            figures.append(found)
            rows.append(
                [
                    name,
                    epochs or 0,
                    f"{names[1]} / {names[0]}",
                    objectives[0].samples,
                    f"{found['bias_in_standard_errors']:.1f}",
                    f"{plain.noise['φ']:.2f}",
                    f"{path.noise['φ']:.2f}",
                    f"{found['variance_ratio_phi']:.3f}",
                    f"{found['variance_ratio_theta']:.2f}",
                ]
            )
            click.echo(rows[-1])
    if quick:
        return
    text = (
        "# Gradients of the objectives: bias and variance\n\n"
        f"Measured by `python benchmarks/estimators.py`: {repeats} gradients of each objective for "
        f"the same {IMAGES} binarized digits, latent size {LATENT}, after one step (0) and after "
        f"{trainings[-1]} epochs. The bias is the largest difference of the two mean gradients "
        f"along {DIRECTIONS} random directions, in standard errors (of {DIRECTIONS}, the largest "
        "is expected around 2; 4 would be a bias). The noise is √(trace of the covariance) over "
        "the norm of the mean, in the parameters φ of q; the ratios are of the path gradient's "
        "variance over the plain one's, in φ and in the decoder's θ.\n\n"
        + table(
            (
                "posterior", "epochs", "objectives", "K", "bias", "noise, plain", "noise, path",
                "variance ratio φ", "variance ratio θ",
            ),
            rows,
        )
        + f"\nMachine: {machine()}.\n"
    )  # fmt: skip
    write_results("estimators", {"machine": machine(), "pairs": figures}, text)


if __name__ == "__main__":
    main()
