"""Labels of published data sets, which are read where they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TypeAlias

import numpy as np

from vaeflow.data.telling import log
from vaeflow.errors import DataError

Labels: TypeAlias = Mapping[str, np.ndarray]  # name -> values (N,)


class LaterLabels(Mapping[str, Labels]):
    """The labels of each split, read at first use: most trainings need none, and no file of them.

    Where they cannot be read there are none, and a warning says why.

    Arguments:
        read: returns split -> name -> values (N,), or raises a `DataError`.
    """

    def __init__(self, read: Callable[[], Mapping[str, Labels]]) -> None:
        self._read = read

    @cached_property
    def _found(self) -> Mapping[str, Labels]:
        try:
            return self._read()
        except DataError as error:
            log.warning("the data has no labels: %s", error)
            return {}

    def __getitem__(self, split: str) -> Labels:
        return self._found[split]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)
