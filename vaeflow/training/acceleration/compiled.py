"""The loss module compiled by torch: fewer, larger kernels, after a compilation of some seconds."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from vaeflow.errors import one_line
from vaeflow.terms import Terms

log = logging.getLogger("vaeflow")
Call = Callable[..., tuple[Terms, Tensor]]


class Compiled:
    """A loss module, compiled at the first batch for batches of one size.

    Batches of another size, such as an epoch's last, pass through the eager module: each size
    would be compiled anew. Where torch cannot compile the module, all batches do, and a warning
    says why.

    Arguments:
        eager: maps a batch, β and covariates to the terms and the objective.
        size: images of a batch.
    """

    def __init__(self, eager: Call, size: int) -> None:
        self._eager = eager
        self._size = size
        # torch's generators draw the noise, as in the eager step: the numbers are the same.
        self._compiled: Call | None = torch.compile(
            eager, dynamic=False, options={"fallback_random": True}
        )  # None once the compilation failed

    @property
    def fails(self) -> bool:
        """Return whether torch could not compile the module."""
        return self._compiled is None

    def __call__(self, x: Tensor, beta: Tensor, *condition: Tensor) -> tuple[Terms, Tensor]:
        """Return the terms at x (B, *data_shape) and the objective, shape (B,)."""
        if self._compiled is None or len(x) != self._size:
            return self._eager(x, beta, *condition)
        try:
            return self._compiled(x, beta, *condition)
        except Exception as error:
            # A failing part, unlike a failing compilation, fails here again.
            result = self._eager(x, beta, *condition)
            self._compiled = None
            log.warning(
                "torch cannot compile the model, which trains as it is: %s", one_line(error)
            )
            return result
