"""Paths of run directories: one that a caller gives, one that is taken, and a new one."""

from __future__ import annotations

import itertools
import os
import shlex
import time
from pathlib import Path

from vaeflow.config.settings import Config
from vaeflow.errors import ConfigError


def path_of(given: object, function: str) -> Path:
    """Return the path of a run directory that Python gives.

    Raises:
        ConfigError: if it is no path.
    """
    if isinstance(given, str | os.PathLike):
        return Path(given)
    raise ConfigError(
        f"{function}: a {type(given).__name__} is no run directory: give its path, such as "
        '"runs/mine"; a model with data of its own is trained by vaeflow.fit and scored by '
        "vaeflow.evaluate"
    )


def taken(path: Path) -> ConfigError:
    """Return the error of a run directory that is there already."""
    return ConfigError(
        f"--run-dir {shlex.quote(str(path))}: it exists, and nothing is overwritten; choose "
        f"another, or continue it with `vaeflow resume {shlex.quote(str(path))}`"
    )


def put_in_place(half: Path, path: Path) -> None:
    """Rename a directory to a path where nothing is.

    Raises:
        ConfigError: if another process was faster.
        OSError: if the file system refuses.
    """
    try:
        half.rename(path)
    except OSError:
        if os.path.lexists(path):
            raise taken(path) from None
        raise


def new_path(parent: Path, config: Config) -> Path:
    """Return a path like parent/20261122-153000-planar-digits-s0 that does not exist yet."""
    name = _name(config)
    names = (f"{name}-{i}" if i > 1 else name for i in itertools.count(1))
    return next(path for n in names if not (path := parent / n).exists())


def _name(config: Config) -> str:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    posterior, dataset = (part.name.split("/")[-1] for part in (config.posterior, config.dataset))
    return f"{stamp}-{posterior}-{dataset}-s{config.seed}"
