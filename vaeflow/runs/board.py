"""What TensorBoard is told of a run beside its curves: hyperparameters and codes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaeflow.config.settings import setting_fields
from vaeflow.data.splits import Splits
from vaeflow.data.stored import ends
from vaeflow.options import describe
from vaeflow.pictures import is_image, span_of
from vaeflow.runs.given import of_splits
from vaeflow.runs.latent import tells_rows_apart
from vaeflow.runs.prepare import Experiment
from vaeflow.runtime.noise import Noise
from vaeflow.text import show
from vaeflow.training.observers.projector import Points
from vaeflow.training.observers.tensorboard import TensorBoard

_POINTS = 1000  # examples in the projector
_DRAWS = 20  # of q for each, where its mean has no formula
_ALWAYS = ("batch_size", "epochs", "latent", "lr", "seed")
_HOUSEKEEPING = (
    "checkpoint_seconds", "data_root", "device", "image_every", "tensorboard", "test_images",
    "test_samples", "threads",
)  # fmt: skip
_NETWORKS = ("encoder", "decoder")


def board_of(experiment: Experiment, directory: Path) -> TensorBoard:
    """Return the observer that writes a run for TensorBoard."""
    config = experiment.config.to_toml()
    return TensorBoard(directory, config, hparams_of(experiment), partial(points_of, experiment))


def hparams_of(experiment: Experiment) -> dict[str, float | str]:
    """Return the columns of the tab HPARAMS: name -> value.

    They are the names of the parts, the posterior's options, the settings that are always looked
    at, and what else differs from its default. TensorBoard sorts the columns by name, capitals
    first, but for those that differ between runs, which it puts before all others.
    """
    config = experiment.config
    found: dict[str, float | str] = {}
    for kind, part in config.parts().items():
        found[kind if kind in _NETWORKS else kind.capitalize()] = _bare(part.name)
        for option in describe(experiment.plan.parts[kind].load()):
            value = part.options.get(option.name)
            if kind == "posterior" or show(value) != option.default:
                found[f"{kind}.{option.name}"] = _plain(value)
    for name, field in setting_fields().items():
        value = getattr(config, name)
        if name in _ALWAYS or (name not in _HOUSEKEEPING and value != field.default):
            found[name] = _plain(value)
    return found


def _bare(name: str) -> str:
    return name.removeprefix("vaeflow/")


def _plain(value: object) -> float | str:
    """Return a number as it is, and anything else as text."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else show(value)  # type: ignore[return-value]


def points_of(experiment: Experiment) -> Points:
    """Return the codes of held-out examples, evenly spaced over them, by the model as it is."""
    config, splits = experiment.config, experiment.splits
    given = of_splits(splits, ("validation",), config)
    count = min(_POINTS, len(given))
    which = np.linspace(0, len(given) - 1, count).round().astype(int)
    model, index = experiment.model, torch.from_numpy(which)
    some = given.examples[index].read()
    with Noise(config.seed, model.device).private("projector"):
        z = model.encode(some, draws=_DRAWS).cpu().numpy()
    return Points(z, _labels(given.beside, given.rows, which), _thumbnails(splits, index))


def _labels(
    beside: Mapping[str, np.ndarray], rows: object, which: np.ndarray
) -> dict[str, np.ndarray]:
    """Return labels and covariates, ids behind them, and which example of its file each is."""
    beside = dict(sorted(beside.items(), key=lambda item: tells_rows_apart(item[1])))
    called = np.asarray(rows)[which]
    name = "file" if called.dtype == object else "row"
    return {**{k: v[which] for k, v in beside.items()}, name: called}


def _thumbnails(splits: Splits, index: Tensor) -> np.ndarray | None:
    """Return validation examples as pictures of 8 bits, None if they are no pictures."""
    shape = splits.data_shape
    if not is_image(shape):
        return None
    low, high = span_of(*ends(splits.kept("train")))
    x = splits.examples("validation")[index].read().values
    x = x.reshape(len(x), -1, *shape[-2:]).movedim(1, -1)
    pixels = (((x - low) / ((high - low) or 1.0)).clamp(0, 1) * 255).round().byte().cpu().numpy()
    return pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels
