"""Training: one loop for every combination of parts."""

from vaeflow.training.loop import Trainer
from vaeflow.training.observers import Observer
from vaeflow.training.prepare import prepare_trainer
from vaeflow.training.progress import Fit

__all__ = ["Fit", "Observer", "Trainer", "prepare_trainer"]
