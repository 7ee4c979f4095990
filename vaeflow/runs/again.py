"""One command for the whole life of a run, which a scheduler gives again after each kill."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from vaeflow.config.flat import flatten
from vaeflow.config.layers import Plan
from vaeflow.errors import ConfigError
from vaeflow.runs.directory import Run
from vaeflow.runs.experiment import Outcome, Watch, resume, train
from vaeflow.text import show

# What a run resolves as it begins, where the command says "auto".
_RESOLVED = ("binarization", "missing", "scaling")
_SHOWN = 5  # names in a message


def train_or_resume(plan: Plan, path: Path | None, watch: Watch | None = None) -> Outcome | None:
    """Train in a directory that is not there yet, or go on with the run that is there.

    Of several ranks, each looks before any can begin: torchrun's ranks meet first.

    Returns:
        None where the run is complete.

    Raises:
        ConfigError: if no directory is given, if it is no run directory, or if its run has another
            configuration, whose differences it names.
        RunLockedError: if another process trains there.
    """
    if path is None:
        raise ConfigError(
            "--or-resume needs --run-dir: the same command again finds its run by that directory"
        )
    if not os.path.lexists(path):
        return train(plan, path, watch)
    if not (path / "config.toml").is_file():
        raise ConfigError(
            f"--run-dir {path}: it exists and is no run directory; choose one that is not there, "
            f"such as {path / 'run'}"
        )
    run = Run.open(path)
    _check_same(plan, run)
    return resume(run, plan.plugins, data_root=plan.config.data_root, watch=watch)


def _check_same(plan: Plan, run: Run) -> None:
    asked = flatten(plan.config.to_toml())
    found = flatten(run.plan(plan.plugins).config.to_toml())
    alike = [name for name in _RESOLVED if asked.get(name) == "auto"]
    differ = [
        f"{name}: {show(found.get(name))} there, {show(asked.get(name))} in the command"
        for name in {**found, **asked}
        if found.get(name) != asked.get(name) and name not in (*alike, "data_root")
    ]
    if differ:
        told = "; ".join(differ[:_SHOWN])
        raise ConfigError(
            f"--or-resume: the run in {run.path} has another configuration ({told}): give the "
            "command that began it, or another --run-dir, or go on by "
            f"`vaeflow resume {shlex.quote(str(run.path))}`"
        )
