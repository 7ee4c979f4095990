"""The pictures and the histograms of a training, made at some epochs for all who show them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vaeflow.errors import VaeflowError, is_interrupt, one_line
from vaeflow.model import VAE

Picture = Callable[[VAE], np.ndarray]  # (H, W) or (H, W, 3), 8 bits each
Numbers = Callable[[VAE], Mapping[str, np.ndarray]]  # name -> (n,), each a histogram
log = logging.getLogger("vaeflow")


@dataclass
class Gallery:
    """What is drawn and measured of a model, and at which epochs. One that fails is left out.

    Attributes:
        pictures: name -> a function of the model.
        every: epochs between pictures, which are drawn after the first as well; 0 for none.
        histograms: name -> a function of the model, at the same epochs.
        seldom: pictures that take long, drawn after 1, 2, 4, 8, … times `every` epochs.
        epochs: of the training, after the last of which those are drawn as well.
    """

    pictures: Mapping[str, Picture] = field(default_factory=dict)
    every: int = 0
    histograms: Mapping[str, Numbers] = field(default_factory=dict)
    seldom: Collection[str] = ()
    epochs: int = 0
    failed: set[str] = field(default_factory=set)

    def drawn(self, epoch: int, model: VAE) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the pictures of an epoch, by name."""
        yield from self._made("picture", self.pictures, epoch, model)

    def measured(self, epoch: int, model: VAE) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the numbers of an epoch, by name."""
        for _, found in self._made("histogram", self.histograms, epoch, model):
            yield from found.items()

    def _is_due(self, name: str, epoch: int) -> bool:
        if not self.every:
            return False
        times, rest = divmod(epoch, self.every)
        if name in self.seldom:
            doubled = not rest and times & (times - 1) == 0
            return epoch in (1, self.epochs) or doubled
        return epoch == 1 or not rest

    def _made(
        self, what: str, makers: Mapping[str, Callable[[VAE], Any]], epoch: int, model: VAE
    ) -> Iterator[tuple[str, Any]]:
        for name, make in makers.items():
            if name in self.failed or not self._is_due(name, epoch):
                continue
            try:
                made = make(model)
            except VaeflowError:
                raise
            except Exception as error:
                if is_interrupt(error):
                    raise
                log.warning("the %s %s is drawn no more (%s)", what, name, one_line(error))
                log.debug("its traceback", exc_info=True)
                self.failed.add(name)
                continue
            yield name, made
