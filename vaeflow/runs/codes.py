"""The latent codes of data of a run's form.

Shapes: N examples, L latent size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from vaeflow.data.splits import NAMES
from vaeflow.errors import ConfigError
from vaeflow.evaluation.options import Seed, Weights
from vaeflow.plugins.loading import Plugins
from vaeflow.runs.directory import Run
from vaeflow.runs.given import given_data, own_data

Choice = Literal["all", "train", "validation", "test"]


@dataclass(frozen=True, kw_only=True)
class EncodingOptions:
    """How data is encoded.

    Attributes:
        split: of the run's own data: "all", "train", "validation" or "test".
        seed: of the draws of a q whose mean has no formula.
        weights: of the model: "best" or "last".
        device: "auto", "cpu", "cuda", …
        data_root: where the run's own data lies, if it has moved.
        condition: covariates that the data does not hold itself, name -> value.
    """

    split: Choice = "all"
    seed: Seed = 0
    weights: Weights = "best"
    device: str = "auto"
    data_root: Path | None = None
    condition: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Codes:
    """The means of q(z|x) of N examples.

    Attributes:
        z: (N, L).
        beside: name -> values (N,): the split, the row or the file, labels and ids.
    """

    z: np.ndarray
    beside: Mapping[str, np.ndarray]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Return the codes as one array, and what stands beside them."""
        return _joined(self.beside, {"codes": self.z})

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Return the codes as the columns z0, z1, … of a table, behind what stands beside them."""
        return _joined(self.beside, {f"z{i}": column for i, column in enumerate(self.z.T)})


def _joined(
    beside: Mapping[str, np.ndarray], codes: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return both; a label of a code's name is told apart from it."""
    apart = {name + "_label" if name in codes else name: each for name, each in beside.items()}
    return {**apart, **codes}


def encode_run(run: Run, plugins: Plugins, options: EncodingOptions, data: object = None) -> Codes:
    """Return the latent codes of data, or of a run's own, in the order of the file.

    Arguments:
        run: the run.
        plugins: where its parts are looked up.
        options: how.
        data: as `given_data` takes it; None is the run's own data.

    Raises:
        ConfigError: if both data and a split are named.
        DataError, CheckpointError, PluginError: if run or data cannot be loaded.
    """
    plan = run.plan(plugins)
    if options.data_root is not None:
        plan = plan.but(data_root=options.data_root.absolute())
    model = run.load(device=options.device, weights=options.weights, plugins=plugins)
    if data is None:
        names = NAMES if options.split == "all" else (options.split,)
        given = own_data(run, plan, names, "vaeflow.load(RUN).encode(frame)")
    else:
        if options.split != "all":
            raise ConfigError(
                f"--split {options.split} chooses among the run's own data: leave it out beside "
                "--data"
            )
        given = given_data(plan, model, data, options.condition)
    with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(options.seed)
        z = model.encode(given.examples).cpu().numpy()
    rows = np.asarray(given.rows)
    beside = {} if given.splits is None else {"split": given.splits}
    beside |= {"file" if rows.dtype == object else "row": rows, **given.beside}
    if len({*rows.tolist()}) < len(rows):  # those of several arrays
        return Codes(z, beside)
    order = np.argsort(rows, kind="stable")
    return Codes(z[order], {name: values[order] for name, values in beside.items()})
