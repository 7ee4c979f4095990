"""The names of columns that come to stand beside others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


def apart(columns: Mapping[str, T], taken: Iterable[str], suffix: str = "_label") -> dict[str, T]:
    """Return columns, in their order, under names that are not taken.

    A name that is taken ends in the suffix, as often as it takes to be free: a user's column z0
    beside a code z0 is z0_label. All other names stay.
    """
    reserved = {*taken}
    found: dict[str, T] = {}
    for name, values in columns.items():
        free = name
        while free in reserved or free in found or (free != name and free in columns):
            free += suffix
        found[free] = values
    return found
