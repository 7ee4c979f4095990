"""Other libraries' flows under the checks that every posterior of vaeflow passes.

Claim: the checks of `vaeflow.testing` tell a flow whose density is wrong from one whose density is
right, whoever wrote it. The verdicts are in results/audit.md.

    pip install -e '.[dev,peers]'
    python benchmarks/audit.py [--only NAME …]

Each flow is wrapped as its library means it to be used: two layers after a Gaussian that comes from
the features, conditioned on the features too where the library offers that.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from typing import Any

import click
import torch
from shared.common import machine, table, write_results
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, TransformedDistribution

from vaeflow.distributions.flow import Flow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.parts.abstract import Posterior
from vaeflow.testing import Check, NotApplicable, checks

LAYERS = 2
WIDTHS = (16, 16)
# Whether the density is that of the draws; the other checks are of batches and numerics.
DENSITY = (
    "log_q_matches_the_jacobian",
    "keeps_its_orientation",
    "covers_the_plane_once",
    "weights_average_to_one",
)


class Conditional(Posterior):
    """Pyro's transforms after a Gaussian, conditioned on the features where they can be."""

    make: Callable[[int, int], nn.Module]

    def __init__(self, latent: int, features: int) -> None:
        super().__init__(latent, features)
        self.head = nn.Linear(features, 2 * latent)
        self.layers = nn.ModuleList(type(self).make(latent, features) for _ in range(LAYERS))

    def forward(self, h: Tensor) -> Distribution:
        loc, log_scale = self.head(h).chunk(2, -1)
        base = Independent(Normal(loc, log_scale.exp()), 1)
        chain = [t.condition(h) if hasattr(t, "condition") else t for t in self.layers]
        return TransformedDistribution(base, chain)


class Shared(Posterior):
    """Layers z -> (z, log|det|) of normflows or Pythae, whose parameters all images share."""

    make: Callable[[int], nn.Module]

    def __init__(self, latent: int, features: int) -> None:
        super().__init__(latent, features)
        self.head = nn.Linear(features, 2 * latent)
        self.layers = nn.ModuleList(type(self).make(latent) for _ in range(LAYERS))

    def forward(self, h: Tensor) -> Distribution:
        base = DiagonalNormal(*self.head(h).chunk(2, -1))
        return Flow(base, [lambda z, layer=layer: _flat(layer, z) for layer in self.layers])


class Zuko(Posterior):
    """A flow of zuko's, conditioned on the features, in the direction that draws in one pass."""

    make: Callable[[int, int], nn.Module]

    def __init__(self, latent: int, features: int) -> None:
        super().__init__(latent, features)
        self.flow = type(self).make(latent, features)

    def forward(self, h: Tensor) -> Distribution:
        flow = self.flow(h)
        return type(flow)(flow.transform.inv, flow.base)


def _flat(layer: nn.Module, z: Tensor) -> tuple[Tensor, Tensor]:
    """Call a layer that takes one batch dimension."""
    out = layer(z.reshape(-1, z.shape[-1]))
    y, log_det = (out.out, out.log_abs_det_jac) if hasattr(out, "out") else out
    return y.reshape(z.shape), log_det.reshape(z.shape[:-1])


def _pyro(name: str, *args: Any, **options: Any) -> Any:
    def make(latent: int, features: int) -> nn.Module:
        transforms = import_module("pyro.distributions.transforms")
        if name.startswith("conditional_"):
            return getattr(transforms, name)(latent, features, *args, **options)
        return getattr(transforms, name)(latent, *args, **options)

    return make


def _zuko(name: str, **options: Any) -> Any:
    def make(latent: int, features: int) -> nn.Module:
        validation = Distribution._validate_args
        flows = import_module("zuko.flows")
        Distribution.set_default_validate_args(validation)  # which importing zuko switches off
        return getattr(flows, name)(latent, features, **options)

    return make


def _normflows(name: str) -> Any:
    return lambda latent: getattr(import_module("normflows.flows"), name)((latent,))


def _pythae(name: str) -> Any:
    def make(latent: int) -> nn.Module:
        flows = import_module("pythae.models.normalizing_flows")
        return getattr(flows, name)(getattr(flows, f"{name}Config")(input_dim=(latent,)))

    return make


_STEPS = {"transforms": LAYERS, "hidden_features": WIDTHS}
# zuko's CNF solves an ODE for each number and takes minutes: vaeflow-zuko's own tests check it.
# name -> library, how to wrap it, how to make a layer or a flow, its solver's error.
SUBJECTS: dict[str, tuple[str, type, Any, float]] = {
    "planar": ("pyro-ppl", Conditional, _pyro("conditional_planar"), 1e-9),
    "radial": ("pyro-ppl", Conditional, _pyro("conditional_radial"), 1e-9),
    "IAF": ("pyro-ppl", Conditional, _pyro("conditional_affine_autoregressive"), 1e-9),
    "Householder": ("pyro-ppl", Conditional, _pyro("conditional_householder"), 1e-9),
    "neural autoregressive": (
        "pyro-ppl", Conditional, _pyro("conditional_neural_autoregressive"), 1e-6,
    ),
    "spline autoregressive": (
        "pyro-ppl", Conditional, _pyro("conditional_spline_autoregressive"), 1e-9,
    ),
    "Sylvester": ("pyro-ppl", Conditional, _pyro("Sylvester", count_transforms=2), 1e-9),
    "planar (normflows)": ("normflows", Shared, _normflows("Planar"), 1e-9),
    "radial (normflows)": ("normflows", Shared, _normflows("Radial"), 1e-9),
    "planar (Pythae)": ("pythae", Shared, _pythae("PlanarFlow"), 1e-9),
    "radial (Pythae)": ("pythae", Shared, _pythae("RadialFlow"), 1e-9),
    "MAF": ("zuko", Zuko, _zuko("MAF", **_STEPS), 1e-9),
    "NSF": ("zuko", Zuko, _zuko("NSF", **_STEPS), 1e-9),
    "NICE": ("zuko", Zuko, _zuko("NICE", **_STEPS), 1e-9),
    "NAF": ("zuko", Zuko, _zuko("NAF", **_STEPS), 1e-9),
    "UNAF": ("zuko", Zuko, _zuko("UNAF", **_STEPS), 1e-4),
    "BPF": ("zuko", Zuko, _zuko("BPF", **_STEPS), 1e-9),
    "SOSPF": ("zuko", Zuko, _zuko("SOSPF", **_STEPS), 1e-9),
}  # fmt: skip


def part(name: str) -> type[Posterior]:
    """Return a library's flow as a posterior."""
    _, wrapper, make, tolerance = SUBJECTS[name]
    return type(name, (wrapper,), {"make": staticmethod(make), "tolerance": tolerance})


def judge(posterior: type[Posterior], asked: Sequence[Check]) -> dict[str, str]:
    """Return check -> "" if it passes, else its message."""
    found = {}
    for check in asked:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the libraries, about each other
                check(posterior)
        except NotApplicable:
            continue
        except Exception as error:
            found[check.name] = " ".join(f"{error or type(error).__name__}".split())
        else:
            found[check.name] = ""
    return found


def verdict(found: dict[str, str]) -> str:
    """Say in words whether the density is that of the draws."""
    wrong = [found[name] for name in DENSITY if found.get(name)]
    return f"**wrong**: {'; '.join(wrong)}" if wrong else "right"


@click.command()
@click.option("--only", multiple=True, type=click.Choice([*SUBJECTS]), help="Audit these alone.")
def main(only: tuple[str, ...]) -> None:
    """Audit the flows that are installed and write results/audit.md."""
    torch.set_num_threads(1)
    rows, figures = [], {}
    for name in only or SUBJECTS:
        library = SUBJECTS[name][0]
        try:
            version = metadata.version(library)
        except metadata.PackageNotFoundError:
            click.echo(f"{name}: {library} is not installed, so that it is left out")
            continue
        found = judge(part(name), checks("posterior"))
        others = [name for name, said in found.items() if said and name not in DENSITY]
        click.echo(f"{name}: {verdict(found)}; {others}")
        rows.append(
            [
                name.partition(" (")[0],
                f"{library} {version}",
                f"{SUBJECTS[name][3]:g}",
                verdict(found),
                ", ".join(f"`{name}`" for name in others) or "none",
            ]
        )
        figures[name] = {"library": f"{library} {version}", "checks": found}
    if only:
        return
    text = (
        "# Other libraries' flows under the contract of a posterior\n\n"
        "Measured by `python benchmarks/audit.py`. Each flow has two layers after a Gaussian that "
        "comes from the features (zuko's: its own base) and parameters redrawn far from where they "
        "start. Right means that log q is that of the draws: against autograd's Jacobian in "
        "float64, by integration over the plane, and by Monte Carlo. The relative error allowed "
        "for is what a flow's own solver or constant leaves. The last column lists the other "
        "checks that fail, of batches, gradients, saturation and half precision, which a library "
        "need not promise; [the contracts](../../docs/contracts.md#posterior) tell what each "
        "looks at.\n\n"
        + table(("flow", "library", "allowed", "density", "other checks that fail"), rows)
        + f"\nMachine: {machine()}.\n"
    )
    write_results("audit", {"machine": machine(), "flows": figures}, text)


if __name__ == "__main__":
    main()
