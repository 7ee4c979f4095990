"""From a configuration to a trained run, and from a run directory back to a model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vaeflow.config.settings import Config
from vaeflow.data.binarization import resolve_binarization
from vaeflow.data.checks import check_values
from vaeflow.data.splits import Splits
from vaeflow.errors import DataError, VaeflowError
from vaeflow.model import VAE
from vaeflow.plugins.loading import Plugins
from vaeflow.runs.build import _make, build, images_of, load_data
from vaeflow.runs.directory import Run, new_path
from vaeflow.runtime.noise import Noise
from vaeflow.training import Fit, Observer, Trainer
from vaeflow.training.observers.metrics_file import MetricsFile
from vaeflow.training.observers.plugin_hooks import hooks_of
from vaeflow.version import __version__

log = logging.getLogger("vaeflow")


@dataclass
class Experiment:
    """A configuration with its data loaded and its model built; nothing on disk yet."""

    config: Config
    plugins: Plugins
    splits: Splits
    trainer: Trainer

    @property
    def model(self) -> VAE:
        """Return the model."""
        return self.trainer.model


def prepare(config: Config, plugins: Plugins) -> Experiment:
    """Load the data, build the model and check both, before anything is written.

    Raises:
        ConfigError, DataError, PluginError: as the parts and the data call for.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    splits = load_data(config, plugins)
    with Noise(config.seed, torch.device("cpu")).private("weights"):
        model = build(config, plugins, splits.data_shape)
        objective = _make(config, plugins, "objective")
    wanted = config.binarization
    if wanted == "auto" and config.dequantize is not None:
        wanted = "none"
    how = resolve_binarization(wanted, splits.train, model.likelihood.support)
    config = config.model_copy(update={"binarization": how})
    trainer = Trainer(
        model,
        splits.train,
        splits.validation,
        objective=objective,
        binarization=how,
        dequantize=config.dequantize,
        settings=config,
        owners={kind: plugins.require(kind, p.name).owner for kind, p in config.parts().items()},
    )
    if config.start_at_mean:
        # Of binary draws, their grey mean is the mean.
        model.start_at_mean(
            splits.train if how == "dynamic" else images_of(splits, "train", config)
        )
    test = images_of(splits, "test", config)
    check_values("test", test, splits.data_shape, model.likelihood.support)
    return Experiment(config, plugins, splits, trainer)


def train(
    experiment: Experiment,
    path: Path | None = None,
    observers: Callable[[Run], Sequence[Observer]] = lambda run: (),
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Run, Fit]:
    """Train in a new run directory, by default below runs/; of several ranks, the first makes it.

    Raises:
        DataError: if another rank loaded other data.
    """
    config, world = experiment.config, experiment.trainer.world
    if path is None:
        path = new_path(Path("runs"), config)
    sha256 = experiment.splits.fingerprint()
    facts = {
        "threads": torch.get_num_threads(),
        "ranks": world.count,
        "data_shape": experiment.splits.data_shape,
        "data_sizes": {name: len(x) for name, x in experiment.splits},
        "data_sha256": sha256,
    }
    if not world.same(int(sha256[:15], 16)):
        raise DataError("the ranks hold different data: give every machine the same files")
    run = Run.create(path, config, experiment.plugins, facts) if world.first else Run(path)
    return run, _train(run, experiment, observers, stop)


def resume(
    run: Run,
    experiment: Experiment,
    observers: Callable[[Run], Sequence[Observer]] = lambda run: (),
    stop: Callable[[], bool] = lambda: False,
) -> Fit:
    """Continue a run from its newest checkpoint, or from the beginning if it has none.

    The experiment's configuration, which may ask for more epochs, becomes the run's.

    Raises:
        DataError: if the data is not what the run began with.
        CheckpointError: if no checkpoint is whole.
    """
    before = run.environment()
    if before.get("data_sha256") != experiment.splits.fingerprint():
        raise DataError(
            f"{run.path} was trained on other data than dataset "
            f"{experiment.config.dataset.name!r} holds now: restore the files, or train a new run"
        )
    for what, now in (
        ("vaeflow", __version__),
        ("torch", torch.__version__),
        ("threads", torch.get_num_threads()),
        ("ranks", experiment.trainer.world.count),
    ):
        if before.get(what, 1) != now:  # what began before there were ranks had one
            log.warning(
                "%s is %s now and was %s: the run goes on, but bit for bit only as it was",
                what, now, before.get(what),
            )  # fmt: skip
    return _train(run, experiment, observers, stop, resuming=True)


def _train(
    run: Run,
    experiment: Experiment,
    observers: Callable[[Run], Sequence[Observer]],
    stop: Callable[[], bool],
    *,
    resuming: bool = False,
) -> Fit:
    trainer = experiment.trainer
    if not trainer.world.first:  # the first rank alone writes and is watched
        if resuming:
            _restore(trainer, run)
        return trainer.run((), run.store, stop)
    watching = observers(run)
    with run.locked():
        if resuming:
            run.set_config(experiment.config)
            _restore(trainer, run)
        run.set_status("running")
        hooks = hooks_of(experiment.plugins, run.path, experiment.config.to_toml())
        crew = [MetricsFile(run.path / "metrics.jsonl"), *hooks, *watching]
        try:
            result = trainer.run(crew, run.store, stop)
        except VaeflowError as error:
            run.set_status("failed", exit_code=error.exit_code, error=str(error))
            raise
        except KeyboardInterrupt:  # a second one, which does not wait for the checkpoint
            run.set_status("interrupted", exit_code=130)
            raise
        except BaseException as error:
            run.set_status("failed", exit_code=1, error=f"{type(error).__name__}: {error}")
            raise
        done = result.progress
        run.set_status(result.status, epoch=done.epoch, step=done.step)
        return result


def _restore(trainer: Trainer, run: Run) -> None:
    if (checkpoint := run.store.latest()) is not None:
        trainer.restore(checkpoint)
