"""From a configuration to a trained run, and from a run directory back to a model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaeflow import __version__
from vaeflow.components import Posterior
from vaeflow.config import Config
from vaeflow.data import Splits, check_values, prepare_split, resolve_binarization
from vaeflow.errors import DataError, NonFiniteError, PluginError, VaeflowError, one_line
from vaeflow.evaluation import Bounds, ImageBounds, evaluate_images
from vaeflow.evaluation.stored import Keeper
from vaeflow.model import VAE
from vaeflow.plugins import Plugins, load_plugins
from vaeflow.runs import Run, new_path
from vaeflow.training import Fit, Observer, Trainer
from vaeflow.training.blame import Blame
from vaeflow.training.checkpoints import Checkpoint
from vaeflow.training.checks import check_fit
from vaeflow.training.devices import choose_device
from vaeflow.training.hooks import hooks_of
from vaeflow.training.noise import Noise
from vaeflow.training.observers import MetricsFile

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


def load_data(config: Config, plugins: Plugins) -> Splits:
    """Load the dataset that the configuration names.

    Raises:
        DataError: if it cannot be had.
        PluginError: if loading fails in another way.
    """
    part = plugins.require("dataset", config.dataset.name)
    dataset = _make(config, plugins, "dataset", config.data_root)
    try:
        splits = dataset.load()
    except VaeflowError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"{part.owner} failed to load ({one_line(error)})") from error
    if not isinstance(splits, Splits):
        raise PluginError(f"{part.owner}: load() returned {type(splits).__name__}, not Splits")
    return splits


def build(config: Config, plugins: Plugins, data_shape: tuple[int, ...]) -> VAE:
    """Build the model that the configuration describes, for data of one shape."""
    likelihood = _make(config, plugins, "likelihood", data_shape)
    encoder = _make(config, plugins, "encoder", data_shape)
    return VAE(
        encoder=encoder,
        posterior=build_posterior(config, plugins, encoder.features),
        prior=_make(config, plugins, "prior", config.latent, data_shape),
        decoder=_make(config, plugins, "decoder", config.latent, likelihood.output_shape),
        likelihood=likelihood,
    )


def build_posterior(config: Config, plugins: Plugins, features: int) -> Posterior:
    """Build the posterior that the configuration names, for as many features."""
    posterior: Posterior = _make(config, plugins, "posterior", config.latent, features)
    return posterior


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


def load(
    path: str | Path,
    *,
    device: str = "cpu",
    weights: str = "best",
    plugins: Plugins | None = None,
) -> VAE:
    """Load the model of a run directory, ready to evaluate.

    Arguments:
        path: the run directory.
        device: "cpu", "cuda", …
        weights: "best" of the validation ELBO, or "last".
        plugins: where the run's parts are looked up; by default what the environment selects.

    Raises:
        CheckpointError: if the directory holds no whole checkpoint.
        PluginError: if a part that it needs is not installed.
    """
    plugins = plugins or load_plugins()
    run = Run.open(Path(path))
    config = run.config(plugins)
    model = build(config, plugins, tuple(run.environment()["data_shape"]))
    load_weights(model, run.checkpoint(), weights)
    return model.to(choose_device(device)).eval()


def load_weights(model: VAE, checkpoint: Checkpoint, weights: str) -> None:
    """Put the best or the last weights of a checkpoint into a model."""
    tensors = checkpoint.tensors
    chosen = tensors["best"] if weights == "best" and "best" in tensors else tensors["model"]
    check_fit(model, chosen)
    model.load_state_dict(chosen)


def images_of(splits: Splits, split: str, config: Config) -> Tensor:
    """Return one split as the run's likelihood scores it, binarized if the run is."""
    assert config.binarization != "auto", "prepare() resolves it, a run directory holds it so"
    return prepare_split(dict(splits)[split], config.binarization, config.dequantize)


def evaluate_split(
    model: VAE,
    x: Tensor,
    config: Config,
    *,
    samples: int,
    chunk: int | None = None,
    kept: Keeper | None = None,
    progress: Callable[[float], None] = lambda images: None,
) -> Bounds:
    """Evaluate images with noise of the run's seed: the same figures at each call.

    Arguments:
        kept: holds what is done already, and takes what is done here.

    Raises:
        NonFiniteError: if a bound is not a number.
        PluginError: naming the part that fails.
    """
    owners = {kind: f"{kind} {part.name!r}" for kind, part in config.parts().items()}
    parts = [] if kept is None else list(kept.parts)
    with Blame(model, None, owners).at(lambda: "in evaluation"):
        for part in evaluate_images(
            model,
            x,
            samples=samples,
            chunk=chunk,
            seed=config.seed,
            start=sum(map(len, parts)),
            progress=progress,
        ):
            if not part.finite:
                raise NonFiniteError(
                    f"the bound is not finite (ELBO {part.elbo.over_images}): look for images or "
                    "weights that the model cannot score, or evaluate other --weights"
                )
            parts.append(part)
            if kept is not None:
                kept.add(part)
    figures = ImageBounds.cat(parts)
    return Bounds.of(figures, model, samples=samples, dequantized=config.dequantize)


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


def _make(config: Config, plugins: Plugins, kind: str, *args: Any) -> Any:
    """Build one part from its class, positional arguments and options."""
    chosen = config.parts()[kind]
    part = plugins.require(kind, chosen.name)
    try:
        made = part.load()(*args, **deepcopy(chosen.options))  # a part may change a list
    except VaeflowError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{part.owner} cannot be built ({one_line(error)}): --debug says where"
        ) from error
    for name in _ATTRIBUTES.get(kind, ()):
        if not hasattr(made, name):
            raise PluginError(
                f"{part.owner} has no {name!r} once it is built: call super().__init__ in its "
                "constructor, and set what its kind must have"
            )
    return made


# What the core reads off a part, beside calling it.
_ATTRIBUTES = {
    "encoder": ("data_shape", "features"),
    "posterior": ("latent", "features"),
    "prior": ("latent",),
    "decoder": ("latent", "output_shape"),
    "likelihood": ("data_shape", "output_shape", "support"),
    "objective": ("samples", "warmup", "warmup_unit"),
}
