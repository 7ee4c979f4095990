"""Scores of single examples: log p(x), the ELBO, and what share of test data is less likely.

Shapes: N examples. All scores are in nats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vaeflow.data.beside import apart
from vaeflow.evaluation import Bounds
from vaeflow.latents.drawn import Saved
from vaeflow.text import html_columns

_FEW = 0.01  # the share of test data that tells an anomaly


@dataclass(frozen=True, repr=False, eq=False)
class Scores(Saved):
    """The scores of N examples, in nats: the lower log p(x), the stranger the example.

    Attributes:
        log_p: log p(x) (N,), of what was observed of an example with gaps.
        log_p_error: its standard error (N,), of the random draws.
        elbo: E_q[log p(x, z) − log q(z|x)] (N,).
        less_likely: the share of the run's test data with a lower log p(x) (N,), weighted where
            that data is; None without a reference. Small shares are anomalies: of examples like
            the test data, a share of α has one below α.
        reference: how many test examples that share is of.
        observed: the share of the values of each example that are not missing (N,).
        beside: name -> values (N,): the split, the row or the file, labels and ids.
        bounds: the means, with errors over examples.
    """

    log_p: np.ndarray
    log_p_error: np.ndarray
    elbo: np.ndarray
    less_likely: np.ndarray | None
    reference: int
    observed: np.ndarray
    beside: Mapping[str, np.ndarray]
    bounds: Bounds

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
        scores = {"log_p": self.log_p, "log_p_error": self.log_p_error, "elbo": self.elbo}
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
                f"{few:,} of {len(self):,} examples are less likely than {1 - _FEW:.0%} of "
                f"{self.reference:,} test examples; of as many test examples "
                f"{_FEW * len(self):,.3g} would be, by chance"
            )
        if (self.observed < 1).any():
            told.append(
                "log p(x) is of what was observed: examples with more gaps have more of it, and "
                "less_likely compares like with like only where gaps are alike"
            )
        return told
