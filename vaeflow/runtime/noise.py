"""The randomness of a run: every stream is a function of the seed, or saved with the run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


def derived_seed(seed: int, *purpose: object) -> int:
    """Return a 63-bit seed for one purpose, unrelated to the seeds of other purposes."""
    digest = hashlib.sha256("/".join(map(str, (seed, *purpose))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Noise:
    """The streams of one run on one device.

    torch's distributions draw from the global generator, so the run owns the generator while it
    lasts and puts it back at its end. The order of the images has a stream of its own per epoch.

    Arguments:
        stream: numbers that set the noise of one rank apart; the order is the same on all ranks.
    """

    def __init__(self, seed: int, device: torch.device, stream: tuple[int, ...] = ()) -> None:
        self.seed = seed
        self.device = device
        self.stream = stream
        self._cuda = [device] if device.type == "cuda" else []

    @contextmanager
    def owned(self, states: Mapping[str, Tensor] | None = None) -> Iterator[None]:
        """Own the global generator: seeded, or as `states` left it."""
        with torch.random.fork_rng(self._cuda):
            torch.manual_seed(derived_seed(self.seed, "noise", *self.stream))
            if states:
                torch.set_rng_state(states["cpu"])
                for device in self._cuda:
                    if "cuda" in states:  # absent if the run was saved on another device
                        torch.cuda.set_rng_state(states["cuda"], device)
            yield

    @contextmanager
    def private(self, purpose: str) -> Iterator[None]:
        """Draw from the same stream at each use, leaving the run's untouched."""
        with torch.random.fork_rng(self._cuda):
            torch.manual_seed(derived_seed(self.seed, purpose, *self.stream))
            yield

    def states(self) -> dict[str, Tensor]:
        """Return the state of the global generator, for a checkpoint."""
        states = {"cpu": torch.get_rng_state()}
        for device in self._cuda:
            states["cuda"] = torch.cuda.get_rng_state(device)
        return states

    def order(self, epoch: int, n: int) -> Tensor:
        """Return the order of n images in an epoch, on the device."""
        generator = torch.Generator(self.device)
        generator.manual_seed(derived_seed(self.seed, "order", epoch))
        return torch.randperm(n, generator=generator, device=self.device)
