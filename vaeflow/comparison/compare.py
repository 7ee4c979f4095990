"""Finished runs side by side: groups of seeds, and their differences from a baseline."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vaeflow.comparison.differences import Difference, difference, over_seeds
from vaeflow.comparison.finished import Finished, Unfinished
from vaeflow.comparison.labels import labels, short
from vaeflow.config.text import show
from vaeflow.errors import ConfigError, did_you_mean
from vaeflow.evaluation import Estimate

BASELINE = "identity"
# What a run may differ in and still be another seed of the same: it changes no distribution.
_FREE = {"seed", "threads", "tensorboard", "image_every", "checkpoint_seconds", "test_samples"}
_FREE |= {"data_root"}
_DATA = {
    "dataset": "the data set",
    "split": "the split",
    "binarization": "the binarization",
    "dequantize": "the dequantization",
    "images": "the number of images",
    "images_sha256": "the images' checksum",
    "samples": "K",
}


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone."""

    label: str
    runs: tuple[Finished, ...]
    parameters: int

    @property
    def config(self) -> Mapping[str, Any]:
        """Return what the runs have in common, flat."""
        return {k: v for k, v in self.runs[0].config.items() if k not in _FREE}

    @property
    def posterior(self) -> str:
        """Return the name of its posterior."""
        return short(str(self.config["posterior.name"]))

    def values(self, name: str) -> Tensor:
        """Return "elbo", "nll" or "kl" of each image, (S, N)."""
        return torch.stack([getattr(r.stored.figures, name).values for r in self.runs])

    def bound(self, name: str) -> Estimate:
        """Return the mean over seeds ± its error; of one seed the error is over images."""
        values = self.values(name)
        if len(values) == 1:
            return Estimate.of(values[0])
        return over_seeds(values.mean(1).tolist())

    def figure(self, of: Callable[[Finished], float | None]) -> Estimate | None:
        """Return the mean over seeds of a figure of runs, None if one of them lacks it."""
        found = [value for run in self.runs if (value := of(run)) is not None]
        return over_seeds(found) if len(found) == len(self.runs) else None


@dataclass(frozen=True)
class Versus:
    """A group against its baseline: one minus other, in nats."""

    baseline: str
    nll: Difference
    elbo: Difference


@dataclass(frozen=True)
class Comparison:
    """Groups with their figures, what each is against its baseline, and what is left to say."""

    groups: tuple[Group, ...]
    versus: Mapping[str, Versus]  # label -> …; a baseline has none
    unfinished: tuple[Unfinished, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def about(self) -> dict[str, Any]:
        """Return what the figures are of; of runs compared "anyway", those of the first."""
        about = self.groups[0].runs[0].stored.about
        return {key: about[key] for key in _DATA}

    @property
    def verdicts(self) -> list[str]:
        """Return one sentence for each group that has a baseline."""
        return [
            _verdict(group, self.versus[group.label])
            for group in self.groups
            if group.label in self.versus
        ]


def compare(
    found: Sequence[Finished | Unfinished],
    *,
    parameters: Callable[[Finished], int],
    baseline: str | None = None,
    anyway: bool = False,
    lenient: bool = False,
    notes: Iterable[str] = (),
) -> Comparison:
    """Compare runs on the same images.

    Arguments:
        found: the runs, in the order in which they are to appear.
        parameters: counts those of a run's model.
        baseline: the posterior, or the label of the group, that the others are compared with; by
            default identity.
        anyway: compare what differs in its data or K, and note it.
        lenient: note that the baseline is not there, instead of raising.
        notes: what else is to be said.

    Raises:
        ConfigError: if no run is finished, if runs differ in their data or K, or if the baseline is
            not there.
    """
    runs = [run for run in found if isinstance(run, Finished)]
    left_out = [run for run in found if isinstance(run, Unfinished)]
    if not runs:
        why = f", {left_out[0].name}: {left_out[0].why}" if left_out else ""
        raise ConfigError(f"no run is finished{why}")
    said = list(notes)
    if (mixed := _mixed(runs)) is not None:
        if not anyway:
            raise ConfigError(
                f"the runs cannot be compared {mixed}: leave some out, or give --anyway"
            )
        said.append(f"The runs are not comparable, {mixed}.")
    if len({run.environment["threads"] for run in runs}) > 1:
        said.append("Times are of different numbers of threads.")
    groups, repeated = _groups(runs, parameters)
    try:
        bases = _baselines(groups, baseline)
    except ConfigError as error:
        if not lenient:
            raise
        bases = {}
        said.append(f"Nothing is compared, {error}.")
    versus = {}
    for group in groups:
        if group.label not in bases:
            continue
        if (base := bases[group.label]) is None:
            said.append(
                f"{group.label} is compared with none, as no baseline or more than one is like it "
                "in all but the posterior: --baseline chooses one."
            )
        elif _sha256(group) == _sha256(base):
            versus[group.label] = Versus(
                base.label,
                *(difference(group.values(n), base.values(n)) for n in ("nll", "elbo")),
            )
        else:
            said.append(f"{group.label} and {base.label} are of other images: no difference.")
    if not bases and baseline is None:
        said += _why_no_baseline(groups)
    return Comparison(tuple(groups), versus, (*left_out, *repeated), tuple(said))


def _mixed(runs: Sequence[Finished]) -> str | None:
    """Return in words in what runs differ that must not, if they do."""
    first = runs[0]
    for run in runs[1:]:
        pairs = [
            (words, *(show(r.stored.about[key]) for r in (first, run)))
            for key, words in _DATA.items()
        ]
        pairs.append(("what is scored", first.scores, run.scores))
        told = [
            f"{words}, {_cut(one)} and {_cut(other)}" for words, one, other in pairs if one != other
        ]
        if told:
            return f"as {first.name} and {run.name} differ in {'; in '.join(told)}"
    return None


def _cut(text: str) -> str:
    """Return the beginning of a checksum, and all of what is none."""
    return text[:12] if re.fullmatch(r"[0-9a-f]{64}", text) else text


def _groups(
    runs: Sequence[Finished], parameters: Callable[[Finished], int]
) -> tuple[list[Group], list[Unfinished]]:
    """Return the groups, labelled by what tells them apart, and runs that are there twice."""
    seeds: list[dict[int, Finished]] = []
    repeated = []
    for run in runs:
        key = _key(run)
        group = next((g for g in seeds if _key(next(iter(g.values()))) == key), None)
        if group is None:
            seeds.append({run.seed: run})
        elif run.seed in group:
            why = f"the same configuration and seed as {group[run.seed].name}, so left out"
            repeated.append(Unfinished(run.name, why))
        else:
            group[run.seed] = run
    members = [tuple(group[seed] for seed in sorted(group)) for group in seeds]
    configs = [_key(group[0]) for group in members]
    return [
        Group(label, group, parameters(group[0]))
        for label, group in zip(labels(configs), members, strict=True)
    ], repeated


def _key(run: Finished) -> dict[str, Any]:
    # An evaluation with another K is no other seed; only `anyway` lets it come so far.
    own = {"images_sha256": run.stored.about["images_sha256"], "K": run.stored.about["samples"]}
    return {**{k: v for k, v in run.config.items() if k not in _FREE}, **own}


def _baselines(groups: Sequence[Group], asked: str | None) -> dict[str, Group | None]:
    """Return label -> the group to compare with, for all that are no baseline themselves.

    Of several groups with the baseline's posterior it is the one that is like the group in all
    else, and None where that is none of them or more than one.

    Raises:
        ConfigError: if what was asked for is not there.
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


def _why_no_baseline(groups: Sequence[Group]) -> list[str]:
    """Return why there are no differences, unless a single baseline is all there is."""
    if len(groups) == 1 and groups[0].posterior == BASELINE:
        return []
    posteriors = {g.posterior for g in groups}
    if len(groups) > 1 and len(posteriors) == 1:
        return [
            f"All groups are {posteriors.pop()}, so no differences: --baseline names the one that "
            f"the others are compared with, such as --baseline '{groups[0].label}'."
        ]
    return [
        f"No diagonal Gaussian ({BASELINE}) is among them, so no differences: --baseline names "
        "another, once there are two groups."
    ]


def _rest(group: Group) -> dict[str, Any]:
    """Return all of a configuration but the posterior."""
    return {k: v for k, v in group.config.items() if not k.startswith("posterior.")}


def _sha256(group: Group) -> str:
    return str(group.runs[0].stored.about["images_sha256"])


def _verdict(group: Group, versus: Versus) -> str:
    """Say in words what the difference in NLL is."""
    nll = versus.nll
    low, high = (-nll.high, -nll.low) if nll.clear and nll.mean < 0 else (nll.low, nll.high)
    sign = "" if nll.clear else "+"
    interval = f"95 % interval {low:{sign}.2f} to {high:{sign}.2f}, over {nll.covers}"
    if not nll.clear:
        return (
            f"{group.label} cannot be told apart from {versus.baseline} in NLL: the difference is "
            f"{nll.mean:+.2f} ± {nll.standard_error:.2f} nats ({interval})."
        )
    verb = "lowers" if nll.mean < 0 else "raises"
    size = f"{abs(nll.mean):.2f} ± {nll.standard_error:.2f} nats"
    return f"{group.label} {verb} the NLL by {size} against {versus.baseline} ({interval})."
