"""The plugins that are installed, and the selection among them; no plugin is imported here."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from vaeflow.errors import ConfigError, one_line
from vaeflow.plugins.registry import Part
from vaeflow.plugins.trace import tell
from vaeflow.version import __version__

GROUP = "vaeflow"
ALLOW = "VAEFLOW_PLUGINS"
DISABLE = "VAEFLOW_DISABLE_PLUGINS"
log = logging.getLogger("vaeflow")
_NO_COMMAND = "for --help, as it brings no commands"


@dataclass(frozen=True)
class Selection:
    """The plugins to load, by the names of distributions or entry points.

    Built-ins and `files` are always loaded. `allowed` None allows all plugins. `strict` turns
    warnings about plugins into errors. `bringing` are the distributions that bring commands, where
    nothing else is wanted of plugins; None wants all.
    """

    allowed: frozenset[str] | None = None
    disabled: frozenset[str] = frozenset()
    files: tuple[Path, ...] = ()
    strict: bool = False
    bringing: frozenset[str] | None = None

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str] = os.environ,
        *,
        none: bool = False,
        files: Iterable[Path] = (),
        strict: bool = False,
    ) -> Selection:
        """Read `$VAEFLOW_PLUGINS` and `$VAEFLOW_DISABLE_PLUGINS`; `none` allows no plugin."""
        allowed = "" if none else environment.get(ALLOW)
        return cls(
            allowed=None if allowed is None else _names(allowed),
            disabled=_names(environment.get(DISABLE, "")),
            files=tuple(dict.fromkeys(files)),
            strict=strict,
        )

    def excludes(self, plugin: Plugin) -> str:
        """Return why a plugin is not to be loaded, or an empty text."""
        names = {normal(plugin.distribution), normal(plugin.name)}
        if self.allowed is not None and not names & self.allowed:
            empty = f"--no-plugins is given or ${ALLOW} is empty"
            return f"${ALLOW} does not name it" if self.allowed else empty
        if names & self.disabled:
            return f"${DISABLE} names it"
        return "" if self.bringing is None or names & self.bringing else _NO_COMMAND


@dataclass
class Plugin:
    """A plugin, its state and, once it is loaded, its parts and hooks.

    `state` is "installed" before the plugin is loaded, then "ok" or "failed". A plugin that is
    "disabled" or "incompatible" is never imported.
    """

    name: str
    distribution: str  # for a file, its name
    version: str  # for a file, the first digits of its SHA-256
    target: str  # the module that holds the hooks, or the path of the file
    point: metadata.EntryPoint | None = field(default=None, repr=False)  # None for a file
    state: str = "installed"
    reason: str = ""  # of a state other than "ok", in one line
    traceback: str = ""
    parts: list[Part] = field(default_factory=list)
    hooks: list[str] = field(default_factory=list)  # names of the hooks that its module implements
    module: Any = field(default=None, repr=False)

    @property
    def trouble(self) -> str:
        """Return the state of a plugin that is not "ok", with the reason and the cure."""
        became, cure = {
            "installed": ("is not loaded", "load_plugins does"),
            "failed": ("failed to load", f"`vaeflow plugins info {self.distribution}` says where"),
            "disabled": ("is disabled", "change that to use its parts"),
            "incompatible": (
                "is incompatible",
                f"`pip install --upgrade vaeflow {self.distribution}`",
            ),
        }[self.state]
        return f"{self.distribution} {self.version} {became} ({self.reason}): {cure}"

    def called(self, name: str) -> bool:
        """Tell whether `name` names the distribution or the entry point."""
        return normal(name) in (normal(self.distribution), normal(self.name))


def find_plugins(selection: Selection | None = None) -> list[Plugin]:
    """Return the plugins that installed distributions name, then the files, importing none.

    Raises:
        ConfigError: if a file cannot be read.
    """
    selection = selection or Selection.from_environment()
    found = []
    seen = set()
    for dist in metadata.distributions():
        try:
            points = dist.entry_points.select(group=GROUP)
            name, version = (dist.metadata["Name"], dist.version) if points else ("", "")
        except Exception as error:  # such as the remains of an uninstallation
            log.debug("an installed distribution cannot be read: %s", error)
            tell(f"an installed distribution cannot be read ({one_line(error)})")
            continue
        if not name or normal(name) in seen:  # as for imports, the first on the path counts
            continue
        seen.add(normal(name))
        misfit = _misfit(dist)
        for point in points:
            plugin = Plugin(point.name, name, version, point.value, point)
            if reason := selection.excludes(plugin):
                plugin.state, plugin.reason = "disabled", reason
            elif misfit:
                plugin.state, plugin.reason = "incompatible", misfit
            if plugin.state != "installed":
                tell(f"plugin {name} {version}: {plugin.state} ({plugin.reason})")
            found.append(plugin)
    found.sort(key=lambda plugin: (plugin.distribution, plugin.name))
    return found + [_file(path) for path in selection.files]


def normal(name: str) -> str:
    """Return a distribution's name as package indices compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _misfit(dist: metadata.Distribution) -> str:
    """Return how a distribution's requirement of vaeflow fails, or an empty text."""
    # packaging is slow to import, and without a requirement of vaeflow it is not needed.
    mine = [r for r in dist.requires or () if re.match(rf"{GROUP}(?![\w.-])", r, re.IGNORECASE)]
    if not mine:
        return ""
    from packaging.requirements import InvalidRequirement, Requirement

    for text in mine:
        try:
            needs = Requirement(text)
        except InvalidRequirement:
            return f"its requirement {text!r} cannot be read"
        applies = needs.marker is None or needs.marker.evaluate({"extra": ""})
        if applies and not needs.specifier.contains(__version__, prereleases=True):
            return f"it needs vaeflow{needs.specifier}, and this is {__version__}"
    return ""


def _file(path: Path) -> Plugin:
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(
            f"--plugin {path} cannot be read ({error.strerror}): give the path of a Python file"
        ) from None
    return Plugin(path.stem, path.name, digest[:12], str(path))


def _names(text: str) -> frozenset[str]:
    return frozenset(normal(name) for name in re.split(r"[,\s]+", text) if name)
