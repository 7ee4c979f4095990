"""A run directory: its files, its lock and its status.

config.toml (resolved), environment.json (versions, parts, data), status.json, metrics.jsonl (one
line per epoch), summary.json (the final evaluation), checkpoints/, evaluations/, diagnoses/; for
TensorBoard train/, validation/ and final/.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import tomli_w

from vaeflow.config.files import read_toml
from vaeflow.config.layers import Layers, Plan
from vaeflow.config.settings import Config
from vaeflow.config.way import Way
from vaeflow.data.splits import Form, Splits
from vaeflow.data.telling import told_before
from vaeflow.errors import CheckpointError, ConfigError, VaeflowError, is_utf8, printable
from vaeflow.model import VAE
from vaeflow.plugins.loading import Plugins, load_plugins
from vaeflow.plugins.registry import KINDS
from vaeflow.reading import plain_json, read_text, sealed, unsealed
from vaeflow.runs.bound import OLDER, check_config, check_data, checksum
from vaeflow.runs.build import build_model, load_data
from vaeflow.runs.lock import held, locked
from vaeflow.runs.outline import outline
from vaeflow.runs.owners import check_owner, environment_of, is_complete
from vaeflow.runs.paths import put_in_place, taken
from vaeflow.runs.weights import load_weights
from vaeflow.runtime.devices import choose_device
from vaeflow.storage import flush_folder, sweep, temporary_name, write_file, writing
from vaeflow.text import html_table
from vaeflow.training.checkpoints import Checkpoint, CheckpointStore, check_room
from vaeflow.training.observers.metrics_file import read_metrics

log = logging.getLogger("vaeflow")


class Run:
    """An existing run directory. Nothing in it names the place where it lies."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def store(self) -> CheckpointStore:
        """Return the checkpoints of this run; each that is saved holds config.toml as it is now."""
        about: dict[str, str | None] = {"run_id": self.id, "config": None}
        with suppress(OSError, ValueError):
            about["config"] = read_text(self.path / "config.toml")
        return CheckpointStore(self.path / "checkpoints", about=about)

    @property
    def id(self) -> str | None:
        """Return what its files state of the run that they belong to; an older run has none."""
        found = self._read("environment.json").get("run_id")
        return None if found is None else str(found)

    @property
    def marks(self) -> dict[str, str | None]:
        """Return what an evaluation states of its run: the id, and the checksum of config.toml."""
        return {
            "run_id": self.environment.get("run_id"),
            "config_sha256": checksum(self.settings()),
        }

    def __repr__(self) -> str:
        plain = ("model", "state")
        told = ", ".join(v if k in plain else f"{k} {v}" for k, v in self._outline().items())
        return printable(f"Run({str(self.path)!r}: {told})")

    def _repr_html_(self) -> str:
        return html_table(f"Run {printable(str(self.path))}", self._outline().items())

    def _outline(self) -> dict[str, str]:
        try:
            return outline(read_toml(self.path / "config.toml"), self.status, self.summary)
        except (VaeflowError, KeyError, TypeError, ValueError, AttributeError):
            return {"model": "its files are incomplete"}

    @cached_property
    def model(self) -> VAE:
        """Return the model with its best weights, as `vaeflow.load` does; loaded once."""
        return self.load()

    def load(
        self, *, device: str = "cpu", weights: str = "best", plugins: Plugins | None = None
    ) -> VAE:
        """Return the model, as `vaeflow.load` does."""
        plan = self.plan(plugins or load_plugins())
        model = build_model(plan, self.form)
        load_weights(model, self.checkpoint(), weights)
        return model.to(choose_device(device)).eval().requires_grad_(False)

    @classmethod
    def create(cls, path: Path, plan: Plan, facts: Mapping[str, Any], weights: int = 0) -> Run:
        """Make the directory, which must not exist, with the files of an untrained run.

        It appears whole: a kill leaves none.

        Arguments:
            path: the directory.
            plan: what is trained.
            facts: what joins the versions in environment.json: the data's shape and checksum,
                threads.
            weights: the bytes of the model's weights, for whose checkpoints there must be room.

        Raises:
            ConfigError: if the directory exists.
            StorageError: if it cannot be written.
        """
        if os.path.lexists(path):
            raise taken(path)
        check_room(path.parent, weights, path)
        half = cls(temporary_name(path))
        with writing(path):
            os.mkdir(half.path)
            try:
                half.set_config(plan.config)
                half._write("environment.json", {**environment_of(plan), **facts})
                put_in_place(half.path, path)
            except BaseException:
                shutil.rmtree(half.path, ignore_errors=True)
                raise
            flush_folder(path.parent)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> Run:
        """Open a run directory.

        Raises:
            CheckpointError: if it is none.
        """
        if not (path / "config.toml").is_file():
            raise CheckpointError(
                f"{path} is no run directory (it has no config.toml): give the directory that "
                "`vaeflow train` printed"
            )
        return cls(path)

    def settings(self) -> dict[str, Any]:
        """Read config.toml, and fill in what the vaeflow of an older run always did."""
        return {**OLDER, **read_toml(self.path / "config.toml")}

    def plan(self, plugins: Plugins, changes: Mapping[str, Any] | None = None) -> Plan:
        """Read the configuration, and find the parts that it names; `changes` are laid over it.

        Raises:
            PluginError: if a part's distribution is missing, naming it.
            ConfigError: if the file was changed into something invalid.
            CheckpointError: if it names another part than the one that the run was made with.
        """
        raw = self.settings()
        owners = self.environment["parts"]
        for kind in KINDS:
            check_owner(self.path, kind, owners[kind], plugins)
            if raw.get(kind, {}).get("name") != owners[kind]["name"]:
                raise CheckpointError(
                    f"{self.path / 'config.toml'} names another {kind} than environment.json, "
                    f"{owners[kind]['name']!r}, with which the run was made: restore it"
                )
        layers = Layers()
        layers.add(raw, str(self.path / "config.toml"))
        layers.add(changes or {}, "--override")
        return layers.resolve(plugins)

    def data(self, plan: Plan | None = None) -> Splits:
        """Load the data that the run was trained on: by `plan`, wherever it lies now.

        Raises:
            DataError, PluginError: if it cannot be had, or is another.
        """
        with told_before():
            splits = load_data(plan := plan or self.plan(load_plugins()))
        own = self.environment.get("data_sha256")
        check_data(self.path, own, plan, splits, "score others by vaeflow.evaluate in Python")
        return splits

    @property
    def form(self) -> Form:
        """Return what environment.json tells of the data: its shape, columns and covariates."""
        return Form.of(self.environment)

    @property
    def environment(self) -> dict[str, Any]:
        """Return environment.json.

        Raises:
            CheckpointError: if it is missing or damaged.
        """
        content = self._read("environment.json")
        if not is_complete(content):
            raise CheckpointError(
                f"{self.path / 'environment.json'} lacks the run's parts or its data's shape: "
                "restore the file, or train again"
            )
        return content

    @property
    def status(self) -> dict[str, Any]:
        """Return status.json: state, epoch, step and exit code.

        A run that says "running" and that no process holds was killed: its state is "killed".
        """
        found = self._read("status.json")
        if found.get("state") == "running" and not held(self.path):
            return {**found, "state": "killed"}
        return found

    @property
    def summary(self) -> dict[str, Any]:
        """Return summary.json, empty until the final evaluation is done."""
        return self._read("summary.json")

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl, and warn if some are lost."""
        with suppress(CheckpointError):  # of the status, which has its own readers
            return read_metrics(self.path / "metrics.jsonl", self.status.get("epoch") or 0)
        return read_metrics(self.path / "metrics.jsonl")

    def checkpoint(self) -> Checkpoint:
        """Return the newest whole checkpoint.

        Raises:
            CheckpointError: if there is none.
            ConfigError: if config.toml is another than when it was trained.
        """
        found = self.store.latest()
        if found is None:
            raise CheckpointError(
                f"{self.path} has no checkpoint yet: `vaeflow resume {self.path}` trains it"
            )
        check_config(self.path, self.settings(), found)
        return found

    def evaluation(self, split: str, way: Way, weights: str) -> Path:
        """Return where `vaeflow evaluate` keeps its figures of single images."""
        if way.limit is not None and way.limit >= self.environment["data_sizes"][split]:
            way = way._replace(limit=None)
        return self.path / "evaluations" / f"{split}-{way.stem}-{weights}.safetensors"

    def set_config(self, config: Config) -> None:
        """Write config.toml, and drop the summary of an earlier configuration."""
        text = tomli_w.dumps(config.to_toml())
        if not is_utf8(text):
            raise ConfigError(
                "the path of the data has bytes that are not UTF-8, which config.toml cannot hold: "
                "rename that file or folder"
            )
        self._replace("config.toml", text)
        (self.path / "summary.json").unlink(missing_ok=True)

    def set_status(self, state: str, **more: Any) -> None:
        """Write status.json."""
        self._write("status.json", {"state": state, **more})

    def set_summary(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json."""
        self._write("summary.json", summary)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for writing. The lock ends with the process, however that ends.

        Raises:
            RunLockedError: if another process holds it.
        """
        with locked(self.path):
            sweep(self.path)
            yield

    def _read(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            content = plain_json(read_text(path))
            if not isinstance(content, dict):
                raise ValueError("it holds no JSON object")
            return unsealed(content)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read ({error}): restore the file") from None

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        self._replace(name, json.dumps(sealed(content), indent=2, allow_nan=False) + "\n")

    def _replace(self, name: str, text: str) -> None:
        # A run that was removed meanwhile is not made again, as a directory without config.toml.
        write_file(self.path / name, text, make_folder=False)
