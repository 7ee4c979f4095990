"""The outcome of an evaluation of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vaeflow.evaluation import Bounds
from vaeflow.evaluation.findings import Finding
from vaeflow.evaluation.latent_code import LatentCode
from vaeflow.runs.referee import Referee


@dataclass(frozen=True)
class Report:
    """The bounds of a run, with the data and the weights that they belong to."""

    about: Mapping[str, Any]
    bounds: Bounds
    code: LatentCode
    referee: Referee | None = None  # of unsettled images, where it was asked for

    @property
    def findings(self) -> list[Finding]:
        """Return how far the figures are to be trusted, and what they cannot show."""
        annealed = [] if self.referee is None else [self.referee.finding]
        return [*self.bounds.findings, *annealed, *self.code.findings]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            **self.about,
            **self.bounds.as_dict(),
            "code": self.code.as_dict(),
            "referee": None if self.referee is None else self.referee.as_dict(),
            "findings": [finding.as_dict() for finding in self.findings],
        }
