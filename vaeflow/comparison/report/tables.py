"""A comparison as tables of text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vaeflow.comparison.comparison import Comparison
from vaeflow.comparison.differences import Difference
from vaeflow.comparison.groups import Group
from vaeflow.comparison.labels import short
from vaeflow.config.settings import setting_fields
from vaeflow.errors import printable
from vaeflow.evaluation import Estimate
from vaeflow.plugins.registry import KINDS
from vaeflow.text import show


@dataclass(frozen=True)
class Table:
    """A table of text: the first column holds names, the others numbers."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    of_words: bool = False  # in all columns

    def __post_init__(self) -> None:
        # Names come from files, and a table goes to a terminal.
        rows = tuple(tuple(printable(cell) for cell in row) for row in self.rows)
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "headings", tuple(map(printable, self.headings)))


def tables(comparison: Comparison) -> list[Table]:
    """Return the bounds, the differences, the costs, and the runs that are not there."""
    found = [_bounds(comparison)]
    if comparison.versus:
        found.append(_differences(comparison))
    found.append(_costs(comparison))
    if comparison.unfinished:
        rows = tuple((run.subject, str(run)) for run in comparison.unfinished)
        found.append(Table("Runs left out", ("run", "why"), rows, of_words=True))
    return found


def in_common(comparison: Comparison) -> Table:
    """Return the settings, other than defaults, and the parts that all groups share."""
    first, *rest = (group.config for group in comparison.groups)
    alike = {k: show(v) for k, v in first.items() if all(show(c.get(k)) == show(v) for c in rest)}
    usual = {k: show(field.default) for k, field in setting_fields().items()}
    settings = {k: v for k, v in alike.items() if "." not in k and v != usual.get(k)}
    rows = [("settings, if not the defaults", _words(settings))]
    for kind in KINDS:
        own = {k.removeprefix(f"{kind}."): v for k, v in alike.items() if k.startswith(f"{kind}.")}
        if (name := own.pop("name", None)) is not None:
            rows.append((f"{kind} {short(name)}", _words(own)))
    return Table("What all have in common", ("part", "options"), tuple(rows), of_words=True)


def _words(options: Mapping[str, str]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in options.items())


def _bounds(comparison: Comparison) -> Table:
    columns: dict[str, Callable[[Group], Estimate | None]] = {
        "ELBO": lambda g: g.bound("elbo"),
        "NLL": lambda g: g.bound("nll"),
        "bound under q": lambda g: g.bound("under_q"),
        "KL": lambda g: g.bound("kl"),
        "bits/dim": lambda g: g.mean(lambda r: r.bits_per_dimension),
        "active units": lambda g: g.mean(lambda r: r.active_units),
    }
    digits = {"bits/dim": ".4f", "active units": ".1f"}
    cells = {
        name: [_text(of(g), digits.get(name, ".2f")) for g in comparison.groups]
        for name, of in columns.items()
    }
    if _under_q_alone(comparison):
        del cells["bound under q"]
    shown = {name: column for name, column in cells.items() if any(column)}
    rows = tuple(
        (g.label, str(len(g.runs)), *(column[i] for column in shown.values()))
        for i, g in enumerate(comparison.groups)
    )
    return Table("Bounds, in nats per image", ("posterior", "seeds", *shown), rows)


def _differences(comparison: Comparison) -> Table:
    rows = []
    bound = () if _under_q_alone(comparison) else ("bound under q",)
    for label, versus in comparison.versus.items():
        nll, elbo = versus.nll, versus.elbo
        under_q = _interval(versus.under_q)[: len(bound)]  # its interval would be a third one
        parts = ["–" if nll.of_seeds is None else f"{nll.of_seeds:.2f}", f"{nll.of_images:.2f}"]
        names = (label, versus.baseline, versus.pairing.brief)
        rows.append((*names, *_interval(nll), *under_q, *_interval(elbo), " / ".join(parts)))
    headings = (
        *("posterior", "against", "seeds", "NLL", "95 %", *bound, "ELBO", "95 %"),
        "± of seeds / images",
    )
    return Table("Paired differences, in nats per image", headings, tuple(rows))


def _under_q_alone(comparison: Comparison) -> bool:
    """Tell whether q was the proposal of all: the NLL is the bound under q, and stands once."""
    return all(g.about["proposal"] == "q" for g in comparison.groups)


def _costs(comparison: Comparison) -> Table:
    rows = tuple(
        (
            g.label,
            f"{g.parameters:,}",
            _text(g.mean(lambda r: r.milliseconds), ".2f"),
            _text(g.mean(lambda r: r.summary["seconds"]), ".1f"),
            _text(g.mean(lambda r: r.summary["best_epoch"]), ".1f"),
        )
        for g in comparison.groups
    )
    headings = ("posterior", "parameters", "ms per step", "seconds of training", "best epoch")
    return Table("Cost", headings, rows)


def _text(estimate: Estimate | None, digits: str) -> str:
    return "" if estimate is None else f"{estimate:{digits}}"


def _interval(d: Difference) -> tuple[str, str]:
    return f"{d.mean:+.2f} ± {d.standard_error:.2f}", f"{d.low:+.2f} to {d.high:+.2f}"
