"""A configuration without tables: "posterior.steps" -> 4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vaeflow.plugins.registry import KINDS

Flat = Mapping[str, Any]


def flatten(nested: Mapping[str, Any]) -> dict[str, Any]:
    """Return "posterior.steps" -> 4 in place of tables of parts."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if key in KINDS and isinstance(value, Mapping):
            flat |= {f"{key}.{option}": v for option, v in value.items()}
        else:
            flat[key] = value
    return flat


def nest(flat: Flat) -> dict[str, Any]:
    """Undo `flatten`."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        kind, dot, option = key.partition(".")
        if dot:
            nested.setdefault(kind, {})[option] = value
        else:
            nested[key] = value
    return nested
