"""How a run is evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from vaeflow.config.way import ProposalKind, Way
from vaeflow.evaluation.options import Count, Split, Tolerance, Weights, Whole


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """How a run is evaluated.

    Attributes:
        split: "train", "validation" or "test".
        proposal: of the NLL: "laplace", "mixture" or "q".
        samples: K of the bounds under q.
        tolerance: nats, the error of an image's NLL for which the proposal draws.
        max_draws: of the proposal for one image, at most.
        weights: "best" or "last".
        device: "auto", "cpu", "cuda", …
        data_root: where the data lies, if it has moved.
        limit: how many of the first images are evaluated, by default all.
        chunk: rows that pass through the decoder at a time; the figures do not depend on it.
        referee: how many of the images that the draws leave unsettled are annealed.
        again: use none of the kept figures.
    """

    split: Split = "test"
    proposal: ProposalKind = "laplace"
    samples: Count = 500
    tolerance: Tolerance = 0.05
    max_draws: Count = 10_000
    weights: Weights = "best"
    device: str = "auto"
    data_root: Path | None = None
    limit: Count | None = None
    chunk: Count | None = None
    referee: Annotated[Whole, Field(ge=0)] = 0
    again: bool = False

    @property
    def way(self) -> Way:
        """Return how the NLL is measured, which names the file of its figures."""
        return Way(self.proposal, self.samples, self.limit)
