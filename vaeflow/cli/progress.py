"""What `train` and `resume` share: observers, signals, and the report at the end."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from vaeflow.cli.tables import print_bounds
from vaeflow.model import VAE
from vaeflow.pictures import is_image
from vaeflow.runs.build import images_of
from vaeflow.runs.directory import Run
from vaeflow.runs.evaluation import evaluate_split
from vaeflow.runs.experiment import Experiment
from vaeflow.runs.load import load_weights
from vaeflow.runtime.progress import Advance, unseen
from vaeflow.training import Fit, Observer
from vaeflow.training.observers import Record


def observers(run: Run, experiment: Experiment) -> Sequence[Observer]:
    """Return what watches a training that a person started."""
    config = experiment.config
    crew: list[Observer] = [Bar() if _terminal() else Lines()]
    if config.tensorboard:
        from vaeflow.training.observers.tensorboard import TensorBoard

        images = images_of(experiment.splits, "validation", config)
        crew.append(TensorBoard(run.path, config.to_toml(), images, config.image_every))
    sizes = " / ".join(f"{len(x):,}" for _, x in experiment.splits)
    names = ", ".join(
        f"{kind} {part.name.removeprefix('vaeflow/')}" for kind, part in config.parts().items()
    )
    count = sum(p.numel() for p in experiment.model.parameters())
    click.echo(f"{names}; {count:,} parameters on {experiment.trainer.device}")
    click.echo(f"{sizes} train / validation / test examples, binarization {config.binarization}")
    click.echo(f"run directory {run.path}")
    return crew


def line(record: Record, epochs: int) -> str:
    """Return an epoch's record as one line of text."""
    words = [f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}"]
    words.append(f"loss {record['train/loss']:.2f}")
    words.append(f"train ELBO {record['train/elbo']:.2f}")
    if "validation/elbo" in record:
        words.append(f"validation ELBO {record['validation/elbo']:.2f}")
        words.append(f"KL {record['validation/kl']:.2f}")
    if record["beta"] != 1:
        words.append(f"β {record['beta']:.2f}")
    words.append(f"{record['images_per_second']:,.0f} images/s")
    return "  ".join(words)


class Lines(Observer):
    """One plain line per epoch, for logs."""

    name = "the line per epoch"

    def start(self, epoch: int, step: int, epochs: int, steps_per_epoch: int) -> None:
        self.epochs = epochs

    def epoch(self, record: Record, model: VAE) -> None:
        click.echo(line(record, self.epochs))


class Bar(Observer):
    """A progress bar over all steps, with the newest figures."""

    name = "the progress bar"

    def start(self, epoch: int, step: int, epochs: int, steps_per_epoch: int) -> None:
        self.epochs = epochs
        self.due = 0.0
        self.bar = Progress(
            BarColumn(bar_width=24), TextColumn("{task.description}"), TimeRemainingColumn()
        )
        total = epochs * steps_per_epoch
        self.task = self.bar.add_task(f"epoch 0/{epochs}", total=total, completed=step)
        self.bar.start()

    def step(self, step: int) -> None:
        if (now := time.monotonic()) >= self.due:  # ten times a second is enough for an eye
            self.due = now + 0.1
            self.bar.update(self.task, completed=step)

    def epoch(self, record: Record, model: VAE) -> None:
        text = line(record, self.epochs)
        self.bar.update(self.task, completed=record["step"], description=text)

    def end(self, status: str) -> None:
        self.bar.stop()


def finish(run: Run, experiment: Experiment, result: Fit, code: int) -> int:
    """Evaluate the best weights on the test data, print the report, return the exit code."""
    files = [f"--plugin {shlex.quote(str(f))}" for f in experiment.plugins.selection.files]
    path = " ".join([shlex.quote(str(run.path)), *files])
    if result.status == "interrupted":
        click.echo(
            f"Interrupted after step {result.progress.step:,}; go on with: vaeflow resume {path}",
            err=True,
        )
        return code
    config, model = experiment.config, experiment.model
    load_weights(model, run.checkpoint(), "best")
    images = images_of(experiment.splits, "test", config)
    with counting(len(images), "test images") as progress:
        bounds = evaluate_split(
            model, images, config, samples=config.test_samples, progress=progress
        )
    run.set_summary(
        {
            "dataset": config.dataset.name,
            "split": "test",
            "binarization": config.binarization,
            "dequantize": config.dequantize,
            "weights": "best" if result.progress.best_epoch else "last",
            "best_epoch": result.progress.best_epoch or None,
            "seconds": result.progress.seconds,
            **bounds.as_dict(),
        }
    )
    print_bounds(bounds, f"test data, binarization {config.binarization}")
    done = result.progress
    which = f"of epoch {done.best_epoch}, the best validation ELBO"
    if not done.best_epoch:
        which = f"of the last epoch, {done.epoch}: within the warm-up none counts as the best"
    click.echo(f"weights {which}; all results in {run.path}")
    out = "samples.png" if is_image(experiment.splits.data_shape) else "samples.npz"
    click.echo("\nNext:")
    click.echo(f"  vaeflow evaluate {path} --importance-samples 1000")
    click.echo(f"  vaeflow sample {path} -n 64 --out {out}")
    picture = f"vaeflow reconstruct {path} --out {out.replace('samples', 'reconstructions')}"
    click.echo(
        f"  tensorboard --logdir {shlex.quote(str(run.path))}"
        if config.tensorboard
        else f"  {picture}"
    )
    return 0


def _terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


@contextmanager
def counting(total: int, what: str, done: int = 0) -> Iterator[Advance]:
    """Show progress over `total` items, `done` of them before, on a terminal; nothing elsewhere."""
    if not total or not _terminal():
        yield unseen
        return
    count = TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.description}")
    with Progress(BarColumn(bar_width=24), count, TimeRemainingColumn(), transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done)
        yield lambda done: bar.advance(task, done)
