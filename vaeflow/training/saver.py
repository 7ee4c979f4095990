"""When a training is saved."""

from __future__ import annotations

import logging
from collections.abc import Callable

from vaeflow.training.checkpoints import CheckpointStore
from vaeflow.training.progress import Stopwatch

log = logging.getLogger("vaeflow")


class Saver:
    """Saves a training, and tells when that is due.

    Arguments:
        write: writes a checkpoint to a store.
        store: where to, or None for nowhere; then nothing is due.
        seconds: the least time between two checkpoints.
    """

    # An epoch that takes longer is saved within: it must not be lost as a whole.
    within = 10.0

    def __init__(
        self,
        write: Callable[[CheckpointStore], None],
        store: CheckpointStore | None,
        seconds: float,
    ) -> None:
        self._write = write
        self._store = store
        self._seconds = seconds
        self._since = Stopwatch()

    @property
    def due(self) -> bool:
        """Return whether to save at the end of an epoch."""
        return self._store is not None and self._since.seconds >= self._seconds

    @property
    def due_within(self) -> bool:
        """Return whether to save within an epoch; to ask costs a look at the host's clock."""
        return self.due and self._since.seconds >= self.within

    def save(self) -> None:
        """Write a checkpoint, if there is a store."""
        if self._store is not None:
            began = Stopwatch()
            self._write(self._store)
            log.debug("a checkpoint is written in %.2f s", began.seconds)
            self._since = Stopwatch()
