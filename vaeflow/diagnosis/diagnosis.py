"""A diagnosis: the measurements of one model, and the findings that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vaeflow.diagnosis.findings import findings
from vaeflow.diagnosis.measured import Measured
from vaeflow.evaluation.findings import Finding, sentences


@dataclass(frozen=True, repr=False)
class Diagnosis(Measured):
    """Where a model loses log p(x) − ELBO, measured and found."""

    about: Mapping[str, Any] = field(default_factory=dict)  # the run, data and weights, if known
    written: tuple[Path, ...] = ()  # the files that hold it

    @property
    def findings(self) -> list[Finding]:
        """Return the conclusions from the measurements, and the limits of the measurements."""
        return findings(self)

    def __str__(self) -> str:
        return "\n".join(sentences(self.findings))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**self.about, **super().as_dict(), "findings": [f.as_dict() for f in self.findings]}
