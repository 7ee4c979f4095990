"""A grid of runs, the product of parts, values and seeds, and the file that holds it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from vaeflow.config.files import read_toml
from vaeflow.config.flat import flatten, nest
from vaeflow.config.layers import Layers
from vaeflow.config.settings import Config, setting_fields
from vaeflow.config.way import PROPOSALS, Way
from vaeflow.errors import ConfigError, did_you_mean
from vaeflow.options import describe
from vaeflow.plugins.loading import Plugins
from vaeflow.plugins.registry import KINDS
from vaeflow.storage import write_file
from vaeflow.text import show

FILE = "benchmark.toml"
_DIRECTORY = re.compile(r"[\w+-][\w.+-]*")  # the names that `_name` makes


@dataclass(frozen=True)
class Cell:
    """One run of a grid: its name, and its configuration as in a TOML file."""

    name: str
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Grid:
    """The runs of a benchmark, the way of their evaluation, and how many ran side by side."""

    cells: tuple[Cell, ...]
    way: Way
    jobs: int = 1  # known for its effect on times, and free to change

    def difference(self, wider: Grid) -> str | None:
        """Return in words the first difference of another grid, or else the runs that it lacks."""
        if self.way != wider.way:
            return f"the NLL was of {self.way} and is of {wider.way}"
        ours, theirs = ({c.name: flatten(c.config) for c in grid.cells} for grid in (self, wider))
        for name in [name for name in ours if name in theirs]:
            flat, other = ours[name], theirs[name]
            for key in dict.fromkeys((*flat, *other)):
                if (was := flat.get(key)) != (now := other.get(key)):
                    return f"{key} of {name} was {show(was)} and is {show(now)}"
        if names := ours.keys() - theirs:
            return f"it also has {', '.join(sorted(names))}"
        return None

    def write(self, folder: Path) -> None:
        """Write the file: the settings that all cells share, then the other settings of each cell.

        Raises:
            StorageError: if the file system refuses.
        """
        flats = {cell.name: flatten(cell.config) for cell in self.cells}
        first = next(iter(flats.values()))
        common = {
            key: value
            for key, value in first.items()
            if all(key in flat and flat[key] == value for flat in flats.values())
        }
        cells = {
            name: {key: value for key, value in flat.items() if key not in common}
            for name, flat in flats.items()
        }
        content = {
            **{key: value for key, value in self.way._asdict().items() if value is not None},
            "jobs": self.jobs,
            "common": nest(common),
            "cells": {name: nest(own) for name, own in cells.items()},
        }
        write_file(folder / FILE, tomli_w.dumps(content))

    @classmethod
    def read(cls, folder: Path) -> Grid:
        """Read the file.

        Raises:
            ConfigError: if it is missing or no grid.
        """
        raw = read_toml(folder / FILE)
        try:
            common = flatten(raw["common"])
            cells = [
                Cell(name, nest({**common, **flatten(own)})) for name, own in raw["cells"].items()
            ]
            if not cells:
                raise ValueError("no cells")
            for cell in cells:
                if not _DIRECTORY.fullmatch(cell.name):
                    raise ConfigError(
                        f"{folder / FILE} names a run {cell.name!r:.80}, which is no name of a "
                        "directory in it: restore the file"
                    )
            # A grid of before there were proposals was evaluated under q.
            limit = int(raw["limit"]) if "limit" in raw else None
            way = Way(raw.get("proposal", "q"), int(raw["samples"]), limit)
            if way.proposal not in PROPOSALS:
                raise ValueError("no such proposal")
            return cls(tuple(cells), way, int(raw["jobs"]))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ConfigError(
                f"{folder / FILE} is no grid of `vaeflow benchmark`: restore it, or choose another "
                "--out"
            ) from None


def make_cells(
    base: Sequence[tuple[Mapping[str, Any], str]],
    line: Mapping[str, Any],
    names: Mapping[str, Sequence[str]],
    vary: Mapping[str, Sequence[str]],
    seeds: Iterable[int],
    plugins: Plugins,
) -> tuple[list[Cell], list[str]]:
    """Return the product of the parts' names, the varied values and the seeds, without repetition.

    An option that only some of several parts of its kind have is theirs alone: the others appear
    once.

    Arguments:
        base: layers of configuration and their sources.
        line: the layer of the command line, without the parts that are given more than once.
        names: kind -> the parts that are given more than once.
        vary: "posterior.steps" or "latent" -> values, as text.
        seeds: of the weights, the order of the images and the noise.
        plugins: where the parts are looked up.

    Returns:
        The cells, seeds innermost, and remarks on options that were dropped.

    Raises:
        ConfigError, PluginError: for a part, an option or a value that cannot be used.
    """
    _check_keys(vary)
    found: dict[str, Cell] = {}
    remarks: dict[str, None] = {}
    for values in itertools.product(*names.values()):
        chosen = dict(zip(names, values, strict=True))
        fits = {key: _has(key, chosen, names, plugins) for key in (*flatten(line), *vary)}
        own = {key: texts for key, texts in vary.items() if fits[key]}
        fixed = {key: value for key, value in flatten(line).items() if fits.get(key, True)}
        for point, seed in itertools.product(itertools.product(*own.values()), seeds):
            varied = dict(zip(own, point, strict=True))
            parts = {f"{kind}.name": name for kind, name in chosen.items()}
            layers = Layers()
            for raw, source in base:
                layers.add(raw, source)
            layers.add(nest({**fixed, **parts, **varied, "seed": seed}), "the command line")
            remarks.update(dict.fromkeys(layers.dropped))
            config = layers.resolve(plugins).config
            cell = Cell(_name(config, chosen, names, varied), config.to_toml())
            _put(found, cell)
    return [*found.values()], [*remarks]


def split_values(text: str) -> list[str]:
    """Split at commas outside brackets: "4,16" is two values, "[200,200],[500]" as well."""
    parts = re.split(r",(?![^\[\(]*[\]\)])", text)
    return [part.strip() for part in parts if part.strip()]


def _check_keys(vary: Mapping[str, Sequence[str]]) -> None:
    known = [*setting_fields(), *KINDS]
    for key, values in vary.items():
        kind, dot, option = key.partition(".")
        if key == "seed":
            raise ConfigError("--vary seed: seeds are given by --seeds, as in --seeds 0,1,2")
        if kind not in known or (dot and (kind not in KINDS or not option)):
            raise ConfigError(
                f"--vary {key}: unknown setting{did_you_mean(kind, known)}; write KEY=V1,V2 or "
                "KIND.OPTION=V1,V2, as in --vary posterior.steps=4,16"
            )
        if not values:
            raise ConfigError(f"--vary {key}: it has no values; give some, as in {key}=4,16")


def _has(
    key: str, chosen: Mapping[str, str], names: Mapping[str, Sequence[str]], plugins: Plugins
) -> bool:
    """Tell whether an option is the chosen part's; one that no part has is left to validation."""
    kind, dot, option = key.partition(".")
    if not dot or kind not in chosen or option == "name":
        return True
    having = [n for n in names[kind] if option in _options(kind, n, plugins)]
    return chosen[kind] in having or not having


def _options(kind: str, name: str, plugins: Plugins) -> Iterator[str]:
    return (option.name for option in describe(plugins.require(kind, name).load()))


def _name(
    config: Config,
    chosen: Mapping[str, str],
    names: Mapping[str, Sequence[str]],
    varied: Mapping[str, str],
) -> str:
    """Return a name such as planar-steps4-s1, which is a directory's."""
    words = []
    parts = {"posterior": config.posterior.name, **chosen}
    for kind, name in parts.items():
        short = name.rpartition("/")[2]
        alone = [n.rpartition("/")[2] for n in names.get(kind, ())].count(short) <= 1
        words.append(short if alone else name.replace("/", "."))
    for key, value in varied.items():
        option = key.rpartition(".")[2]
        same = [k for k in varied if k.rpartition(".")[2] == option]
        words.append(f"{option if len(same) == 1 else key}{value}")
    words.append(f"s{config.seed}")
    return "-".join(re.sub(r"[^\w.+-]+", "_", word).strip("_") for word in words)


def _put(found: dict[str, Cell], cell: Cell) -> None:
    """Keep a cell unless its configuration is there already, under a name of its own."""
    as_text = json.dumps(cell.config, sort_keys=True)
    if any(json.dumps(c.config, sort_keys=True) == as_text for c in found.values()):
        return
    names = (f"{cell.name}-{i}" if i > 1 else cell.name for i in itertools.count(1))
    name = next(n for n in names if n not in found)
    found[name] = Cell(name, cell.config)
