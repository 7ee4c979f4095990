"""The status of a run while it lives and after it: it tells what is true, also of an error."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from vaeflow.errors import CheckpointError, StorageError, VaeflowError, one_line
from vaeflow.runs.directory import Run

Stop = Callable[[], int]  # asked between two steps: the exit code of a signal to stop, else 0
ELSEWHERE = 143  # the exit code of a training that is stopped by a signal to another rank
log = logging.getLogger("vaeflow")


@contextmanager
def ending(run: Run, stop: Stop, **reached: int) -> Iterator[None]:
    """Let the status say that the run is running and, of an error in the block, how it ended.

    Arguments:
        run: the run, which this process has locked.
        stop: the exit code of a signal.
        reached: the epoch and the step, where the training is whole.
    """
    run.set_status("running", **reached)
    try:
        yield
    except BaseException as error:
        with suppress(StorageError):  # where the disk is full, the error itself says so
            if isinstance(error, KeyboardInterrupt):
                run.set_status("interrupted", exit_code=stop() or 130, **reached)
            else:
                run.set_status("failed", **_told(error), **reached)
        raise


def _told(error: BaseException) -> dict[str, Any]:
    if isinstance(error, VaeflowError):
        return {"exit_code": error.exit_code, "error": error.written}
    return {"exit_code": 8 if isinstance(error, OSError) else 1, "error": one_line(error)}


def known_status(run: Run) -> dict[str, Any]:
    """Return the run's status; one that cannot be read counts as none, after a warning."""
    try:
        return run.status
    except CheckpointError as error:
        log.warning("%s: the run goes on by what its checkpoints hold", error)
        return {}
