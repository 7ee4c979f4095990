"""A search: the configuration that its trials share, what they vary, and the file that holds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from vaeflow.config.files import read_toml
from vaeflow.config.flat import flatten, nest
from vaeflow.config.layers import Layers, Plan
from vaeflow.config.settings import Config, _plain
from vaeflow.errors import ConfigError
from vaeflow.plugins.loading import Plugins
from vaeflow.plugins.registry import KINDS
from vaeflow.storage import write_file
from vaeflow.text import show
from vaeflow.tuning.space import Space, has_option, names_of, read_space

FILE = "tune.toml"
_FREE = ("threads", "data_root")  # what may change while a search goes on
Raw = Mapping[str, Any]  # settings and tables of parts, as in a TOML file


@dataclass(frozen=True)
class Search:
    """What is searched, and among what.

    Attributes:
        base: the configuration below the command line: a recipe, and a file.
        line: the command line, laid over it.
        space: what the trials vary.
    """

    base: Raw
    line: Raw
    space: Space

    @classmethod
    def of(
        cls,
        layers: Sequence[tuple[Raw, str]],
        line: Raw,
        tune: Mapping[str, object],
        plugins: Plugins,
    ) -> Search:
        """Return a search whose options and ranges are checked, before its first trial.

        Arguments:
            layers: of configuration below the line, with their sources.
            line: the layer of the command line.
            tune: name -> range or values, as `read_space` takes them.
            plugins: where the parts are looked up.

        Raises:
            ConfigError: for a name, a range or a value that cannot be used.
        """
        below = Layers()
        for raw, source in layers:
            below.add(raw, source)
        base = {**below.settings, **{k: t for k, t in below.parts.items() if t}}
        search = cls(base, line, read_space(tune, _names(base, line), plugins))
        search._check(plugins)
        return search

    def plan(self, values: Mapping[str, Any], plugins: Plugins) -> Plan:
        """Return the plan of a trial.

        Fixed options of a kind of which parts are varied hold for the parts that have them.

        Raises:
            ConfigError: if the values do not go together.
        """
        names = {kind: each for kind, each in self._names().items() if kind in self.space}

        def fits(key: str) -> bool:
            kind, dot, option = key.partition(".")
            if not dot or option == "name" or kind not in names:
                return True
            having = [name for name in names[kind] if has_option(kind, name, option, plugins)]
            return values[kind] in having or not having

        fixed = {key: value for key, value in flatten(self.line).items() if fits(key)}
        named = {f"{key}.name" if key in KINDS else key: value for key, value in values.items()}
        layers = Layers()
        layers.add(self.base, "the recipe or file")
        layers.add(nest({**fixed, **named}), "the command line")
        return layers.resolve(plugins)

    def fixed(self, setting: str) -> Any:
        """Return a setting that the recipe, the file or the line gives, else None."""
        return self.line.get(setting, self.base.get(setting))

    def applies(self, key: str, values: Mapping[str, Any], plugins: Plugins) -> bool:
        """Tell whether a trial whose parts are chosen has such an option."""
        kind, dot, option = key.partition(".")
        name = values.get(kind, self._names().get(kind, ("",))[0])
        return not dot or has_option(kind, name, option, plugins)

    def difference(self, other: Search, plugins: Plugins) -> str | None:
        """Return in words the first difference of another search."""
        ours, theirs = ({k: str(d) for k, d in s.space.items()} for s in (self, other))
        for key in dict.fromkeys((*ours, *theirs)):
            if (was := ours.get(key)) != (now := theirs.get(key)):
                return f"{key} was {was or 'not tuned'} and is {now or 'not tuned'}"
        first, second = (flatten(s.first(plugins).config.to_toml()) for s in (self, other))
        for key in dict.fromkeys((*first, *second)):
            if first.get(key) != second.get(key) and key not in _FREE:
                return f"{key} was {show(first.get(key))} and is {show(second.get(key))}"
        return None

    def write(self, folder: Path) -> None:
        """Write the file.

        Raises:
            StorageError: if the file system refuses.
        """
        content = {
            "tune": {key: str(domain) for key, domain in self.space.items()},
            "base": _plain(dict(self.base)),
            "line": _plain(dict(self.line)),
        }
        write_file(folder / FILE, tomli_w.dumps(content))

    @classmethod
    def read(cls, folder: Path, plugins: Plugins) -> Search:
        """Read the file.

        Raises:
            ConfigError: if it is missing or no search.
        """
        raw = read_toml(folder / FILE)
        base, line, tune = (raw.get(key) for key in ("base", "line", "tune"))
        if not (isinstance(base, dict) and isinstance(line, dict) and isinstance(tune, dict)):
            raise ConfigError(
                f"{folder / FILE} is no search of `vaeflow tune`: restore it, or choose another "
                "--out"
            )
        return cls.of([(base, str(folder / FILE))], line, tune, plugins)

    def _names(self) -> dict[str, tuple[str, ...]]:
        return names_of(self.space, _names(self.base, self.line))

    def first(self, plugins: Plugins) -> Plan:
        """Return the plan of the first value of everything."""
        values: dict[str, Any] = {}
        for key, domain in self.space.items():
            if self.applies(key, values, plugins):
                values[key] = domain.ends[0]
        return self.plan(values, plugins)

    def _check(self, plugins: Plugins) -> None:
        """Try each end of a range and each value, with each part that has it."""
        self._check_objectives(plugins)
        first = {kind: self.space[kind].ends[0] for kind in KINDS if kind in self.space}
        for key, parts in self._points(first, plugins):
            for end in self.space[key].ends:
                try:
                    self.plan({**parts, key: end}, plugins)
                except ConfigError as error:
                    raise ConfigError(f"--tune {key}={self.space[key]}: {error.written}") from None

    def _points(self, first: Raw, plugins: Plugins) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield what is varied, with the parts beside which its values are tried."""
        for key in self.space:
            kind, dot, option = key.partition(".")
            if not dot or kind not in self.space:
                yield key, dict(first)
                continue
            for name in self._names()[kind]:
                if has_option(kind, name, option, plugins):
                    yield key, {**first, kind: name}

    def _check_objectives(self, plugins: Plugins) -> None:
        """Refuse trials that are selected by bounds which cannot be compared.

        Raises:
            ConfigError: if the bound by which a trial is judged differs from trial to trial.
        """
        names = self._names()["objective"]
        objectives: dict[str, Any] = {n: plugins.require("objective", n).load() for n in names}
        own = [name for name, each in objectives.items() if each.selects_by != "ELBO"]
        varied = [key for key in self.space if key.partition(".")[0] == "objective"]
        if own and varied:
            raise ConfigError(
                f"--tune {varied[0]}: {own[0]} judges a trial by its own bound, which is another "
                "one than that of other trials: fix the objective and its options, and compare "
                "objectives by `vaeflow benchmark`"
            )


def _names(base: Raw, line: Raw) -> dict[str, str]:
    """Return kind -> the part that is chosen."""
    found = {}
    for kind in KINDS:
        tables = [table for raw in (line, base) if isinstance(table := raw.get(kind), Mapping)]
        names = [table["name"] for table in tables if "name" in table]
        found[kind] = str([*names, Config.model_fields[kind].default.name][0])
    return found
