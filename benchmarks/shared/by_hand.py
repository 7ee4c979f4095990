"""The training loop that one writes by hand: a DataLoader, Adam with its defaults, loss.item()."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from shared.work import BATCH, HIDDEN, LATENT, PIXELS, STEPS
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

Step = Callable[[], float]  # takes one step and returns the loss, in nats per image
LEARNING_RATE = 1e-3


def networks() -> tuple[nn.Sequential, nn.Linear, nn.Sequential]:
    """Return the encoder, the head of mean and log σ², and the decoder, drawn in this order."""
    encoder = nn.Sequential(
        nn.Linear(PIXELS, HIDDEN), nn.Sigmoid(), nn.Linear(HIDDEN, HIDDEN), nn.Sigmoid()
    )
    head = nn.Linear(HIDDEN, 2 * LATENT)
    decoder = nn.Sequential(
        nn.Linear(LATENT, HIDDEN), nn.Sigmoid(), nn.Linear(HIDDEN, HIDDEN), nn.Sigmoid(),
        nn.Linear(HIDDEN, PIXELS),
    )  # fmt: skip
    return encoder, head, decoder


def batches(images: Tensor, batch: int = BATCH, *, binary: bool = True) -> Iterator[Tensor]:
    """Yield shuffled batches (B, 784) without end, each binarized anew if `binary`."""
    loader = DataLoader(TensorDataset(images.flatten(1)), batch_size=batch, shuffle=True)
    while True:
        for (x,) in loader:
            yield torch.bernoulli(x) if binary else x


def loop(
    model: nn.Module,
    loss: Callable[[Tensor], Tensor],
    images: Tensor,
    *,
    binary: bool = True,
    batch: int = BATCH,
    device: torch.device | str = "cpu",
) -> Step:
    """Return one step of the loop that one writes by hand, of a model on the device."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    feed = batches(images, batch, binary=binary)

    def step() -> float:
        value = loss(next(feed).to(device))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value.item()

    return step


def cross_entropy(logits: Tensor, x: Tensor) -> Tensor:
    """Return −log p(x|z) of a Bernoulli, shape (B,)."""
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


def squared_error(logits: Tensor, x: Tensor) -> Tensor:
    """Return Σ(x − sigmoid)²/0.5, the recipe's fit, shape (B,)."""
    return ((x - torch.sigmoid(logits)) ** 2).sum(-1) / 0.5


def log_ratio(z: Tensor, z0: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return log q0(z0) − log p(z), shape (B,): the sampled KL before the log-determinants."""
    log_q0 = -0.5 * ((z0 - mean) ** 2 / log_variance.exp() + log_variance)
    return (log_q0 + 0.5 * z**2).sum(-1)


class VAE(nn.Module):
    """The VAE written by hand, from x (B, 784) to the mean loss.

    Arguments:
        fit: −log p(x|z) of the decoder's output.
        flow: maps (z0, h) to (z, Σ log|det|); without one the KL is analytic.
    """

    def __init__(
        self, fit: Callable[[Tensor, Tensor], Tensor], flow: Callable[[], nn.Module] | None = None
    ) -> None:
        super().__init__()
        self.encoder, self.head, self.decoder = networks()
        self.fit = fit
        self.flow = flow() if flow else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.encoder(x)
        mean, log_variance = self.head(h).chunk(2, -1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        if self.flow is None:
            kl = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(-1)
        else:
            z0 = z
            z, log_det = self.flow(z0, h)
            kl = log_ratio(z, z0, mean, log_variance) - log_det
        return (self.fit(self.decoder(z), x) + kl).mean()


class PlanarMap(nn.Module):
    """A planar map whose w, u and b a linear head emits for each image.

    Rezende & Mohamed 2015, eqs. 10-12 and appendix A.1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(HIDDEN, 2 * LATENT + 1)

    def forward(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        w, u, b = self.head(h).split([LATENT, LATENT, 1], -1)
        wu = (w * u).sum(-1, keepdim=True)
        u_hat = u + (F.softplus(wu) - 1 - wu) * w / (w**2).sum(-1, keepdim=True)
        a = torch.tanh((w * z).sum(-1, keepdim=True) + b)
        psi = (1 - a**2) * w
        return z + u_hat * a, torch.log(torch.abs(1 + (psi * u_hat).sum(-1)))


class Planar(nn.Module):
    """The usual loop over planar maps."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.ModuleList(PlanarMap() for _ in range(STEPS))

    def forward(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        log_det = torch.zeros_like(z[:, 0])
        for planar in self.maps:
            z, term = planar(z, h)
            log_det = log_det + term
        return z, log_det


def plain(
    fit: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    flow: Callable[[], nn.Module] | None = None,
) -> Callable[[Tensor], Step]:
    """Return a function that makes a step of the VAE written by hand."""

    def make(images: Tensor) -> Step:
        model = VAE(fit, flow)
        return loop(model, model, images, binary=fit is cross_entropy)

    return make
