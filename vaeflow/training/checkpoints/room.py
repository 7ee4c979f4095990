"""Whether a disk takes a run's checkpoints, found before the first epoch and not after it."""

from __future__ import annotations

from pathlib import Path

from vaeflow.errors import StorageError
from vaeflow.storage import ensure_folder, free_bytes, temporary_name, write_new, writing

_OPTIMIZER = 2  # tensors that it keeps of each weight, at most
_CHECKPOINT = _OPTIMIZER + 2  # with the weights and the best ones
_AT_ONCE = 3  # the two checkpoints that are kept, and the one that is written


def check_room(folder: Path, weights: int, target: Path | None = None) -> None:
    """Write a file of the size of a checkpoint's largest one, and remove it.

    Arguments:
        folder: where the checkpoints will lie, made if it is not there.
        weights: the bytes of the model's weights.
        target: what messages name, by default the folder.

    Raises:
        StorageError: if the file system refuses, or has no room for the checkpoints of a run.
    """
    needed = _AT_ONCE * _CHECKPOINT * weights
    target = target or folder
    with writing(target, needed=needed):
        ensure_folder(folder)
        free = free_bytes(folder)
        if free < needed:
            raise StorageError(
                f"{target} has no room for the checkpoints of a run ({needed} bytes are needed, "
                f"{free} bytes are free): free some space, or choose another --run-dir"
            )
        probe = temporary_name(folder / "probe")
        try:
            write_new(probe, bytes(_OPTIMIZER * weights))
        finally:
            probe.unlink(missing_ok=True)
