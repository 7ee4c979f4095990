"""What the networks see of covariates.

Shapes: B batch, C covariates.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_WIDEST = 8  # numbers of a category


def width_of(levels: Sequence[int]) -> int:
    """Return the number of features of covariates with so many levels each, 0 for a number."""
    return sum(min(s, _WIDEST) if s else 1 for s in levels)


class Embedding(nn.Module):
    """Covariates as features: numbers as they are, and a learned vector for each level.

    A category of S levels becomes min(S, 8) numbers.

    Arguments:
        levels: of each of the C covariates, 0 for a number.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.vectors = nn.ModuleList(nn.Embedding(s, min(s, _WIDEST)) for s in levels if s)

    @property
    def width(self) -> int:
        """Return the number of features."""
        return width_of(self.levels)

    def forward(self, condition: Tensor) -> Tensor:
        """Map covariates (B, C), a level by its number, to features (B, width)."""
        vectors = iter(self.vectors)
        each = condition.unbind(1)
        seen = [
            next(vectors)(c.long()) if s else c[:, None]
            for s, c in zip(self.levels, each, strict=True)
        ]
        return torch.cat(seen, 1)

    def middle(self) -> Tensor:
        """Return the features (1, width) of no example in particular: the mean of each covariate.

        Numbers are standardized, and their mean is 0.
        """
        means = (vectors.get_parameter("weight").mean(0) for vectors in self.vectors)
        seen = [next(means) if s else torch.zeros(1) for s in self.levels]
        device = next((s.device for s in seen if s.requires_grad), torch.device("cpu"))
        return torch.cat([s.to(device) for s in seen])[None]
