"""The randomness of a run: every stream is a function of the seed, or saved with the run."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor


def derived_seed(seed: int, *purpose: object) -> int:
    """Return a 63-bit seed for one purpose, unrelated to the seeds of other purposes."""
    digest = hashlib.sha256("/".join(map(str, (seed, *purpose))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Noise:
    """The streams of one run on one device.

    torch's distributions draw from the global generator, so the run owns the generator while it
    lasts and puts it back at its end. A part may draw from the global generators of Python and
    NumPy as well, which are owned alike. The order of the images has a stream of its own per epoch.

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
        """Own the global generators: seeded, or as `states` left them."""
        with self._forked("noise"):
            for name, state in (states or {}).items():
                if name == "cpu":
                    torch.set_rng_state(state)
                elif name in _TWISTERS:
                    _put_back(name, state)
                elif name == "cuda":  # absent if the run was saved on another device
                    for device in self._cuda:
                        torch.cuda.set_rng_state(state, device)
            yield

    @contextmanager
    def private(self, purpose: str) -> Iterator[None]:
        """Draw from the same stream at each use, leaving the run's untouched."""
        with self._forked(purpose):
            yield

    def states(self) -> dict[str, Tensor]:
        """Return the states of the global generators, for a checkpoint."""
        states = {"cpu": torch.get_rng_state(), **twisters()}
        for device in self._cuda:
            states["cuda"] = torch.cuda.get_rng_state(device)
        return states

    def check(self, states: Mapping[str, Tensor]) -> None:
        """Check that states can be loaded, without loading them.

        Raises:
            ValueError: naming one that no generator of its kind has.
        """
        for name, state in states.items():
            try:
                if name in _TWISTERS:
                    _put_back(name, state, random.Random(), np.random.RandomState())
                elif name == "cpu" or (name == "cuda" and self._cuda):
                    torch.Generator(name).set_state(state)
            except (RuntimeError, TypeError, ValueError, OverflowError):
                raise ValueError(f"the state {name!r} is no generator's") from None

    @contextmanager
    def _forked(self, purpose: str) -> Iterator[None]:
        """Seed the global generators for one purpose, and put them back at the end."""
        seed = derived_seed(self.seed, purpose, *self.stream)
        python, numpy = random.getstate(), np.random.get_state(legacy=False)
        with torch.random.fork_rng(self._cuda):
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            try:
                yield
            finally:
                random.setstate(python)
                np.random.set_state(numpy)

    def order(self, epoch: int, n: int) -> Tensor:
        """Return the order of n images in an epoch, on the device."""
        generator = torch.Generator(self.device)
        generator.manual_seed(derived_seed(self.seed, "order", epoch))
        return torch.randperm(n, generator=generator, device=self.device)


_TWISTERS = ("python", "numpy")  # the global generators of `random` and `numpy.random`
_WORDS = 624  # of the state of a Mersenne twister


def twisters() -> dict[str, Tensor]:
    """Return the states of Python's and NumPy's global generators, each an int64 tensor (627,).

    They are 624 words, the position among them, whether a normal draw is kept for the next call,
    and the bits of that draw.
    """
    _, (*words, at), kept = random.getstate()
    found = {"python": _packed(words, at, kept is not None, kept or 0.0)}
    state: Any = np.random.get_state(legacy=False)
    if state["bit_generator"] == "MT19937":  # a program may have put another one in its place
        inner = state["state"]
        found["numpy"] = _packed(inner["key"], inner["pos"], state["has_gauss"], state["gauss"])
    return found


def _packed(words: object, at: int, keeps: bool, kept: float) -> Tensor:
    rest = [at, int(keeps), np.float64(kept).view(np.int64)]
    return torch.from_numpy(np.concatenate([np.asarray(words, dtype=np.int64), rest]))


def _put_back(name: str, packed: Tensor, python: Any = random, numpy: Any = np.random) -> None:
    words, (at, keeps, bits) = packed[:_WORDS].tolist(), packed[_WORDS:].tolist()
    if not (0 <= at <= _WORDS and keeps in (0, 1) and 0 <= min(words) <= max(words) < 2**32):
        raise ValueError("no state of a Mersenne twister")  # NumPy would read beyond its words
    kept = float(np.int64(bits).view(np.float64))
    if name == "python":
        python.setstate((3, (*words, at), kept if keeps else None))
    else:
        numpy.set_state(("MT19937", np.array(words, dtype=np.uint32), at, keeps, kept))
