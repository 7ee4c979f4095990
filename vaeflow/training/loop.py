"""The one training loop.

Everything random is a function of the seed: the order of the images of (seed, epoch), the noise of
torch's generator, whose state a checkpoint holds. Validation and observers run inside a forked
generator, so that watching a run does not change it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from vaeflow.config.settings import Settings
from vaeflow.data.binarization import Binarization, prepare_split, redraw
from vaeflow.errors import CheckpointError, ConfigError, NonFiniteError
from vaeflow.evaluation.active_units import active_units
from vaeflow.evaluation.arrays import held_out_split
from vaeflow.model import VAE
from vaeflow.parts.abstract import Objective
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.runtime.blame import Blame
from vaeflow.runtime.devices import check_precision, choose_device, matrix_products
from vaeflow.runtime.noise import Noise
from vaeflow.runtime.ranks import world
from vaeflow.runtime.validation import no_validation
from vaeflow.training.acceleration.captured import Captured, CUDAGraphs
from vaeflow.training.acceleration.compiled import Compiled
from vaeflow.training.checkpoints import Checkpoint, CheckpointStore, check_fit
from vaeflow.training.first_pass import check_contract
from vaeflow.training.observers import Crew, Observer, Record
from vaeflow.training.optimizers import (
    load_optimizer_tensors,
    make_optimizer,
    make_schedule,
    optimizer_tensors,
)
from vaeflow.training.progress import Fit, Progress, Weights
from vaeflow.training.splits import training_split
from vaeflow.training.step import TERMS, Bound, Step, accept
from vaeflow.training.validation import validate


class Trainer:
    """A model, its data and its settings, checked and ready to train.

    Where torch's process group exists, all its ranks train together, each with the same arguments
    and its share of each batch (`training.parallel`).

    Arguments:
        model: it is moved to the device and trained in place.
        train: training data (N, *data_shape), grey values if it is binarized or dequantized.
        validation: held-out data, or None.
        objective: what is maximized; by default the ELBO with one sample.
        binarization: "dynamic" draws x ~ Bernoulli(grey value) at each visit.
        dequantize: grey levels, whose values get new uniform noise at each visit, or None.
        settings: epochs, batch size, optimizer, …
        owners: what errors call the part of each kind; by default its class.

    Raises:
        ConfigError: if a device or an objective cannot be had.
        DataError: if the likelihood cannot score the data.
        PluginError: if a part breaks its contract, found by a first pass over two images.
    """

    def __init__(
        self,
        model: VAE,
        train: Tensor,
        validation: Tensor | None = None,
        *,
        objective: Objective | None = None,
        binarization: Binarization = "none",
        dequantize: int | None = None,
        settings: Settings | None = None,
        owners: Mapping[str, str] | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.device = choose_device(self.settings.device)
        check_precision(self.settings.precision, self.device)
        self.world = world()
        self.world.check(self.device)
        if validation is None and self.settings.early_stopping is not None:
            raise ConfigError("early_stopping needs validation data: give some, or leave it out")
        self.objective = objective or ELBO()
        self.noise = Noise(self.settings.seed, self.device, self.world.stream)
        how = (model, binarization, dequantize)
        few = train[:2]
        self.train = training_split(train, *how).to(self.device)
        self.validation: Tensor | None = None
        if validation is not None:
            self.validation = held_out_split("validation", validation, *how).to(self.device)
        self.model = model.to(self.device)
        self.blame = Blame(model, self.objective, owners)
        self.names = [name for name, _ in model.named_parameters()]
        self.beta = torch.zeros((), device=self.device)
        self.progress = Progress()
        self.best: Weights = {}
        self._restored: Checkpoint | None = None
        with self.noise.private("check"), no_validation():
            few = prepare_split(few, binarization, dequantize).to(self.device)
            check_contract(model, self.objective, few, self.blame)
        self.optimizer = make_optimizer(model.parameters(), self.settings)
        self.step = self._make_step(redraw(binarization, dequantize))
        self.take = self._fastest(self.step)

    def _make_step(self, redraw: Callable[[Tensor], Tensor] | None) -> Step:
        """Return the eager step, its model compiled if that is asked for."""
        settings = self.settings
        bound: Callable[..., Any] = self.world.wrap(
            Bound(self.model, self.objective, bf16=settings.precision == "bf16")
        )
        share = len(self.world.part(torch.arange(settings.batch_size)))
        return Step(
            Compiled(bound, share) if settings.compile else bound,
            self.model.parameters(),
            self.optimizer,
            self.train,
            samples=self.objective.samples,
            redraw=redraw,
            clip=settings.clip,
            # Reading a number is free on the CPU and a wait elsewhere, where the epoch's end tells.
            check=self._check_loss if self.device.type == "cpu" else accept,
            world=self.world,
        )

    def _fastest(self, step: Step) -> Callable[..., Tensor]:
        """Return the step as one CUDA graph where it can be; several ranks cannot agree on one."""
        settings = self.settings
        if self.device.type != "cuda" or self.world.count > 1 or not settings.capture:
            return step
        return Captured(step, settings.batch_size, self.blame, CUDAGraphs(self.device))

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of batches, a smaller last one included."""
        return -(-len(self.train) // self.settings.batch_size)

    @property
    def _warmup(self) -> float:
        """Return the length of the objective's warm-up in epochs."""
        by_steps = self.objective.warmup_unit == "steps"
        return self.objective.warmup / (self.steps_per_epoch if by_steps else 1)

    def _weight(self, epoch: float, step: int) -> float:
        """Return β after so many epochs, with their fraction, and steps."""
        return self.objective.weight(step if self.objective.warmup_unit == "steps" else epoch)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint instead of from the beginning.

        Raises:
            CheckpointError: if it is of another model; nothing is loaded then.
        """
        check_fit(self.model, checkpoint.tensors["model"])
        self.model.load_state_dict(checkpoint.tensors["model"])
        load_optimizer_tensors(self.optimizer, self.names, checkpoint.tensors["optimizer"])
        self.best = {k: v.to(self.device) for k, v in checkpoint.tensors.get("best", {}).items()}
        if self.world.first:  # it holds the sums over all ranks
            self.step.totals.copy_(checkpoint.tensors["loop"]["totals"])
        self.progress = Progress(**checkpoint.state["progress"])
        self._restored = checkpoint

    def run(
        self,
        observers: Sequence[Observer] = (),
        store: CheckpointStore | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Fit:
        """Train to the end, or until `stop()` says so between two steps.

        Of several ranks, the first alone calls observers and writes; all stop where one is told to.

        Raises:
            NonFiniteError: if the loss is NaN or infinite.
            StorageError: if a checkpoint or the metrics cannot be written.
            CheckpointError: if the ranks do not begin at the same step.
            RankError: if another rank fails.
        """
        crew = Crew(observers if self.world.first else ())
        done = self.progress
        result = Fit("completed", done, self.best)
        started = saved = time.monotonic()
        seconds_before = done.seconds
        states = self.world.own(self._restored.tensors["loop"]) if self._restored else None
        with (
            self.world.shared_fate(),
            self.noise.owned(states),
            no_validation(),
            matrix_products(self.settings.precision),
        ):
            self._check_start()
            schedule = make_schedule(self.optimizer, self.settings, done.epoch)
            with self.noise.private("observers"):
                crew.start(done.epoch, done.step, self.settings.epochs, self.steps_per_epoch)
            status = "failed"
            try:
                while not self._finished():
                    with self.blame.at(lambda: f"at step {done.step + 1}"):
                        whole = self._epoch(crew, stop)
                    if not whole:
                        result.status = "interrupted"
                        break
                    rate = float(schedule.get_last_lr()[0])
                    schedule.step()
                    record = self._close_epoch(rate, started, seconds_before)
                    result.records.append(record)
                    with self.noise.private("observers"):
                        crew.epoch(record, self.model)
                    due = time.monotonic() - saved >= self.settings.checkpoint_seconds
                    if store and self.world.any(due) and not self._finished():
                        self._save(store)
                        saved = time.monotonic()
                done.seconds = seconds_before + time.monotonic() - started
                self._check_weights()
                if store:
                    self._save(store)
                status = result.status
            finally:
                with self.noise.private("observers"):
                    crew.end(status)
        result.best = self.best or {k: v.clone() for k, v in self._weights().items()}
        return result

    def _epoch(self, crew: Crew, stop: Callable[[], bool]) -> bool:
        """Take the epoch's remaining steps; False if stopped before its end."""
        done, size = self.progress, self.settings.batch_size
        self.model.train()
        batches = self.noise.order(done.epoch, len(self.train)).split(size)
        self._clock = time.monotonic()
        self._images = 0
        for i in range(done.batch, len(batches)):
            if self.world.any(stop()):
                return False
            # Filled in place: making a tensor from a number would wait for the device.
            self.beta.fill_(self._weight(done.epoch + (i + 1) / len(batches), done.step + 1))
            self.take(batches[i], self.beta, measure=i == len(batches) - 1)
            done.batch += 1
            done.step += 1
            self._images += len(batches[i])
            crew.step(done.step)
        return True

    def _close_epoch(self, rate: float, started: float, seconds_before: float) -> Record:
        """Turn the accumulated sums into a record, validate, and remember the best weights."""
        done = self.progress
        means = (self.world.sum(self.step.totals) / len(self.train)).tolist()  # waits, once
        spent = time.monotonic() - self._clock
        train = dict(zip(TERMS, means, strict=True))
        if not all(map(math.isfinite, means)):
            raise self._non_finite(f"epoch {done.epoch + 1}")
        self.step.totals.zero_()
        done.epoch += 1
        done.batch = 0
        record: dict[str, Any] = {
            "epoch": done.epoch,
            "step": done.step,
            "beta": self._weight(done.epoch, done.step),
            "lr": rate,
            "grad_norm": self.step.grad_norm.item(),
            **_named("train", train, self.model.likelihood.log_peak),
        }
        if self.validation is not None:
            self.model.eval()
            self.world.broadcast(self.model)
            where = f"on the validation data after epoch {done.epoch}"
            with self.noise.private("validation"), self.blame.at(lambda: where):
                held_out = validate(self.model, self.validation, self.world)
                if not all(map(math.isfinite, held_out.values())):
                    raise self._non_finite(f"epoch {done.epoch}, on the validation data")
                record |= _named("validation", held_out, self.model.likelihood.log_peak)
                record["active_units"] = active_units(self.model, self.validation, self.world)
            self._remember(record["validation/elbo"])
        done.seconds = seconds_before + time.monotonic() - started
        record["images_per_second"] = self._images / spent if spent else 0.0
        record["seconds"] = done.seconds
        return record

    def _remember(self, elbo: float) -> None:
        """Keep a copy of the weights if the validation ELBO is the best so far.

        Weights from within the warm-up do not count: their objective is not yet the bound.
        """
        done = self.progress
        warm = done.epoch >= self._warmup
        if warm and (done.best_elbo is None or elbo > done.best_elbo):
            done.best_elbo, done.best_epoch = elbo, done.epoch
            self.best = {k: v.clone() for k, v in self._weights().items()}

    def _finished(self) -> bool:
        done, patience = self.progress, self.settings.early_stopping
        if done.epoch >= self.settings.epochs:
            return True
        waited = done.epoch - max(done.best_epoch, self._warmup)
        return patience is not None and done.best_elbo is not None and waited >= patience

    def _weights(self) -> Weights:
        return {k: v.detach() for k, v in self.model.state_dict().items()}

    def _check_start(self) -> None:
        if not self.world.same(self.progress.step):
            raise CheckpointError(
                f"rank {self.world.rank} begins at step {self.progress.step}, another rank "
                "elsewhere: keep the run directory where all machines see it"
            )

    def _check_weights(self) -> None:
        for name, weight in self.model.named_parameters():  # a mask may hold −∞
            if not torch.isfinite(weight).all():
                raise self._non_finite(f"epoch {self.progress.epoch}, in {name}")

    def _save(self, store: CheckpointStore) -> None:
        self._check_weights()
        tensors = {
            "model": self._weights(),
            "optimizer": optimizer_tensors(self.optimizer, self.names),
            "loop": {
                "totals": self.world.sum(self.step.totals.clone()),
                **self.world.gather(self.noise.states()),
            },
        }
        if self.best:
            tensors["best"] = self.best
        if self.world.first:
            store.save(self.progress.step, tensors, {"progress": asdict(self.progress)})

    def _check_loss(self, loss: Tensor) -> None:
        if self.world.any(not math.isfinite(loss.item())):
            raise self._non_finite(f"step {self.progress.step + 1}")

    def _non_finite(self, where: str) -> NonFiniteError:
        low, high = self.train.min().item(), self.train.max().item()
        return NonFiniteError(
            f"the loss or a weight is not finite at {where}: lower --lr (it is "
            f"{self.settings.lr:g}), set --clip, or bring the data, in [{low:g}, {high:g}], nearer "
            "to unit scale; checkpoints before it are kept"
        )


def _named(split: str, terms: dict[str, float], log_peak: float) -> dict[str, float]:
    log_qz = terms["log_q0"] - terms["log_det"]
    kl = log_qz - terms["log_pz"]
    return {
        f"{split}/loss": log_peak - terms["objective"],
        f"{split}/elbo": terms["log_px"] - kl,
        f"{split}/log_px": terms["log_px"],
        f"{split}/kl": kl,
        f"{split}/log_pz": terms["log_pz"],
        f"{split}/log_q0": terms["log_q0"],
        f"{split}/log_det": terms["log_det"],
    }
