"""A comparison as numbers: flat rows, CSV, and all of it for JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from vaeflow.comparison.comparison import Comparison
from vaeflow.comparison.differences import Difference
from vaeflow.comparison.finished import Finished
from vaeflow.version import __version__

_NUMBERS = [field.name for field in fields(Difference) if field.name != "pairing"]


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return all numbers, for JSON."""
    return {
        "vaeflow": __version__,
        "about": comparison.about,
        "groups": [
            {
                **{k: v for k, v in row.items() if v is not None},
                "configuration": dict(group.config),
                "runs": [_run(run, comparison.about) for run in group.runs],
            }
            for group, row in zip(comparison.groups, rows(comparison), strict=True)
        ],
        "findings": [finding.as_dict() for finding in comparison.findings],
        "unfinished": [finding.as_dict() for finding in comparison.unfinished],
    }


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return one flat row of numbers for each group; None stands for an unknown number."""
    found = []
    for g in comparison.groups:
        estimates = {
            "elbo": g.bound("elbo"),
            "nll": g.bound("nll"),
            "under_q": g.bound("under_q"),
            "kl": g.bound("kl"),
            "bits_per_dimension": g.mean(lambda r: r.bits_per_dimension),
            "active_units": g.mean(lambda r: r.active_units),
            "ms_per_step": g.mean(lambda r: r.milliseconds),
            "seconds": g.mean(lambda r: r.summary["seconds"]),
            "best_epoch": g.mean(lambda r: r.summary["best_epoch"]),
        }
        row: dict[str, Any] = {"label": g.label, "seeds": len(g.runs), "parameters": g.parameters}
        for name, estimate in estimates.items():
            row[name] = None if estimate is None else estimate.mean
            row[f"{name}_error"] = None if estimate is None else estimate.standard_error
        versus = comparison.versus.get(g.label)
        row["baseline"] = None if versus is None else versus.baseline
        row["pairing"] = None if versus is None else str(versus.pairing)
        for name in ("nll", "under_q", "elbo"):
            d: Difference | None = getattr(versus, name, None)
            for key in _NUMBERS:
                row[f"{name}_difference_{key}"] = None if d is None else getattr(d, key)
        found.append(row)
    return found


def as_csv(comparison: Comparison) -> str:
    """Return the rows as CSV."""
    found = rows(comparison)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(found[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return out.getvalue()


def _run(run: Finished, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of one run, and the facts in which it differs from `about`."""
    found = run.stored.bounds
    own = {key: value for key, value in run.stored.about.items() if about.get(key) != value}
    means = {
        name: getattr(found, name).weighed.mean().item()
        for name in ("elbo", "nll", "under_q", "kl")
    }
    seconds = {"ms_per_step": run.milliseconds, "seconds": run.summary["seconds"]}
    return {"name": run.name, "seed": run.seed, **means, **seconds, **own}
