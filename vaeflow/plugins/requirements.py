"""The plugins of this environment, pinned as pip reads them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vaeflow.plugins.discovery import Plugin


@dataclass(frozen=True)
class Pinned:
    """A distribution with its version, or a file with its checksum.

    Attributes:
        name: of the distribution, or the path of a file.
        version: of the distribution; empty for a file.
        sha256: of the file; empty for a distribution.
        editable: the folder of an editable installation, whose files may differ from the version.
        left_out: why it is not loaded, such as a variable that disables it.
    """

    name: str
    version: str = ""
    sha256: str = ""
    editable: str = ""
    left_out: str = ""

    @property
    def requirement(self) -> str:
        """Return what pip is asked for; nothing for a file."""
        return f"{self.name}=={self.version}" if self.version else ""

    @property
    def lines(self) -> list[str]:
        """Return the lines of a requirements file: a requirement, comments, or both."""
        if not self.version:
            return [f"# {self.name} is a file, given by --plugin: SHA-256 {self.sha256}"]
        if self.left_out:
            return [f"# {self.requirement} is not loaded: {self.left_out}"]
        said = f"# {self.name} is an editable install of {self.editable}, which may have changed"
        return [said, self.requirement] if self.editable else [self.requirement]


def pinned(plugins: Iterable[Plugin]) -> Iterator[Pinned]:
    """Yield each distribution of plugins once, then the files."""
    seen = set()
    for plugin in plugins:
        if plugin.point is None:
            digest = hashlib.sha256(Path(plugin.target).read_bytes()).hexdigest()
            yield Pinned(plugin.target, sha256=digest)
        elif plugin.distribution not in seen:
            seen.add(plugin.distribution)
            folder, reason = _editable(plugin), plugin.reason
            yield Pinned(plugin.distribution, plugin.version, "", folder, reason)


def _editable(plugin: Plugin) -> str:
    """Return the folder that an editable installation points to, from the file that pip leaves."""
    dist = plugin.point.dist if plugin.point else None
    with suppress(OSError, ValueError, AttributeError):
        told = json.loads((dist.read_text("direct_url.json") if dist else None) or "{}")
        if told.get("dir_info", {}).get("editable"):
            return str(told.get("url", "")).removeprefix("file://")
    return ""
