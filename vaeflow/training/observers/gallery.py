"""The pictures of a training, drawn at some epochs for all who show or keep them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from vaeflow.errors import VaeflowError, is_interrupt, one_line
from vaeflow.model import VAE

Picture = Callable[[VAE], np.ndarray]  # (H, W) or (H, W, 3), 8 bits each
log = logging.getLogger("vaeflow")


@dataclass
class Gallery:
    """What is drawn of a model, and at which epochs. One that fails is drawn no more.

    Attributes:
        pictures: name -> a function of the model.
        every: epochs between pictures, which are drawn after the first as well; 0 for none.
    """

    pictures: Mapping[str, Picture] = field(default_factory=dict)
    every: int = 0

    def drawn(self, epoch: int, model: VAE) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the pictures of an epoch, by name."""
        if not self.every or (epoch > 1 and epoch % self.every):
            return
        for name, draw in dict(self.pictures).items():
            try:
                yield name, draw(model)
            except VaeflowError:
                raise
            except Exception as error:
                if is_interrupt(error):
                    raise
                log.warning("the picture %s is drawn no more (%s)", name, one_line(error))
                log.debug("its traceback", exc_info=True)
                self.pictures = {k: v for k, v in self.pictures.items() if k != name}
