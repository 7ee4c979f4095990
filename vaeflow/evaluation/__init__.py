"""Evaluation of a trained model: bounds with standard errors."""

from vaeflow.evaluation.bounds import Bounds, ImageBounds
from vaeflow.evaluation.estimates import Estimate, PerImage
from vaeflow.evaluation.measure import evaluate, evaluate_images

__all__ = ["Bounds", "Estimate", "ImageBounds", "PerImage", "evaluate", "evaluate_images"]
