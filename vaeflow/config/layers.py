"""Layers of configuration, laid over each other and resolved: defaults < recipe < file < line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vaeflow.config.settings import Config, PartConfig, _plain, setting_fields, settings_from
from vaeflow.errors import ConfigError, PluginError, did_you_mean
from vaeflow.options import validate
from vaeflow.plugins.loading import Plugins
from vaeflow.plugins.registry import KINDS, Part


@dataclass(frozen=True)
class Plan:
    """A validated configuration with the registered parts that it names."""

    config: Config
    parts: Mapping[str, Part]  # kind -> part
    plugins: Plugins  # where the parts were found, and whose hooks a run calls

    def but(self, **settings: Any) -> Plan:
        """Return the plan with other settings, already of their types."""
        return replace(self, config=self.config.model_copy(update=settings))

    def choosing(self, kind: str, name: str) -> Plan:
        """Return the plan with another part of a kind, at the defaults of its options.

        Raises:
            ConfigError: if there is no such part.
        """
        part = self.plugins.require(kind, name)
        chosen = self.but(**{kind: PartConfig(name=part.qualified)})
        return replace(chosen, parts={**self.parts, kind: part})


class Layers:
    """Raw configuration, laid over each other: a later layer wins, key by key.

    A later layer that chooses another part of a kind drops the options that an earlier one set for
    the part it replaces, and `dropped` says so.
    """

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.parts: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
        self.dropped: list[str] = []

    def add(self, raw: Mapping[str, Any], source: str) -> None:
        """Lay a nested mapping, as TOML gives it, over the layers before.

        Raises:
            ConfigError: for a key that no setting and no kind of part has.
        """
        known = [*setting_fields(), *KINDS]
        for key, value in raw.items():
            if key not in known:
                raise ConfigError(
                    f"{source}: unknown setting {key!r}{did_you_mean(key, known)}; "
                    "`vaeflow train --help` lists them"
                )
            if key in KINDS:
                table = {"name": value} if isinstance(value, str) else value
                if not isinstance(table, Mapping):
                    raise ConfigError(
                        f"{source}: {key} is {value!r}, but a name or a table [{key}] is expected"
                    )
                if not isinstance(table.get("name", ""), str):
                    raise ConfigError(
                        f"{source}: the name of {key} is {table['name']!r}, but text is expected; "
                        f"`vaeflow list {key}` shows the names"
                    )
                self._part(key, table, source)
            else:
                self.settings[key] = value

    def _part(self, kind: str, table: Mapping[str, Any], source: str) -> None:
        old = self.parts[kind]
        old_name = old.get("name", Config.model_fields[kind].default.name)
        new_name = table.get("name", old_name)
        options = {k: v for k, v in old.items() if k != "name"}
        if options and not _same(old_name, new_name):
            self.dropped.append(
                f"{kind} {new_name!r} ({source}) replaces {old_name!r}: its options "
                f"{', '.join(options)} are dropped"
            )
            old = {}
        self.parts[kind] = {**old, **table}

    def resolve(self, plugins: Plugins) -> Plan:
        """Validate everything and return the configuration, all defaults filled in, and its parts.

        Part names come out qualified, "distribution/name".

        Raises:
            ConfigError: naming the first wrong setting, its value and the expectation.
            PluginError: if a chosen part cannot be imported.
        """
        values: dict[str, Any] = dict(self.settings)
        parts = {}
        for kind, table in self.parts.items():
            name = table.get("name", Config.model_fields[kind].default.name)
            parts[kind] = part = plugins.require(kind, name)
            given = {k.replace("-", "_"): v for k, v in table.items() if k != "name"}
            options = validate(part.load(), given, kind)
            _check_plain(options, part)
            if "data_root" not in self.settings:
                options = {key: _absolute(value) for key, value in options.items()}
            values[kind] = PartConfig(name=part.qualified, options=options)
        config = settings_from(Config, values)
        if config.data_root is not None:
            config = config.model_copy(update={"data_root": config.data_root.absolute()})
        return Plan(config, parts, plugins)


def part_table(kind: str, given: object, source: str) -> dict[str, Any]:
    """Return {"name": …, option: …} of a part that Python names: a name, or a name with options.

    Raises:
        ConfigError: if it is neither.
    """
    match given:
        case str():
            return {"name": given}
        case (str() as name, Mapping() as options) if all(isinstance(k, str) for k in options):
            return {**options, "name": name}
    told = repr(given) if isinstance(given, int | float | tuple | None) else type(given).__name__
    cure = "vaeflow.VAE composes objects of parts"
    if kind == "dataset":
        cure = "arrays go to vaeflow.fit, a data frame by vaeflow.datasets.Table.of(frame)"
    raise ConfigError(
        f"{source}: {kind} is {told:.80}, but a name, or a name with its options such as "
        f'("{Config.model_fields[kind].default.name}", {{…}}), is expected; {cure}'
    )


def _absolute(value: Any) -> Any:
    """Return a path made absolute: a run must not depend on the directory it was started from."""
    return value.absolute() if isinstance(value, Path) else value


def _same(one: str, other: str) -> bool:
    """Tell whether two names may mean one part: "planar" and "vaeflow/planar" do."""
    (owner, _, name), (owner2, _, name2) = (("/" + n).rpartition("/") for n in (one, other))
    return name == name2 and (owner == owner2 or not (owner and owner2))


def _check_plain(options: Mapping[str, Any], part: Part) -> None:
    for key, value in options.items():
        try:
            _plain(value)
        except TypeError as error:
            raise PluginError(
                f"{part.owner}: option {key} cannot be kept in a configuration file ({error}): "
                "give it such a type, for example Literal in place of an Enum"
            ) from None
