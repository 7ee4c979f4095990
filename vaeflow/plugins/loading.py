"""Loading plugins: each is asked for its parts and its hooks.

A plugin costs only itself. If it fails to import, or one of its hooks raises, its error is recorded
and it brings nothing; everything else goes on. To install a plugin is to trust it, as its code runs
in this process. Nothing else is loaded, except for files that are named by their path.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import logging
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pluggy

from vaeflow.errors import ConfigError, PluginError, did_you_mean, is_interrupt, one_line
from vaeflow.plugins import builtins, hookspecs
from vaeflow.plugins.containment import importing
from vaeflow.plugins.discovery import ALLOW, Plugin, Selection, find_plugins, normal
from vaeflow.plugins.registry import BUILTIN, KINDS, TOOLS, Part, Registry, Tool
from vaeflow.plugins.trace import tell, traced
from vaeflow.version import __version__

log = logging.getLogger("vaeflow")


@dataclass
class Plugins:
    """The loaded plugins: a registry of parts, the hooks, and a report."""

    registry: Registry
    hooks: pluggy.PluginManager
    found: list[Plugin]  # without the built-ins
    selection: Selection = field(default_factory=Selection)

    def require(self, kind: str, name: str) -> Part:
        """Return a part by name; for an unknown name, mention the plugins that are not loaded.

        Raises:
            ConfigError: if there is none, or several distributions offer it.
            PluginError: if it is "distribution/name" and that distribution is not loaded.
        """
        try:
            return self.registry.get(kind, name)
        except ConfigError as error:
            left_out = [p for p in self.found if p.state != "ok"]
            owner, slash, _ = name.partition("/")
            for plugin in left_out:
                if slash and plugin.called(owner):
                    asked = str(error).partition(":")[0]
                    raise PluginError(f"{asked}: {plugin.trouble}") from None
            if not left_out or any(p.name == name for p in self.registry.parts(kind)):
                raise
            told = "; ".join(plugin.trouble for plugin in left_out)
            raise ConfigError(f"{error}; should a plugin bring it, {told}") from None

    def named(self, name: str) -> list[Plugin]:
        """Return the plugins of a distribution or of an entry point.

        Raises:
            ConfigError: if there is none.
        """
        if matches := [plugin for plugin in self.found if plugin.called(name)]:
            return matches
        names = [p.distribution for p in self.found]
        have = f"there are {', '.join(names)}" if names else "no plugins are installed"
        raise ConfigError(f"{name}: unknown plugin{did_you_mean(name, names)}; {have}")

    def conflicts(self) -> list[list[Part]]:
        """Return the parts of one kind and name that several distributions offer.

        The first of each is the built-in where there is one, which then has the name.
        """
        owners: dict[tuple[str, str], list[Part]] = {}
        for kind in (*KINDS, *TOOLS):
            for part in self.registry.parts(kind):
                owners.setdefault((kind, part.name), []).append(part)
        return [parts for parts in owners.values() if len(parts) > 1]

    def call(self, plugin: Plugin, hook: str, **arguments: Any) -> bool | None:
        """Call one hook of one plugin, with the arguments that it asks for.

        Returns:
            None, or the False of a `vaeflow_train_start`.
        """
        others = [module for module in self.hooks.get_plugins() if module is not plugin.module]
        caller = self.hooks.subset_hook_caller(hook, others)
        if plugin.distribution == BUILTIN:
            returned = caller(**arguments)
        else:
            with traced(f"{hook} of {plugin.distribution} {plugin.version}"):
                returned = caller(**arguments)
        declined = hook == "vaeflow_train_start" and returned == [False]
        if returned and not declined:  # a generator, for example, has run nothing
            raise PluginError(f"{hook} returned {returned[0]!r}: a hook acts and returns nothing")
        return False if declined else None


def load_plugins(
    selection: Selection | None = None, *, quiet: bool = False, patience: float | None = None
) -> Plugins:
    """Load the built-ins and every plugin that is selected, each by itself.

    pluggy's own `load_setuptools_entrypoints` stops at the first plugin that fails and drops the
    second of two distributions that use one entry-point name.

    Arguments:
        selection: by default the environment's.
        quiet: neither warn nor raise for a plugin that is not loaded; `found` holds its state.
        patience: seconds after which the import of a plugin fails; None waits for ever.

    Raises:
        ConfigError: if a file that is selected cannot be read.
        PluginError: if a selected file fails; where the selection is strict, also if any plugin
            fails, or two plugins claim one name.
    """
    selection = selection or Selection.from_environment()
    hooks = pluggy.PluginManager(hookspecs.PROJECT)
    hooks.add_hookspecs(hookspecs)
    plugins = Plugins(Registry(), hooks, find_plugins(selection), selection)
    own = Plugin(BUILTIN, BUILTIN, __version__, builtins.__name__, module=builtins)
    _offer(plugins, own)
    for plugin in plugins.found:
        if plugin.state == "installed":
            _load(plugins, plugin, patience)
            told = ", ".join(plugin.hooks) or plugin.reason
            tell(f"plugin {plugin.distribution} {plugin.version}: {plugin.state} ({told})")
        log.debug("plugin %s %s: %s", plugin.distribution, plugin.version, plugin.state)
    if not quiet:
        _report(plugins)
    return plugins


def _load(plugins: Plugins, plugin: Plugin, patience: float | None) -> None:
    try:
        with importing(f"plugin {plugin.distribution} {plugin.version}", patience):
            point, path = plugin.point, Path(plugin.target)
            with traced(f"import of {plugin.target}"):
                plugin.module = point.load() if point else _import_file(path)
            _offer(plugins, plugin)
    except BaseException as error:  # a plugin may even call sys.exit()
        if is_interrupt(error):
            raise
        if plugin.state == "ok":  # what failed is what it left behind
            plugins.hooks.unregister(plugin.module)
            plugins.registry.remove(*plugin.parts)
            plugin.parts, plugin.hooks = [], []
        plugin.state = "failed"
        plugin.reason = one_line(error)
        plugin.traceback = traceback.format_exc()


def _report(plugins: Plugins) -> None:
    """Warn of plugins that were not loaded; raise for files, and where the selection is strict."""
    selection = plugins.selection
    for plugin in plugins.found:
        if plugin.state not in ("failed", "incompatible"):
            continue
        if plugin.point is None:  # a file, which the user named
            path, reason = plugin.target, plugin.reason
            raise PluginError(f"--plugin {path} failed to load ({reason}): --debug says where")
        if selection.strict:
            raise PluginError(f"plugin {plugin.trouble}, or leave out --strict-plugins")
        log.warning("plugin %s", plugin.trouble)
    known = {normal(name) for p in plugins.found for name in (p.distribution, p.name)}
    for name in sorted((selection.allowed or frozenset()) - known):
        near = did_you_mean(name, known)
        log.warning("$%s names %s, which is not installed%s", ALLOW, name, near)
    for parts in plugins.conflicts():
        if selection.strict and parts[0].distribution != BUILTIN:
            owners = " and ".join(p.distribution for p in parts)
            raise PluginError(
                f"{parts[0].kind} {parts[0].name!r} is offered by {owners}: uninstall or disable "
                "one, or leave out --strict-plugins"
            )


def _offer(plugins: Plugins, plugin: Plugin) -> None:
    """Register a plugin's hooks and parts: all of them or, if one fails, none."""
    hooks, module = plugins.hooks, plugin.module
    offered: list[Part] = []
    # Two files may have one name.
    name = f"{plugin.distribution}:{plugin.name}" if plugin.point else plugin.target
    if (other := hooks.get_name(module)) is not None:
        raise PluginError(f"its module {plugin.target} is already that of {other}: remove one")
    try:
        hooks.register(module, name=name)
        hooks.check_pending()  # a misspelt hook would never be called
        plugin.hooks = sorted(caller.name for caller in hooks.get_hookcallers(module) or ())
        _check_marked(module, plugin.hooks)
        for kind in (*KINDS, *TOOLS):
            if (hook := f"vaeflow_register_{kind}s") in plugin.hooks:
                plugins.call(plugin, hook, register=_register(kind, plugin, offered))
        plugins.registry.add(*offered)
    except BaseException:
        if hooks.get_plugin(name) is module:
            hooks.unregister(module)
        raise
    plugin.state, plugin.parts = "ok", offered


def _register(kind: str, plugin: Plugin, offered: list[Part]) -> Callable[..., None]:
    """Return the function that a plugin calls to offer a part or a tool of one kind."""
    owner = (plugin.distribution, plugin.version)

    def register(name: str, target: object) -> None:
        make = Tool if kind in TOOLS else Part
        offered.append(_checked(make(kind, name, *owner, target)))

    def register_command(name: str, target: object, summary: str = "") -> None:
        if not isinstance(summary, str):
            raise PluginError(
                f"command {name!r}: its summary is {summary!r}, but a text is expected"
            )
        line = " ".join(summary.split()) or f"From {' '.join(owner)}."
        offered.append(_checked(Tool(kind, name, *owner, target, line)))

    return register_command if kind == "command" else register


def _check_marked(module: Any, implemented: list[str]) -> None:
    """Refuse a function that is named like a hook but not marked, and a module without hooks."""
    for name in dir(module):
        function = name.startswith("vaeflow_") and inspect.isroutine(getattr(module, name))
        if function and name not in implemented:
            raise PluginError(f"{name} is not marked as a hook: put @vaeflow.hookimpl above it")
    if not implemented:
        raise PluginError("it implements no hook: see docs/hooks.md for what a plugin can do")


def _checked(part: Part) -> Part:
    if not (isinstance(part.name, str) and re.fullmatch(r"[a-z0-9][a-z0-9-]{0,49}", part.name)):
        raise PluginError(
            f"{part.kind} name {part.name!r}: use up to 50 lower-case letters, digits and hyphens"
        )
    if isinstance(part.target, str) and part.target.count(":") != 1:
        raise PluginError(f"{part.kind} {part.name!r}: {part.target!r} is not 'module:name'")
    return part


def _import_file(path: Path) -> Any:
    # Two files of one name are two modules.
    name = f"vaeflow_plugin_{path.stem}_{hashlib.sha256(bytes(path.absolute())).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError("its name does not end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and type hints look for their module
    spec.loader.exec_module(module)
    return module
