"""The way in which a run's NLL is measured, as commands, files and grids name it."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, get_args

ProposalKind = Literal["q", "laplace", "mixture"]
PROPOSALS: tuple[ProposalKind, ...] = get_args(ProposalKind)  # the last ones are preferred


class Way(NamedTuple):
    """How the NLL is measured: the proposal, K of the bound under q, and how many images."""

    proposal: ProposalKind = "laplace"
    samples: int = 500
    limit: int | None = None  # the first images alone

    @property
    def stem(self) -> str:
        """Return the words of it in the name of a file."""
        proposal = "" if self.proposal == "q" else f"{self.proposal}-"
        return f"{proposal}k{self.samples}" + ("" if self.limit is None else f"-first{self.limit}")

    @property
    def options(self) -> tuple[str, ...]:
        """Return the words of a command line that choose it."""
        limit = () if self.limit is None else ("--limit", str(self.limit))
        return "--proposal", self.proposal, "-k", str(self.samples), *limit

    @property
    def advice(self) -> str:
        """Return the same words within a sentence."""
        limit = "" if self.limit is None else f" and --limit {self.limit}"
        return f"--proposal {self.proposal} and -k {self.samples}{limit}"

    @classmethod
    def of(cls, stem: str) -> Way | None:
        """Return the way of which these are the words, or None."""
        proposals = "|".join(PROPOSALS[1:])
        match = re.fullmatch(rf"(?:({proposals})-)?k(\d+)(?:-first(\d+))?", stem)
        if match is None:
            return None
        proposal, samples, limit = match.groups()
        first = None if limit is None else int(limit)
        return cls(proposal or "q", int(samples), first)  # type: ignore[arg-type]

    def __str__(self) -> str:
        limit = "" if self.limit is None else f" of the first {self.limit:,}"
        return f"proposal {self.proposal} and K = {self.samples:,}{limit}"
