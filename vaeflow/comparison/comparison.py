"""A comparison: groups of runs, their differences from a baseline, and the findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaeflow.comparison.findings import cautions, readings, results
from vaeflow.comparison.groups import Group, Versus
from vaeflow.evaluation.estimates import listed
from vaeflow.evaluation.findings import Finding, sentences
from vaeflow.text import html_table

# Runs are compared only if they agree in these; beside each, its name in a sentence.
DATA = {
    "dataset": "the data set",
    "split": "the split",
    "binarization": "the binarization",
    "dequantize": "the dequantization",
    "images": "the number of images",
    "images_sha256": "the images' checksum",
    "proposal": "the proposal of the NLL",
    "tolerance": "the tolerance of the NLL",
    "max_draws": "the largest number of draws",
    "samples": "K",
}


@dataclass(frozen=True)
class Comparison:
    """Groups with their bounds, and the difference of each from its baseline."""

    groups: tuple[Group, ...]
    versus: Mapping[str, Versus]  # label -> differences; a baseline has none
    unfinished: tuple[Finding, ...] = ()  # a finding on each run that was left out
    notes: tuple[Finding, ...] = ()  # findings that were made on the way
    written: tuple[Path, ...] = ()  # the files of its report

    @property
    def about(self) -> dict[str, Any]:
        """Return data, split and K; if runs that differ are compared anyway, the first run's."""
        return {key: self.groups[0].about[key] for key in DATA}

    @property
    def results(self) -> list[Finding]:
        """Return the answers: one finding for each group that has a baseline."""
        return [*results(self.versus)]

    @property
    def remarks(self) -> list[Finding]:
        """Return how the tables are read, and reasons to doubt them."""
        groups, versus = self.groups, self.versus
        return [*readings(groups, versus), *cautions(groups, versus), *self.notes]

    @property
    def findings(self) -> list[Finding]:
        """Return the results, then the remarks."""
        return [*self.results, *self.remarks]

    def __repr__(self) -> str:
        groups = {g.label: f"NLL {g.bound('nll')}, runs {len(g.runs)}" for g in self.groups}
        for label, versus in self.versus.items():
            groups[label] += f", {versus.nll.mean:+.2f} against {versus.baseline}"
        return listed(self, groups)

    def _repr_html_(self) -> str:
        rows = []
        for g in self.groups:
            versus = self.versus.get(g.label)
            gain = "" if versus is None else f"{versus.nll.mean:+.2f} against {versus.baseline}"
            rows.append((g.label, len(g.runs), g.bound("nll"), g.bound("elbo"), gain))
        headings = ("group", "runs", "NLL", "ELBO", "NLL, difference")
        return html_table("Comparison, in nats per example", rows, headings)

    def __str__(self) -> str:
        left_out = [f"{finding.subject} is left out: {finding}." for finding in self.unfinished]
        return "\n".join([*sentences(self.findings), *left_out])
