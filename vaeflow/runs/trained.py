"""A trained model with data for it: with what every function of a trained model begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vaeflow.config.layers import Plan
from vaeflow.data.splits import NAMES
from vaeflow.data.stored import ends
from vaeflow.errors import ConfigError, DataError
from vaeflow.evaluation.options import Weights
from vaeflow.model import VAE
from vaeflow.pictures import span_of
from vaeflow.plugins.loading import Plugins, load_plugins
from vaeflow.runs.directory import Run
from vaeflow.runs.given import Given, given_data, own_data, own_file
from vaeflow.runs.load import span_of_run
from vaeflow.runs.paths import path_of

Choice = Literal["all", "train", "validation", "test"]


@dataclass(frozen=True, kw_only=True)
class TrainedOptions:
    """Which model of a run is taken, and on which data.

    Attributes:
        weights: of the model: "best" or "last".
        device: "auto", "cpu", "cuda", …
        data_root: where the run's own data lies, if it has moved.
        condition: covariates that the data does not hold itself, name -> value.
    """

    weights: Weights = "best"
    device: str = "auto"
    data_root: Path | None = None
    condition: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Trained:
    """A trained model, and its run where it has one.

    Attributes:
        function: in whose name errors speak.
        run: the run, None of a model without any, and so the next two.
        plan: its configuration, with the place of its data.
        plugins: where its parts were looked up.
    """

    model: VAE
    options: TrainedOptions
    function: str
    run: Run | None = None
    plan: Plan | None = None
    plugins: Plugins | None = None

    @classmethod
    def of(
        cls,
        model: object,
        options: TrainedOptions,
        function: str,
        plugins: Plugins | None = None,
    ) -> Trained:
        """Take a model, or load that of a run.

        Raises:
            CheckpointError, PluginError: if the run cannot be loaded.
        """
        if isinstance(model, VAE):
            return cls(model, options, function)
        run = model if isinstance(model, Run) else Run.open(path_of(model, function))
        plugins = plugins or load_plugins()
        plan = run.plan(plugins)
        if options.data_root is not None:
            plan = plan.but(data_root=options.data_root.absolute())
        loaded = run.load(device=options.device, weights=options.weights, plugins=plugins)
        return cls(loaded, options, function, run, plan, plugins)

    def span(self, given: Given) -> tuple[float, float]:
        """Return the values that are black and white in pictures of the data."""
        return span_of(*ends(given.examples.x)) if self.run is None else span_of_run(self.run)

    def given(
        self, data: object = None, split: Choice | None = None, own: Choice | None = "all"
    ) -> Given:
        """Return data for the model, by default the run's own.

        Arguments:
            data: as `given_data` takes it.
            split: of the run's own data.
            own: the split without any that is named; None is all of the data, as its file has it.

        Raises:
            ConfigError: if both data and a split are named, or neither data nor a run.
            DataError: if the data cannot be had, or is of another form.
        """
        if data is not None and split is not None:
            raise ConfigError(
                f"--split {split} chooses among the run's own data: leave it out beside --data"
            )
        if data is None and self.run is None:
            raise ConfigError(
                f"{self.function}: a model has no data of its own: give data, or the model's run"
            )
        split = split or own
        if data is None and split is None and (file := own_file(self.plan)) is not None:
            data = file.path
        if isinstance(data, str | Path) and not Path(data).exists():
            raise DataError(f"--data {data}: there is no such file; check the path")
        if data is not None:
            return given_data(self.plan, self.model, data, self.options.condition)
        assert self.run is not None
        assert self.plan is not None
        names = NAMES if split in (None, "all") else (str(split),)
        return own_data(self.run, self.plan, names, f"vaeflow.{self.function}(RUN, frame)")
