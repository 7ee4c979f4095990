"""Every extension point on one screen.

A plugin is a module whose functions carry `@vaeflow.hookimpl` and are named like the hooks below.
Its distribution names the module in the entry-point group ``vaeflow``. `register(name, target)`
takes the part's class or, so that listing parts imports nothing heavy, a string
``"package.module:Class"`` that is imported on first use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import click

PROJECT = "vaeflow"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Register = Callable[[str, "str | type"], None]
RegisterCommand = Callable[[str, "str | click.Command", str], None]


@hookspec
def vaeflow_register_encoders(register: Register) -> None:
    """Offer encoders: data to features. Subclass `vaeflow.parts.Encoder`."""


@hookspec
def vaeflow_register_posteriors(register: Register) -> None:
    """Offer posteriors: features to q(z|x). Subclass `vaeflow.parts.Posterior`."""


@hookspec
def vaeflow_register_priors(register: Register) -> None:
    """Offer priors p(z). Subclass `vaeflow.parts.Prior`."""


@hookspec
def vaeflow_register_decoders(register: Register) -> None:
    """Offer decoders: z to the likelihood's parameters. Subclass `vaeflow.parts.Decoder`."""


@hookspec
def vaeflow_register_likelihoods(register: Register) -> None:
    """Offer likelihoods p(x|z). Subclass `vaeflow.parts.Likelihood`."""


@hookspec
def vaeflow_register_objectives(register: Register) -> None:
    """Offer objectives: Terms to a bound per image. Subclass `vaeflow.parts.Objective`."""


@hookspec
def vaeflow_register_datasets(register: Register) -> None:
    """Offer datasets. Subclass `vaeflow.parts.Dataset`."""


@hookspec
def vaeflow_register_engines(register: Register) -> None:
    """Offer engines: functions of (tasks, jobs, stop) that spread runs over processes."""


@hookspec
def vaeflow_register_commands(register: RegisterCommand) -> None:
    """Offer commands of `vaeflow`: a command of click and, as third argument, a line of help."""


@hookspec
def vaeflow_train_start(run_dir: Path, config: Mapping[str, Any]) -> bool | None:
    """Training begins (or resumes) in `run_dir` with the resolved configuration.

    A plugin that returns False does not watch this run: its other hooks are not called in it, and
    no picture is drawn for it.
    """


@hookspec
def vaeflow_epoch_end(run_dir: Path, record: Mapping[str, Any]) -> None:
    """An epoch ended; `record` is its line of metrics.jsonl."""


@hookspec
def vaeflow_picture(run_dir: Path, name: str, step: int, picture: Any) -> None:
    """A picture was drawn after an epoch: a NumPy array (H, W) or (H, W, 3) of 8 bits."""


@hookspec
def vaeflow_train_end(run_dir: Path, status: str, summary: Mapping[str, Any]) -> None:
    """The run ended with status "completed", "interrupted" or "failed".

    It comes after the final evaluation, whose figures are in `summary` as in summary.json; without
    one, as of an interrupted training, `summary` is empty.
    """
