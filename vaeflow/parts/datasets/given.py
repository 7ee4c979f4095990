"""Data that a caller gave in Python, and that no file holds."""

from __future__ import annotations

from typing import NoReturn

from vaeflow.errors import DataError
from vaeflow.parts.abstract import Dataset


class Given(Dataset):
    """The arrays of `vaeflow.fit`, which a saved run names and does not hold.

    No command loads them. In Python, `vaeflow.evaluate(vaeflow.load(RUN), x)` evaluates such a run
    on arrays.
    """

    example = None

    def load(self) -> NoReturn:
        raise DataError(
            "the run was fitted in Python to arrays that it does not hold: evaluate it there, with "
            "vaeflow.evaluate(vaeflow.load(RUN), x); to resume, compare or diagnose a run, write "
            "the arrays to a file and train with `--dataset file --dataset.path FILE`"
        )
