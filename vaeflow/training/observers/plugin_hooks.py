"""The hooks of plugins, as observers of a training."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from vaeflow.errors import PluginError, VaeflowError, is_interrupt, one_line
from vaeflow.model import VAE
from vaeflow.plugins.containment import no_exit, streams_kept
from vaeflow.plugins.discovery import Plugin
from vaeflow.plugins.loading import Plugins
from vaeflow.training.observers import Observer, Record


class PluginHooks(Observer):
    """Calls the training hooks of one plugin, so that a failing plugin is muted by itself.

    The hooks are given copies: a plugin cannot change the values of others.

    Arguments:
        run_dir: the run directory, an argument of the hooks.
        config: the resolved configuration, another argument.
    """

    def __init__(
        self, plugin: Plugin, plugins: Plugins, run_dir: Path, config: Mapping[str, Any]
    ) -> None:
        self.plugin = plugin
        self.plugins = plugins
        self.run_dir = run_dir
        self.config = config
        self.watches = True  # until its vaeflow_train_start says otherwise

    @property
    def name(self) -> str:
        """Return the plugin's distribution and version."""
        return f"plugin {self.plugin.distribution} {self.plugin.version}"

    def start(self, epoch: int, step: int, epochs: int, steps_per_epoch: int) -> None:
        answer = self._call("vaeflow_train_start", config=deepcopy(self.config))
        self.watches = answer is not False

    def epoch(self, record: Record, model: VAE) -> None:
        self._call("vaeflow_epoch_end", record=dict(record))

    @property
    def sees_pictures(self) -> bool:  # type: ignore[override]
        """Tell whether the plugin has the hook, and watches this run."""
        return self.watches and "vaeflow_picture" in self.plugin.hooks

    def picture(self, name: str, step: int, picture: np.ndarray) -> None:
        self._call("vaeflow_picture", name=name, step=step, picture=picture.copy())

    def finish(self, status: str, summary: Record) -> None:
        self._call("vaeflow_train_end", status=status, summary=deepcopy(dict(summary)))

    def _call(self, hook: str, **arguments: Any) -> bool | None:
        if not self.watches:
            return None
        try:
            with streams_kept(), no_exit():
                return self.plugins.call(self.plugin, hook, run_dir=self.run_dir, **arguments)
        except VaeflowError:
            raise
        except BaseException as error:
            if is_interrupt(error):
                raise
            if self.plugins.selection.strict:
                raise PluginError(
                    f"{self.name}: its hook {hook} failed ({one_line(error)}): "
                    "repair it, or leave out --strict-plugins"
                ) from error
            raise


def hooks_of(plugins: Plugins, run_dir: Path, config: Mapping[str, Any]) -> list[PluginHooks]:
    """Return an observer for each plugin with hooks."""
    return [PluginHooks(p, plugins, run_dir, config) for p in plugins.found if p.hooks]
