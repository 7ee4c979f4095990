"""Evaluation of a trained model: bounds with standard errors."""

from vaeflow.evaluation.bounds import Bounds, ImageBounds, evaluate, evaluate_images
from vaeflow.evaluation.estimates import Estimate, PerImage

__all__ = ["Bounds", "Estimate", "ImageBounds", "PerImage", "evaluate", "evaluate_images"]
