"""Checks for infinite numbers and NaN in a training."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from vaeflow.errors import NonFiniteError
from vaeflow.model import VAE
from vaeflow.runtime.ranks import World
from vaeflow.training.progress import Progress


class Finite:
    """Stops a training where its loss, its terms or its weights are NaN or infinite.

    Arguments:
        model: its weights are checked.
        data: the training data, whose range the error tells.
        lr: the learning rate, which the error tells.
        progress: where the training stands.
        world: the ranks of the training; all stop where one has to.
    """

    def __init__(
        self, model: VAE, data: Tensor, lr: float, progress: Progress, world: World
    ) -> None:
        self.model = model
        self.data = data
        self.lr = lr
        self.progress = progress
        self.checkpoints = False  # whether the training writes any
        self.world = world

    def loss(self, loss: Tensor) -> None:
        """Check the loss of the step under way.

        Raises:
            NonFiniteError: if it is not finite on any rank.
        """
        if self.world.any(not math.isfinite(loss.item())):
            raise self._error(f"step {self.progress.step + 1}")

    def terms(self, values: Iterable[float], where: str) -> None:
        """Check mean terms.

        Raises:
            NonFiniteError: if one of them is not finite.
        """
        if not all(map(math.isfinite, values)):
            raise self._error(where)

    def weights(self) -> None:
        """Check the parameters; a buffer, such as a mask, may hold −∞.

        Raises:
            NonFiniteError: naming the first infinite parameter.
        """
        for name, weight in self.model.named_parameters():
            if not torch.isfinite(weight).all():
                raise self._error(f"epoch {self.progress.epoch}, in {name}")

    def _error(self, where: str) -> NonFiniteError:
        kept = "; checkpoints before it are kept" if self.checkpoints else ""
        low, high = self.data.min().item(), self.data.max().item()
        return NonFiniteError(
            f"the loss or a weight is not finite at {where}: lower --lr (it is {self.lr:g}), set "
            f"--clip, or bring the data, in [{low:g}, {high:g}], nearer to unit scale{kept}"
        )
