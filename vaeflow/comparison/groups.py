"""Runs that differ in their seed alone, and the group that each of them is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vaeflow.comparison.differences import Difference, difference, over_seeds
from vaeflow.comparison.finished import Finished
from vaeflow.comparison.labels import labels, short
from vaeflow.comparison.pairing import Pairing
from vaeflow.errors import ConfigError, did_you_mean
from vaeflow.evaluation import Estimate
from vaeflow.evaluation.findings import Finding

BASELINE = "identity"
# Settings that change no distribution: runs that differ in them are other seeds of the same group.
FREE = {
    "seed",
    "threads",
    "tensorboard",
    "image_every",
    "checkpoint_seconds",
    "test_samples",
    "test_images",
}
FREE |= {"data_root"}


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone."""

    label: str
    runs: tuple[Finished, ...]
    parameters: int

    def __repr__(self) -> str:
        return f"Group({self.label!r}, runs {len(self.runs)}, NLL {self.bound('nll')})"

    @property
    def config(self) -> Mapping[str, Any]:
        """Return the settings that the runs share, flat."""
        return {k: v for k, v in self.runs[0].config.items() if k not in FREE}

    @property
    def posterior(self) -> str:
        """Return the name of its posterior."""
        return short(str(self.config["posterior.name"]))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds of its runs."""
        return tuple(run.seed for run in self.runs)

    @property
    def about(self) -> Mapping[str, Any]:
        """Return the data, split and K of its first run's evaluation."""
        return self.runs[0].stored.about

    def values(self, name: str) -> Tensor:
        """Return "elbo", "nll" or "kl" of each image, (S, N)."""
        return torch.stack([getattr(r.stored.bounds, name).weighed for r in self.runs])

    def bound(self, name: str) -> Estimate:
        """Return the mean over seeds ± its error; of one seed the error is over images."""
        values = self.values(name)
        if len(values) == 1:
            return Estimate.of(values[0])
        return over_seeds(values.mean(1).tolist())

    def mean(self, of: Callable[[Finished], float | None]) -> Estimate | None:
        """Return the mean over seeds of a number of each run, None if a run lacks it."""
        found = [value for run in self.runs if (value := of(run)) is not None]
        return over_seeds(found) if len(found) == len(self.runs) else None


@dataclass(frozen=True)
class Versus:
    """A group against its baseline: one minus other, in nats."""

    baseline: str
    nll: Difference
    under_q: Difference
    elbo: Difference
    left_out: tuple[str, ...]  # the runs of either group without a partner of their seed

    @property
    def pairing(self) -> Pairing:
        """Return how the runs of both groups are paired."""
        return self.nll.pairing

    @classmethod
    def of(cls, group: Group, baseline: Group) -> Versus:
        """Return the paired differences of two groups on the same images."""
        pairing = Pairing(group.seeds, baseline.seeds)
        nll, under_q, elbo = (
            difference(group.values(name), baseline.values(name), pairing)
            for name in ("nll", "under_q", "elbo")
        )
        runs = (*group.runs, *baseline.runs)
        alone = tuple(run.name for run in runs if run.seed in pairing.left_out)
        return cls(baseline.label, nll, under_q, elbo, alone)


def group_runs(
    runs: Sequence[Finished], parameters: Callable[[Finished], int]
) -> tuple[list[Group], list[Finding]]:
    """Return the groups, labelled by their differences, and findings on runs given twice."""
    seeds: list[dict[int, Finished]] = []
    repeated = []
    for run in runs:
        key = _key(run)
        group = next((g for g in seeds if _key(next(iter(g.values()))) == key), None)
        if group is None:
            seeds.append({run.seed: run})
        elif run.seed in group:
            details = {"other": group[run.seed].name}
            repeated.append(Finding("run-repeated", run.name, details=details))
        else:
            group[run.seed] = run
    members = [tuple(group[seed] for seed in sorted(group)) for group in seeds]
    names = labels([_key(group[0]) for group in members])
    groups = [
        Group(name, group, parameters(group[0])) for name, group in zip(names, members, strict=True)
    ]
    return groups, repeated


def _key(run: Finished) -> dict[str, Any]:
    """Return all that the seeds of a group share.

    Another proposal or K makes another group; without --anyway, such runs were refused before.
    """
    about = run.stored.about
    own = {name: about[name] for name in ("images_sha256", "proposal", "tolerance")}
    own["K"] = about["samples"]
    return {**{k: v for k, v in run.config.items() if k not in FREE}, **own}


def choose_baselines(groups: Sequence[Group], asked: str | None) -> dict[str, Group | None]:
    """Return label -> the group to compare with, for each group that is no baseline itself.

    If several groups have the baseline's posterior, a group is compared with the one that is like
    it in all else; None stands for no such group, or more than one.

    Raises:
        ConfigError: if no group has the label or posterior that was asked for.
    """
    wanted = asked or BASELINE
    bases = [g for g in groups if wanted == g.label]
    bases = bases or [g for g in groups if short(wanted) == g.posterior]
    if not bases:
        if asked is None:
            return {}
        known = [g.label for g in groups]
        raise ConfigError(
            f"--baseline {asked}: there is no such posterior or group"
            f"{did_you_mean(asked, known)}; the groups are {', '.join(known)}"
        )
    found: dict[str, Group | None] = {}
    for group in groups:
        if group not in bases:
            alike = [b for b in bases if _rest(b) == _rest(group)] if len(bases) > 1 else bases
            found[group.label] = alike[0] if len(alike) == 1 else None
    return found


def _rest(group: Group) -> dict[str, Any]:
    """Return all of a configuration but the posterior."""
    return {k: v for k, v in group.config.items() if not k.startswith("posterior.")}
