"""The parts and versions that a run was made with: stated then, and looked for now."""

from __future__ import annotations

import logging
import platform
import re
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vaeflow.config.layers import Plan
from vaeflow.errors import PluginError
from vaeflow.plugins.loading import Plugins
from vaeflow.plugins.registry import BUILTIN, KINDS
from vaeflow.version import __version__

# What pip installs has such a name and version: no option, path or address is advised.
_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?", re.ASCII)
_VERSION = re.compile(r"\d[\w.+!-]*", re.ASCII)
log = logging.getLogger("vaeflow")


def check_owner(run: Path, kind: str, owner: Mapping[str, str], plugins: Plugins) -> None:
    """Refuse a part that is not there, and warn of one that has changed.

    Arguments:
        run: the run directory, which messages name.
        kind: the kind of the part.
        owner: what environment.json tells of it: name, distribution and version.
        plugins: what is installed.

    Raises:
        PluginError: with what to install.
    """
    distribution, version = str(owner["distribution"]), str(owner["version"])
    needs = f"{run} needs {kind} {owner['name']!r} of {distribution} {version}"
    for part in plugins.registry.parts(kind):
        if part.qualified == owner["name"]:
            if part.version != version and distribution != BUILTIN:
                log.warning("%s, and this is %s: results may differ", needs, part.version)
            return
    for plugin in plugins.found:
        if plugin.distribution == distribution:
            if plugin.state != "ok":
                raise PluginError(f"{needs}: {plugin.trouble}")
            same = "restore the file" if plugin.point is None else f"install {version}"
            raise PluginError(f"{needs}, and {plugin.version} does not offer it: {same}")
    if distribution.endswith(".py"):
        raise PluginError(
            f"{needs}, a file of that name: give its path with --plugin PATH/{distribution}"
        )
    if not (_DISTRIBUTION.fullmatch(distribution) and _VERSION.fullmatch(version)):
        raise PluginError(
            f"{needs}, and no package has such a name and version: restore "
            f"{run / 'environment.json'}"
        )
    raise PluginError(f"{needs}, which is not installed: pip install {distribution}=={version}")


def environment_of(plan: Plan) -> dict[str, Any]:
    """Return a new id, and the versions and parts that the numbers of a run depend on."""
    import torch

    return {
        "run_id": secrets.token_hex(8),
        "vaeflow": __version__,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "platform": platform.platform(),
        "parts": {
            kind: {"name": p.qualified, "distribution": p.distribution, "version": p.version}
            for kind, p in plan.parts.items()
        },
    }


def is_complete(environment: Mapping[str, Any]) -> bool:
    """Tell whether it states the parts, their owners and the shape of the data."""
    try:
        stated = [environment["parts"][kind].keys() for kind in KINDS]
    except (KeyError, TypeError, AttributeError):
        return False
    known = all({"name", "distribution", "version"} <= names for names in stated)
    return known and bool(environment.get("data_shape"))
