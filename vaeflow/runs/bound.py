"""What the figures of a run are bound to: the configuration of its checkpoints, and its data."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from vaeflow.config.flat import flatten
from vaeflow.config.layers import Plan
from vaeflow.config.settings import setting_fields
from vaeflow.data.splits import Splits
from vaeflow.errors import ConfigError, DataError, did_you_mean
from vaeflow.plugins.registry import KINDS
from vaeflow.reading import plain_toml
from vaeflow.text import show
from vaeflow.training.checkpoints import Checkpoint

log = logging.getLogger("vaeflow")
# What a checkpoint's figures do not depend on, and `vaeflow resume` takes from config.toml.
_FREE = ("epochs", "checkpoint_seconds", "image_every", "tensorboard", "threads")
# What a run cannot change as it goes on; its model and its data neither.
_FIXED = (
    *("batch_size", "binarization", "condition", "dequantize", "latent"),
    *("missing", "optimizer", "scaling", "seed", "start_at_mean"),
)
# What the vaeflow of an older run always did, where its config.toml says nothing.
OLDER = {"scaling": "raw", "on_nonfinite": "stop", "missing": "refuse", "condition": []}
_SHOWN = 5  # names in a message


def check_config(
    path: Path,
    settings: Mapping[str, Any],
    checkpoint: Checkpoint,
    *,
    resuming: bool = False,
    given: Collection[str] = (),
) -> Collection[str]:
    """Refuse a config.toml that is another than the one that the checkpoint was trained with.

    Arguments:
        path: of the run.
        settings: of its config.toml.
        checkpoint: one of before checkpoints held the configuration is taken as it is.
        resuming: warn of what may change.
        given: the settings that the caller changes by itself.

    Returns:
        The settings that differ, and may.

    Raises:
        ConfigError: naming each setting, with its value then and now.
    """
    told = {k: said for k, said in changes(settings, checkpoint).items() if k not in given}
    # The cosine schedule is laid out for its number of epochs.
    free = {*_FREE} - ({"epochs"} if settings.get("schedule") == "cosine" else set())
    bound = [k for k in told if k not in free and not _of_data(k)]
    if bound:
        cure, now = "train a new run", _known(settings)
        if not any(_fixed(k) or k == "epochs" for k in bound):
            words = " ".join(f"--override {k}={show(now.get(k))}" for k in bound)
            cure = f"go on with it by `vaeflow resume {path} {words}`"
        raise ConfigError(
            f"{path / 'config.toml'} was changed since checkpoint {checkpoint.path.name}, "
            f"{', '.join(told[k] for k in bound[:_SHOWN])}: restore it, or {cure}"
        )
    if resuming and told:
        said = ", ".join(told.values())
        log.warning("config.toml has changed, and the run goes on by it: %s", said)
    return told


def changes(settings: Mapping[str, Any], checkpoint: Checkpoint) -> dict[str, str]:
    """Return what differs from the configuration in a checkpoint: name -> "name: then → now".

    Raises:
        CheckpointError: if it holds none that can be read; an older one holds none at all.
    """
    if (text := checkpoint.state.get("config")) is None:
        return {}
    try:
        then = _known(plain_toml(text))
    except (ValueError, TypeError, AttributeError) as error:
        raise checkpoint.odd(f"its configuration cannot be read: {error}") from None
    now = _known(settings)
    return {
        k: f"{k}: {show(then.get(k))} → {show(now.get(k))}"
        for k in {**then, **now}
        if then.get(k) != now.get(k)
    }


def _known(nested: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings by name; a file has no entry for none, nor for one newer than itself."""
    defaults = {k: field.default for k, field in setting_fields().items()}
    return {**defaults, **OLDER, **flatten(nested)}


def _of_data(name: str) -> bool:
    """Tell whether a setting says where the data lies, or is else bound by its checksum."""
    return name == "data_root" or (name.startswith("dataset.") and name != "dataset.name")


def _fixed(name: str) -> bool:
    kind = name.partition(".")[0]
    return name in _FIXED or name in KINDS or (kind in KINDS and kind != "objective")


def check_changes(changes: Mapping[str, Any]) -> None:
    """Refuse what cannot change in the middle of a run.

    Arguments:
        changes: nested, as `Run.plan` takes them.

    Raises:
        ConfigError: naming the first such setting.
    """
    for name in flatten(changes):
        if name == "epochs" or _fixed(name):
            cure = "give --epochs" if name == "epochs" else "train a new run"
            raise ConfigError(f"--override {name}: it cannot change within a run; {cure}")
        known = [*setting_fields(), *KINDS]
        if (kind := name.partition(".")[0]) not in known:
            raise ConfigError(
                f"--override {name}: unknown setting{did_you_mean(kind, known)}; name a setting "
                "of config.toml"
            )


def checksum(settings: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a configuration, wherever its data lies."""
    known = {name: v for name, v in flatten(settings).items() if not _of_data(name)}
    text = json.dumps(known, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def check_data(path: Path, sha256: str | None, plan: Plan, splits: Splits, otherwise: str) -> None:
    """Refuse other data than a run's, whose checksum is given.

    Raises:
        DataError: saying what to do `otherwise`.
    """
    if sha256 != splits.fingerprint():
        raise DataError(
            f"{path} was trained on other data than dataset {plan.config.dataset.name!r} holds "
            f"now: restore the files, or {otherwise}"
        )
