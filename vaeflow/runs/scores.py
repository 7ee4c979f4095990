"""Scores of single examples: log p(x), the ELBO, and what share of test data is less likely.

Shapes: N examples. All scores are in nats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vaeflow.data.beside import apart
from vaeflow.evaluation import Bounds
from vaeflow.evaluation.pareto import UNRELIABLE
from vaeflow.latents.drawn import Saved
from vaeflow.text import html_columns

_FEW = 0.01  # the share of test data that tells an anomaly
_DRAWS = 5  # effective ones, from where on their variance tells an error
_SHOWN = 5  # rows in a sentence


@dataclass(frozen=True, repr=False, eq=False)
class Scores(Saved):
    """The scores of N examples, in nats: the lower log p(x), the stranger the example.

    Attributes:
        log_p: log p(x) (N,), of what was observed of an example with gaps.
        log_p_error: its standard error (N,), of the random draws; NaN where the draws do not tell
            it, as k̂ is above 0.7 or only a few draws have weight.
        pareto_k: k̂ of the weights of log p(x) (N,): above 0.7 they are unreliable. NaN of few
            draws, −∞ of equal weights.
        unsettled: which examples' log p(x) the draws do not settle (N,), as `vaeflow evaluate` says
            it: k̂ is above 0.7, or the error above twice the tolerance or unknown.
        elbo: E_q[log p(x, z) − log q(z|x)] (N,).
        less_likely: the share of the run's test data with a lower log p(x) (N,), weighted where
            that data is; None without a reference. Small shares are anomalies: of examples like
            the test data, a share of α has one below α.
        reference: how many test examples that share is of.
        observed: the share of the values of each example that are not missing (N,).
        beside: name -> values (N,): the split, the row or the file, labels and ids.
        bounds: the means, with errors over examples.
        each: what sentences call an example: a "row" of a table.
    """

    log_p: np.ndarray
    log_p_error: np.ndarray
    pareto_k: np.ndarray
    unsettled: np.ndarray
    elbo: np.ndarray
    less_likely: np.ndarray | None
    reference: int
    observed: np.ndarray
    beside: Mapping[str, np.ndarray]
    bounds: Bounds
    each: str = "example"

    def __len__(self) -> int:
        return len(self.log_p)

    def __repr__(self) -> str:
        return (
            f"Scores({len(self):,} examples, log p(x) {-self.bounds.nll}, ELBO {self.bounds.elbo})"
        )

    def __str__(self) -> str:
        """Return in sentences how many examples are strange."""
        return "\n".join([repr(self), *self.sentences])

    def _repr_html_(self) -> str:
        return html_columns("Scores", self.columns)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Return the scores by name, as a table has them."""
        return self.columns

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Return the scores by name, behind what stands beside them."""
        names = ("log_p", "log_p_error", "pareto_k", "elbo")
        scores = {name: getattr(self, name) for name in names}
        if self.less_likely is not None:
            scores["less_likely"] = self.less_likely
        if (self.observed < 1).any():
            scores["observed"] = self.observed
        return {**apart(self.beside, scores), **scores}

    def least_likely(self, count: int = 10) -> np.ndarray:
        """Return the indices of the examples with the lowest log p(x), the lowest first."""
        return np.argsort(self.log_p, kind="stable")[:count]

    @property
    def sentences(self) -> list[str]:
        """Return in words how many examples are strange, and how far that is to be trusted."""
        told = []
        if self.less_likely is not None:
            few = int((self.less_likely < _FEW).sum())
            told.append(
                f"{few:,} of {len(self):,} {self._each(len(self))} {_is(few)} less likely than "
                f"{100 * (1 - _FEW):.0f} % of the test data; by chance {_FEW * len(self):,.3g} of "
                f"{len(self):,} would be"
            )
            if self.reference * _FEW < 1:
                told.append(
                    f"{self.reference:,} test examples cannot resolve {100 * _FEW:.0f} %: such "
                    "examples are less likely than all of them"
                )
        if self.unsettled.any():
            told.append(self._told_unsettled())
        if (self.observed < 1).any():
            told.append(
                f"log p(x) is of what was observed: {self._each(2)} with more gaps have more of "
                "it, and less_likely compares like with like only where gaps are alike"
            )
        return told

    def _each(self, count: int) -> str:
        return self.each + "s" * (count != 1)

    def _told_unsettled(self) -> str:
        """Name the examples whose log p(x) the draws do not settle, the least likely first."""
        names = self.beside.get("file", self.beside.get("row", np.arange(len(self))))
        found = [i for i in self.least_likely(len(self)) if self.unsettled[i]]
        count, what = len(found), "" if "file" in self.beside else f"{self._each(len(found))} "
        shown = ", ".join(str(names[i]) for i in found[:_SHOWN])
        shown += f", … ({count:,} in all)" if count > _SHOWN else ""
        its = "its" if count == 1 else "their"
        return (
            f"{what}{shown} {_is(count)} not settled: {its} log p(x) is a lower bound by the "
            "draws, and the error where none stands is unknown"
        )


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def known_errors(errors: np.ndarray, pareto_k: np.ndarray, effective: np.ndarray) -> np.ndarray:
    """Return standard errors (N,), NaN where a few weights hide what the draws have missed.

    Arguments:
        errors: of log p(x) (N,), as the variance of the weights tells them.
        pareto_k: k̂ of the weights (N,).
        effective: the effective sample size (N,).
    """
    told: np.ndarray = np.where((pareto_k > UNRELIABLE) | (effective < _DRAWS), np.nan, errors)
    return told
