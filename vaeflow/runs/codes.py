"""The latent codes of data of a run's form.

Shapes: N examples, D draws, L latent size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from vaeflow.config.signature import options_from, with_options
from vaeflow.data.beside import apart
from vaeflow.evaluation.options import Seed, Whole
from vaeflow.latents.codes import encode_examples
from vaeflow.latents.drawn import Saved
from vaeflow.model import VAE
from vaeflow.plugins.loading import Plugins
from vaeflow.runs.directory import Run
from vaeflow.runs.trained import Choice, Trained, TrainedOptions
from vaeflow.runtime.progress import bar_of
from vaeflow.runtime.ranks import launched
from vaeflow.text import html_columns


@dataclass(frozen=True, kw_only=True)
class EncodingOptions(TrainedOptions):
    """How data is encoded.

    Attributes:
        split: of the run's own data: "all", by default, "train", "validation" or "test".
        draws: D, draws of q(z|x) for each example; 0 is its mean.
        seed: of the draws, from which the mean is taken where q has no formula for it.
    """

    split: Choice | None = None
    draws: Annotated[Whole, Field(ge=0)] = 0
    seed: Seed = 0


@dataclass(frozen=True, repr=False, eq=False)
class Codes(Saved):
    """The means of q(z|x) of N examples, or D draws of it for each.

    Attributes:
        z: (N, L), or (N, D, L) of draws.
        beside: name -> values (N,): the split, the row or the file, labels and ids.
        log_q: of draws (N, D): log q(z|x) in nats.
    """

    z: np.ndarray
    beside: Mapping[str, np.ndarray]
    log_q: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.z)

    def __repr__(self) -> str:
        scores = "" if self.log_q is None else f", log_q {self.log_q.shape}"
        return f"Codes(z {self.z.shape}{scores}, beside {', '.join(self.beside)})"

    def _repr_html_(self) -> str:
        return html_columns("Codes", self.columns)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Return the codes as one array, and what stands beside them."""
        scores = {} if self.log_q is None else {"log_q": self.log_q}
        found = {"codes": self.z, **scores}
        return {**apart(self.beside, found), **found}

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Return the columns z0, z1, … of a table, behind what stands beside them.

        Each draw is a line, with the columns draw, from 0 on, and log_q.
        """
        z = self.z.reshape(-1, self.z.shape[-1])
        codes = {f"z{i}": column for i, column in enumerate(z.T)}
        if self.log_q is None:
            return {**apart(self.beside, codes), **codes}
        count, draws = self.log_q.shape
        beside = {name: np.repeat(values, draws) for name, values in self.beside.items()}
        number = np.tile(np.arange(draws), count)
        found = {"draw": number, **codes, "log_q": self.log_q.ravel()}
        return {**apart(beside, found), **found}


@with_options(EncodingOptions)
def encode(
    model: VAE | str | Path | Run,
    data: object = None,
    *,
    plugins: Plugins | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Codes:
    """Return the latent codes of data, in the order of its file, as `vaeflow encode` does.

    Under torchrun each rank encodes a share of the data, and all return the same.

    Arguments:
        model: a run, or a model.
        data: the path of a table or of an array, a data frame, a mapping from names to columns, or
            an array; by default the run's own data.
        plugins: where the run's parts are looked up; by default all that the environment selects.
        progress: show progress: by default on a terminal and in a notebook.

    Returns:
        The codes `z` (N, L), or (N, D, L) with `log_q` (N, D), and what stands `beside` them.

    Raises:
        ConfigError: if an option cannot be used.
        DataError: if the data cannot be had, or is of another form.
        CheckpointError, PluginError: if the run cannot be loaded.
    """
    chosen = options_from(EncodingOptions, options, "encode")
    bar = bar_of(progress)
    with launched() as world:
        trained = Trained.of(model, chosen, "encode", plugins)
        given = trained.given(data, chosen.split)
        with bar(len(given), "examples") as done:
            z, log_q = encode_examples(
                trained.model, given.examples, draws=chosen.draws, seed=chosen.seed, world=world,
                progress=lambda count: done(count * world.count),
            )  # fmt: skip
    order = given.order
    beside = {name: values[order] for name, values in given.named.items()}
    return Codes(z.numpy()[order], beside, None if log_q is None else log_q.numpy()[order])
