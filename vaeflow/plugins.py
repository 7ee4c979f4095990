"""Finding plugins and asking them for their parts.

A plugin costs only itself: one that fails to import, or whose hooks raise, is recorded with its
error and brings nothing; everything else goes on.
"""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import pluggy

from vaeflow import __version__, builtins, hookspecs
from vaeflow.errors import ConfigError, PluginError
from vaeflow.registry import BUILTIN, KINDS, Part, Registry

GROUP = "vaeflow"
log = logging.getLogger("vaeflow")


@dataclass
class Plugin:
    """An installed plugin and what became of it."""

    name: str
    distribution: str
    version: str
    module: str
    parts: list[Part] = field(default_factory=list)
    error: str = ""  # one line; empty if it works
    traceback: str = ""

    @property
    def state(self) -> str:
        """Return "ok" or "failed"."""
        return "failed" if self.error else "ok"


@dataclass
class Plugins:
    """The loaded plugins: a registry of parts, the hooks, and a report."""

    registry: Registry
    hooks: pluggy.PluginManager
    found: list[Plugin]

    def require(self, kind: str, name: str) -> Part:
        """Return a part by name; where it is unknown, mention the plugins that failed.

        Raises:
            ConfigError: if there is none, or several distributions offer it.
            PluginError: if it is "distribution/name" and that distribution's plugin failed.
        """
        try:
            return self.registry.get(kind, name)
        except ConfigError as error:
            failed = [p for p in self.found if p.error]
            if not failed:
                raise
            told = "; ".join(f"{p.distribution} {p.version} ({p.error})" for p in failed)
            if name.partition("/")[0] in {p.distribution for p in failed}:
                raise PluginError(
                    f"--{kind} {name}: a plugin failed to load, {told}: repair or reinstall it"
                ) from None
            raise ConfigError(
                f"{error}; should a plugin bring it, repair what failed to load: {told}"
            ) from None


def installed() -> list[tuple[Plugin, metadata.EntryPoint]]:
    """Return the plugins that installed distributions name, importing none of them."""
    found = []
    seen = set()
    for dist in metadata.distributions():
        try:
            points = dist.entry_points.select(group=GROUP)
            name, version = (dist.metadata["Name"], dist.version) if points else ("", "")
        except Exception as error:  # the remains of some uninstallation, no concern of ours
            log.debug("an installed distribution cannot be read: %s", error)
            continue
        if not name or name in seen:  # as for imports, the first on the path hides the others
            continue
        seen.add(name)
        for point in points:
            found.append((Plugin(point.name, name, version, point.value), point))
    return sorted(found, key=lambda pair: (pair[0].distribution, pair[0].name))


def load_plugins() -> Plugins:
    """Load the built-ins and every installed plugin, each by itself.

    pluggy's own `load_setuptools_entrypoints` stops at the first plugin that fails and drops the
    second of two distributions that use one entry-point name.
    """
    hooks = pluggy.PluginManager(hookspecs.PROJECT)
    hooks.add_hookspecs(hookspecs)
    plugins = Plugins(Registry(), hooks, [])
    _offer(plugins, Plugin(BUILTIN, BUILTIN, __version__, builtins.__name__), builtins)
    for plugin, point in installed():
        plugins.found.append(plugin)
        try:
            _offer(plugins, plugin, point.load())
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may even call sys.exit()
            plugin.error = f"{type(error).__name__}: {' '.join(str(error).split())}"
            plugin.traceback = traceback.format_exc()
    return plugins


def _offer(plugins: Plugins, plugin: Plugin, module: Any) -> None:
    """Register a plugin's hooks and parts: all of them, or, if one fails, none."""
    hooks = plugins.hooks
    offered: list[Part] = []
    name = f"{plugin.distribution}:{plugin.name}"
    try:
        hooks.register(module, name=name)
        hooks.check_pending()  # a misspelt hook would never be called
        for kind in KINDS:

            def register(name: str, target: str | type, kind: str = kind) -> None:
                part = Part(kind, name, plugin.distribution, plugin.version, target)
                offered.append(_checked(part))

            hook = getattr(module, f"vaeflow_register_{kind}s", None)
            if hook is not None:
                hook(register)
        plugins.registry.add(*offered)
    except BaseException:
        if hooks.get_plugin(name) is module:
            hooks.unregister(module)
        raise
    plugin.parts = offered


def _checked(part: Part) -> Part:
    name_ok = isinstance(part.name, str) and part.name.replace("-", "").isalnum()
    if not name_ok or part.name != part.name.lower():
        raise PluginError(
            f"{part.kind} name {part.name!r}: use lower-case letters, digits and hyphens"
        )
    if isinstance(part.target, str) and part.target.count(":") != 1:
        raise PluginError(f"{part.kind} {part.name!r}: {part.target!r} is not 'module:Class'")
    return part
