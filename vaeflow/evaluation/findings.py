"""Findings: conclusions from estimates, as data, each with its sentence.

Estimates are in nats per image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from vaeflow.errors import printable, spoken
from vaeflow.evaluation.estimates import Estimate
from vaeflow.evaluation.sentences import SENTENCES

Severity = Literal["result", "note", "warning"]


@dataclass(frozen=True)
class Finding:
    """One conclusion from estimates.

    Attributes:
        kind: a stable identifier, such as "unused-code"; `sentences.SENTENCES` lists all of them.
        subject: the run, group, family of q or other part that it is about.
        estimate: its size in nats, where it has one.
        error: the standard error of the estimate; of a single image, the error of its draws.
        severity: "result" answers the question that was asked, a "note" explains how the numbers
            are read, a "warning" is a reason to doubt them.
        details: further plain values, named by the kind; an `Estimate` where one has an error.
    """

    kind: str
    subject: str = ""
    estimate: float | None = None
    error: float | None = None
    severity: Severity = "note"
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        kind: str,
        subject: str,
        estimate: Estimate,
        severity: Severity = "result",
        **details: Any,
    ) -> Finding:
        """Return a finding of the size of an estimate."""
        return cls(kind, subject, estimate.mean, estimate.error, severity, details)

    def __str__(self) -> str:
        values: dict[str, Any] = {"subject": self.subject, **self.details}
        if self.estimate is not None:
            values["value"] = Estimate(self.estimate, self.error)
        template = SENTENCES[self.kind]
        told = template.format(**values) if isinstance(template, str) else template(values)
        return printable(spoken(told))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values and the sentence, for JSON."""
        return {**asdict(self), "sentence": str(self)}


def sentences(findings: Iterable[Finding]) -> list[str]:
    """Return a sentence for each finding; findings that differ only in their subject share one."""
    alike: list[tuple[Finding, list[str]]] = []
    for finding in findings:
        anonymous = replace(finding, subject="")
        subjects = next((known for other, known in alike if other == anonymous), None)
        if subjects is None:
            alike.append((anonymous, [finding.subject]))
        else:
            subjects.append(finding.subject)
    return [str(replace(one, subject=", ".join(subjects))) for one, subjects in alike]
