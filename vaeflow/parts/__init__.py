"""The parts that are chosen by name: the abstract kinds, and a folder for each kind."""

from vaeflow.data.splits import Splits
from vaeflow.data.stored import Stored
from vaeflow.errors import ConfigError, DataError  # a part raises them: options, files
from vaeflow.parts.abstract import (
    Component,
    Dataset,
    Decoder,
    Encoder,
    Infer,
    Likelihood,
    Objective,
    Posterior,
    Prior,
    Shape,
    TimeUnit,
)
from vaeflow.terms import DrawPath, Terms

__all__ = [
    "Component",
    "ConfigError",
    "DataError",
    "Dataset",
    "Decoder",
    "DrawPath",
    "Encoder",
    "Infer",
    "Likelihood",
    "Objective",
    "Posterior",
    "Prior",
    "Shape",
    "Splits",
    "Stored",
    "Terms",
    "TimeUnit",
]
