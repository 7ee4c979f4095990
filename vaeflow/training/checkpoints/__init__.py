"""Checkpoints on disk: written durably, verified on reading, never executable."""

from vaeflow.training.checkpoints.reading import Checkpoint, check_fit, read
from vaeflow.training.checkpoints.room import check_room
from vaeflow.training.checkpoints.store import CheckpointStore

__all__ = ["Checkpoint", "CheckpointStore", "check_fit", "check_room", "read"]
