"""Alternatives to vaeflow: a loop by hand, Pyro, Pythae, normflows, zuko.

All do the same work: the network of `work.py`, a shuffled DataLoader, a new binarization of each
batch, Adam at 1e-3 with torch's defaults, float32. Where a library offers it, the flow's parameters
come from the features of each image, as vaeflow's do; Pythae's and normflows' are shared by all.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from shared.by_hand import (
    LEARNING_RATE,
    Planar,
    Step,
    batches,
    loop,
    networks,
    plain,
    squared_error,
)
from shared.work import HIDDEN, IAF_STEPS, IAF_WIDTH, LATENT, PIXELS, STEPS
from torch import Tensor, nn
from torch.distributions import Distribution

from vaeflow.runtime.validation import no_validation


def zuko_iaf(images: Tensor) -> Step:
    """Return a step with zuko's MAF, run in the direction that draws in one pass."""
    before = Distribution._validate_args
    zuko = import_module("zuko")
    Distribution.set_default_validate_args(before)  # which importing zuko switches off

    class Flow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.maf = zuko.flows.MAF(
                LATENT, HIDDEN, transforms=IAF_STEPS, hidden_features=(IAF_WIDTH,)
            )

        def forward(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            return self.maf(h).transform.call_and_ladj(z)

    step = plain(flow=Flow)(images)

    def as_its_users() -> float:
        with no_validation():
            return step()

    return as_its_users


def pyro_svi(
    name: str, transforms: Callable[[Any], list[nn.Module]] = lambda _: []
) -> Callable[[Tensor], Step]:
    """Return a function that makes a step of Pyro's SVI, by `Trace_ELBO`.

    Arguments:
        name: for Pyro's parameter store, which the whole process shares.
        transforms: of Pyro's transforms module, the conditional transforms.
    """

    def make(images: Tensor) -> Step:
        pyro = import_module("pyro")
        dist, infer = import_module("pyro.distributions"), import_module("pyro.infer")
        optim = import_module("pyro.optim")
        encoder, head, decoder = networks()
        chain = nn.ModuleList(transforms(dist.transforms))
        q = nn.ModuleList([encoder, head, chain])

        def model(x: Tensor) -> None:
            pyro.module(f"{name} decoder", decoder)
            with pyro.plate("images", len(x)):
                prior = dist.Normal(torch.zeros(len(x), LATENT), torch.ones(len(x), LATENT))
                z = pyro.sample("z", prior.to_event(1))
                pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

        def guide(x: Tensor) -> None:
            pyro.module(f"{name} encoder", q)
            with pyro.plate("images", len(x)):
                h = encoder(x)
                mean, log_variance = head(h).chunk(2, -1)
                base = dist.Normal(mean, torch.exp(0.5 * log_variance)).to_event(1)
                maps = [transform.condition(h) for transform in chain]
                pyro.sample("z", dist.TransformedDistribution(base, maps) if maps else base)

        svi = infer.SVI(model, guide, optim.Adam({"lr": LEARNING_RATE}), infer.Trace_ELBO())
        feed = batches(images)

        def step() -> float:
            x = next(feed)
            return svi.step(x) / len(x)

        return step

    return make


def _pyro_planar(transforms: Any) -> list[nn.Module]:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(HIDDEN, 2 * LATENT + 1)

        def forward(self, h: Tensor) -> tuple[Tensor, ...]:
            w, u, b = self.linear(h).split([LATENT, LATENT, 1], -1)
            return b, u, w

    return [transforms.ConditionalPlanar(Head()) for _ in range(STEPS)]


def _pyro_iaf(transforms: Any) -> list[nn.Module]:
    return [
        transforms.conditional_affine_autoregressive(
            LATENT, HIDDEN, hidden_dims=[IAF_WIDTH], stable=True
        )
        for _ in range(IAF_STEPS)
    ]


def pythae_networks() -> tuple[nn.Module, nn.Module]:
    """Return the encoder and the decoder as Pythae takes them."""
    nets = import_module("pythae.models.nn")
    output = import_module("pythae.models.base.base_utils").ModelOutput
    layers, head, generator = networks()

    class Encoder(nets.BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.head = layers, head

        def forward(self, x: Tensor) -> Any:
            mean, log_variance = self.head(self.layers(x.flatten(1))).chunk(2, -1)
            return output(embedding=mean, log_covariance=log_variance)

    class Decoder(nets.BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = generator

        def forward(self, z: Tensor) -> Any:
            return output(reconstruction=torch.sigmoid(self.layers(z)))

    return Encoder(), Decoder()


def pythae(name: str, config: str, **options: Any) -> Callable[[Tensor], Step]:
    """Return a function that makes a step of a model of Pythae's."""

    def make(images: Tensor) -> Step:
        models = import_module("pythae.models")
        settings = getattr(models, config)(
            input_dim=(PIXELS,), latent_dim=LATENT, reconstruction_loss="bce", **options
        )
        model = getattr(models, name)(settings, *pythae_networks())
        return loop(model, lambda x: model({"data": x}).loss, images)

    return make


def normflows(steps: int) -> Callable[[Tensor], Step]:
    """Return a function that makes a step of normflows' VAE with planar maps."""

    def make(images: Tensor) -> Step:
        nf = import_module("normflows")
        encoder, head, decoder = networks()
        model = nf.NormalizingFlowVAE(
            nf.distributions.DiagGaussian(LATENT, trainable=False),
            nf.distributions.NNDiagGaussian(nn.Sequential(encoder, head)),
            [nf.flows.Planar((LATENT,)) for _ in range(steps)],
            nf.distributions.NNBernoulliDecoder(decoder),
        )

        def loss(x: Tensor) -> Tensor:
            _, log_q, log_p = model(x)
            return log_q.mean() - log_p.mean()

        return loop(model, loss, images)

    return make


_PLANAR, _IAF = f"planar {STEPS}", f"iaf {IAF_STEPS} × {IAF_WIDTH}"
PEERS: dict[str, Callable[[Tensor], Step]] = {
    "plain recipe": plain(squared_error),
    "plain identity": plain(),
    f"plain {_PLANAR}": plain(flow=Planar),
    "Pyro identity": pyro_svi("identity"),
    f"Pyro {_PLANAR}": pyro_svi("planar", _pyro_planar),
    f"Pyro {_IAF}": pyro_svi("iaf", _pyro_iaf),
    "Pythae identity": pythae("VAE", "VAEConfig"),
    f"Pythae {_PLANAR}": pythae("VAE_LinNF", "VAE_LinNF_Config", flows=["Planar"] * STEPS),
    f"Pythae {_IAF}": pythae(
        "VAE_IAF", "VAE_IAF_Config",
        n_made_blocks=IAF_STEPS, n_hidden_in_made=1, hidden_size=IAF_WIDTH,
    ),
    "normflows identity": normflows(0),
    f"normflows {_PLANAR}": normflows(STEPS),
    f"zuko {_IAF}": zuko_iaf,
}  # fmt: skip


def installed(name: str) -> bool:
    """Tell whether the library of a contender is there."""
    library = name.partition(" ")[0]
    return library == "plain" or find_spec(library.lower()) is not None


def peers(images: Tensor) -> dict[str, Step]:
    """Return name -> one step on images (N, …) in [0, 1], for each library that is installed."""
    return {name: make(images) for name, make in PEERS.items() if installed(name)}
