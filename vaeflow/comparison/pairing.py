"""Which runs of two groups are set against each other: pairs of one seed, or all runs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Pairing:
    """The runs of two groups, by their seeds.

    Two runs of one seed see the images in the same order, and equal encoders start from the same
    weights. So they are a pair: what the seed does to both drops out of their difference, and runs
    without a partner stay out of it. The groups are paired if more than half of the smaller one has
    a partner, two runs at least. Otherwise all runs count, as independent trainings; a few shared
    seeds then make the interval too wide rather than too narrow.

    Attributes:
        one: the seeds of the first group, each once.
        other: those of the other group.
    """

    one: tuple[int, ...]
    other: tuple[int, ...]

    @property
    def shared(self) -> tuple[int, ...]:
        """Return the seeds that both groups have, in the order of the first."""
        return tuple(seed for seed in self.one if seed in self.other)

    @property
    def paired(self) -> bool:
        """Return whether the shared seeds pair the groups."""
        pairs = len(self.shared)
        return pairs >= 2 and 2 * pairs > min(len(self.one), len(self.other))

    @property
    def left_out(self) -> set[int]:
        """Return the seeds whose runs have no partner, and stay out of the difference."""
        return {*self.one} ^ {*self.other} if self.paired else set()

    def samples(self, one: Tensor, other: Tensor) -> tuple[Tensor, ...]:
        """Return independent samples whose means add up to the difference.

        Arguments:
            one: values of the first group, (*, S, N), in the order of its seeds.
            other: values of the other group, (*, S', N).

        Returns:
            The differences of the pairs (*, P, N); or, of groups that are not paired, the values of
            the first and the negative values of the other.
        """
        if not self.paired:
            return one, -other
        rows = ([seeds.index(s) for s in self.shared] for seeds in (self.one, self.other))
        return (one[..., next(rows), :] - other[..., next(rows), :],)

    def __str__(self) -> str:
        """Return in words how the runs are paired, such as "paired by seed (5 shared seeds)"."""
        one, other, shared = len(self.one), len(self.other), len(self.shared)
        if self.paired:
            rest = f", {_count(len(self.left_out), 'run')} without a partner left out"
            return f"paired by seed ({shared} shared seeds{rest if self.left_out else ''})"
        if one == other == 1:
            return "of a single run each"
        if min(one, other) == 1:
            return f"of {_count(one, 'run')} against {other}"
        why = f"only {_count(shared, 'shared seed')}" if shared else "no shared seed"
        return f"not paired by seed ({one} runs against {other}, {why})"

    @property
    def brief(self) -> str:
        """Return the same in a few words, for a table."""
        if not self.paired:
            return f"{len(self.one)} against {len(self.other)}"
        rest = f", {len(self.left_out)} left out" if self.left_out else ""
        return f"{len(self.shared)} paired{rest}"


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
