"""The bound compiled by torch: fewer, larger kernels, after a compilation of some seconds."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from vaeflow.errors import one_line
from vaeflow.terms import Terms

log = logging.getLogger("vaeflow")


class Compiled:
    """A bound that is compiled for batches of one size, at the first of them.

    Other sizes, such as that of an epoch's last batch, pass through it as it was: each would be
    compiled anew. Where torch cannot compile it, all do, and a warning says why.

    Arguments:
        bound: maps a batch and β to the terms and the objective.
        size: images of a batch.
    """

    def __init__(self, bound: Callable[[Tensor, Tensor], tuple[Terms, Tensor]], size: int) -> None:
        self.bound = bound
        self.size = size
        # Noise is left to torch's generators: the numbers are those of the eager step.
        self._compiled = torch.compile(bound, dynamic=False, options={"fallback_random": True})
        self._fails = False

    def __call__(self, x: Tensor, beta: Tensor) -> tuple[Terms, Tensor]:
        """Return the terms at x (B, *data_shape) and the objective, shape (B,)."""
        if self._fails or len(x) != self.size:
            return self.bound(x, beta)
        try:
            return self._compiled(x, beta)
        except Exception as error:
            # If it is a part that fails, and not its compilation, it fails again here.
            result = self.bound(x, beta)
            self._fails = True
            log.warning(
                "torch cannot compile the model, which trains as it is: %s", one_line(error)
            )
            return result
