"""Evaluation of a trained model: bounds with standard errors."""

from vaeflow.evaluation.bounds import Bounds, Estimate, evaluate

__all__ = ["Bounds", "Estimate", "evaluate"]
