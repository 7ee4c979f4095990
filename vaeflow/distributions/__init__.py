"""Densities that are drawn and scored in one pass."""

from vaeflow.distributions.contexts import full_precision
from vaeflow.distributions.draw import Draw, OnePass, draw, grad_log_prob
from vaeflow.distributions.flow import Flow, Map, StandardizedFlow
from vaeflow.distributions.gaussian import DiagonalNormal, StandardNormal
from vaeflow.distributions.levels import LevelCount, Levels
from vaeflow.distributions.mixture import DiagonalNormalMixture
from vaeflow.distributions.numerics import at_least_float32
from vaeflow.distributions.observed import ByValue, log_prob_of_observed

__all__ = [
    "ByValue",
    "DiagonalNormal",
    "DiagonalNormalMixture",
    "Draw",
    "Flow",
    "LevelCount",
    "Levels",
    "Map",
    "OnePass",
    "StandardNormal",
    "StandardizedFlow",
    "at_least_float32",
    "draw",
    "full_precision",
    "grad_log_prob",
    "log_prob_of_observed",
]
