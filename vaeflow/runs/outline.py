"""A run in a few words, for a repr and for a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def outline(
    config: Mapping[str, Any], status: Mapping[str, Any], summary: Mapping[str, Any]
) -> dict[str, str]:
    """Return what a run is, how far it came and what it reached, each by its name.

    Arguments:
        config: the content of config.toml.
        status: of status.json.
        summary: of summary.json, empty of a run without one.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: if one of them is incomplete.
    """
    names = (config[kind]["name"].removeprefix("vaeflow/") for kind in ("posterior", "dataset"))
    told = {"model": " on ".join(names), "state": status.get("state", "not begun")}
    if "epoch" in status:
        told["epoch"] = f"{status['epoch']}"
    for name in ("elbo", "nll"):
        if (number := summary.get(name)) is not None:
            told[name] = f"{number['mean']:.2f} ± {number['standard_error']:.2f}"
    return told
