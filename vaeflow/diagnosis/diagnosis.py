"""A diagnosis: the measurements of one model, and the findings that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vaeflow.diagnosis.findings import findings
from vaeflow.diagnosis.measured import Measured
from vaeflow.evaluation.findings import Finding, sentences


@dataclass(frozen=True)
class Diagnosis(Measured):
    """Where a model loses log p(x) − ELBO, measured and found."""

    @property
    def findings(self) -> list[Finding]:
        """Return what follows from the figures, and what they cannot show."""
        return findings(self)

    def __str__(self) -> str:
        return "\n".join(sentences(self.findings))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**super().as_dict(), "findings": [f.as_dict() for f in self.findings]}
