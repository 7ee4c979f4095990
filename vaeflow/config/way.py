"""The way in which a run's NLL is measured, as commands, files and grids name it."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, get_args

ProposalKind = Literal["q", "laplace", "mixture"]
PROPOSALS: tuple[ProposalKind, ...] = get_args(ProposalKind)  # the last ones are preferred


class Way(NamedTuple):
    """How the NLL is measured: the proposal, and K of the bound under q."""

    proposal: ProposalKind = "laplace"
    samples: int = 500

    @property
    def stem(self) -> str:
        """Return the words of it in the name of a file."""
        first = "" if self.proposal == "q" else f"{self.proposal}-"
        return f"{first}k{self.samples}"

    @property
    def options(self) -> tuple[str, ...]:
        """Return the words of a command line that choose it."""
        return "--proposal", self.proposal, "-k", str(self.samples)

    @property
    def advice(self) -> str:
        """Return the same words within a sentence."""
        return f"--proposal {self.proposal} and -k {self.samples}"

    @classmethod
    def of(cls, stem: str) -> Way | None:
        """Return the way of which these are the words, or None."""
        match = re.fullmatch(rf"(?:({'|'.join(PROPOSALS[1:])})-)?k(\d+)", stem)
        return match and cls(match[1] or "q", int(match[2]))  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"proposal {self.proposal} and K = {self.samples:,}"
