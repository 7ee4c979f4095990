"""Labels of groups of runs: the posterior, and the settings in which groups differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vaeflow.errors import printable
from vaeflow.plugins.registry import KINDS
from vaeflow.text import show


def labels(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a label for each flat configuration, no two of them the same."""
    found = [_label(config, configs) for config in configs]
    return [_unique(found, i) for i in range(len(found))]


def differing(configs: Sequence[Mapping[str, Any]]) -> int:
    """Return how many settings the longest label names."""
    return max((len(_words(config, configs)) for config in configs), default=0)


def short(name: str) -> str:
    """Return a part's name without vaeflow's own prefix."""
    return name.removeprefix("vaeflow/")


def _label(config: Mapping[str, Any], all_of: Sequence[Mapping[str, Any]]) -> str:
    """Return a label such as "planar (steps 16)": the posterior, and the settings that differ."""
    name, words = short(str(config["posterior.name"])), _words(config, all_of)
    return printable(f"{name} ({', '.join(words)})" if words else name)


def _words(config: Mapping[str, Any], all_of: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the settings of one that differ from those of others."""
    words = []
    for key in config:
        kind, _, option = key.partition(".")
        if kind not in KINDS:
            if key != "images_sha256" and _differs(key, all_of):
                words.append(_setting(key.replace("_", " "), config[key]))
        elif option == "name":
            if kind != "posterior" and _differs(key, all_of):
                words.append(f"{kind} {short(config[key])}")
        else:
            same = [c for c in all_of if c[f"{kind}.name"] == config[f"{kind}.name"]]
            if _differs(key, same):
                where = "" if kind == "posterior" else f"{kind} "
                words.append(f"{where}{option.replace('_', ' ')} {show(config[key])}")
    return words


def _setting(name: str, value: object) -> str:
    return f"no {name}" if value in ([], ()) else f"{name} {show(value)}"


def _differs(key: str, configs: Sequence[Mapping[str, Any]]) -> bool:
    return len({show(c.get(key)) for c in configs}) > 1


def _unique(labels: Sequence[str], i: int) -> str:
    before = labels[:i].count(labels[i])
    return f"{labels[i]} #{before + 1}" if before else labels[i]
