"""Training: one loop for every combination of parts."""

from vaeflow.training.loop import Fit, Trainer, fit
from vaeflow.training.observers import Observer

__all__ = ["Fit", "Observer", "Trainer", "fit"]
