"""The one training loop.

Everything random is a function of the seed: the order of the images follows from seed and epoch,
and the noise from the global generators, whose states a checkpoint holds. Validation and observers
have generators of their own, so that watching a run does not change it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from vaeflow.config.settings import Settings
from vaeflow.data.examples import Examples
from vaeflow.errors import CheckpointError
from vaeflow.evaluation.active_units import active_units
from vaeflow.model import VAE
from vaeflow.parts.abstract import Objective
from vaeflow.plugins.containment import no_exit
from vaeflow.runtime.blame import Blame
from vaeflow.runtime.devices import matrix_products
from vaeflow.runtime.noise import Noise
from vaeflow.runtime.ranks import World
from vaeflow.runtime.validation import no_validation
from vaeflow.training.checkpoints import Checkpoint, CheckpointStore
from vaeflow.training.fault import naming_faults
from vaeflow.training.feed import following, shares
from vaeflow.training.finite import Finite
from vaeflow.training.observers import Crew, Observer, Record
from vaeflow.training.optimizers import load_optimizer_tensors, make_schedule, optimizer_tensors
from vaeflow.training.progress import Fit, Progress, Stopwatch, Weights
from vaeflow.training.record import Pace, record_terms
from vaeflow.training.restoring import (
    check_loop,
    check_optimizer,
    check_position,
    check_weights,
    unchanged,
)
from vaeflow.training.saver import Saver
from vaeflow.training.splits import TrainingData
from vaeflow.training.step import TERMS, Step
from vaeflow.training.validation import validate

_GO_ON, _SAVE, _STOP = range(3)  # votes of the ranks: the largest wins
_UNIT_DRAWS = 100_000  # of z for the active units of an epoch, at most


@dataclass(eq=False, repr=False)
class Trainer:
    """A model and everything needed to train it; `prepare_trainer` makes one."""

    model: VAE
    objective: Objective
    data: TrainingData
    settings: Settings
    eager: Step
    step: Callable[..., Tensor]  # the eager step, or the same step captured
    noise: Noise
    blame: Blame
    finite: Finite
    progress: Progress  # the same object as in `finite`
    best: Weights = field(default_factory=dict)  # of the epoch with the best validation ELBO
    noise_states: dict[str, Tensor] | None = None  # of the restored checkpoint

    @property
    def world(self) -> World:
        """Return the ranks of the training."""
        return self.eager.world

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of batches, a smaller last one included."""
        return -(-len(self.data.train) // self.settings.batch_size)

    @property
    def _names(self) -> list[str]:
        return [name for name, _ in self.model.named_parameters()]

    @property
    def _warmup(self) -> float:
        """Return the length of the objective's warm-up in epochs."""
        by_steps = self.objective.warmup_unit == "steps"
        return self.objective.warmup / (self.steps_per_epoch if by_steps else 1)

    def _beta(self, epoch: float, step: int) -> float:
        """Return β after so many epochs, with their fraction, and steps."""
        return self.objective.weight(step if self.objective.warmup_unit == "steps" else epoch)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint instead of from the beginning.

        Raises:
            CheckpointError: if it is of another model, or odd; nothing is loaded then.
            ConfigError: if the training is to end before the epoch that it has reached.
        """
        tensors, device = checkpoint.tensors, self.model.device
        check_position(checkpoint, self.steps_per_epoch, self.settings.epochs)
        check_weights(checkpoint, self.model)
        check_optimizer(checkpoint, self.model, self.eager.optimizer)
        states = self.world.own(checkpoint.group("loop"))
        check_loop(checkpoint, self.eager.sums.totals, self.noise, states)
        self.model.load_state_dict(tensors["model"])
        load_optimizer_tensors(self.eager.optimizer, self._names, tensors["optimizer"])
        self.best = {k: v.to(device) for k, v in tensors.get("best", {}).items()}
        if self.world.first:  # it holds the sums over all ranks
            totals = tensors["loop"]["totals"]  # an older one has no count of skipped images
            self.eager.sums.totals[: len(totals)].copy_(totals)
        self.progress.load(checkpoint.progress)
        self.noise_states = states

    def run(
        self,
        observers: Sequence[Observer] | Crew = (),
        store: CheckpointStore | None = None,
        stop: Callable[[], int] = lambda: 0,
    ) -> Fit:
        """Train to the end, or until `stop()` is true between two steps.

        Of several ranks, the first alone calls observers and writes; all stop where one is told to.

        Raises:
            NonFiniteError: if the loss is NaN or infinite.
            StorageError: if a checkpoint or the metrics cannot be written.
            CheckpointError: if the ranks do not begin at the same step.
            RankError: if another rank fails.
        """
        crew = observers if isinstance(observers, Crew) else Crew(observers)
        crew = crew if self.world.first else Crew(())
        done = self.progress
        result = Fit("failed", done, self.best)
        clock = Stopwatch(done.seconds)
        saver = Saver(self._save, store, self.settings.checkpoint_seconds)
        self.finite.checkpoints = store is not None and done.step > 0
        with (
            self.world.shared_fate(),
            no_exit(),  # a part that ends the process is one that fails
            self.noise.owned(self.noise_states),
            torch.enable_grad(),  # whatever the caller's mode is
            no_validation(),
            matrix_products(self.settings.precision),
        ):
            self._check_start()
            self.finite.begin()
            with self.noise.private("observers"):
                crew.start(done.epoch, done.step, self.settings.epochs, self.steps_per_epoch)
            try:
                status = self._epochs(result.records, clock, crew, saver, stop)
                self.finite.weights()
                saver.save()
                result.status = status
            finally:
                with self.noise.private("observers"):
                    crew.end(result.status)
        result.best = self.best or {k: v.clone() for k, v in self._weights().items()}
        return result

    def _epochs(
        self,
        records: list[Record],
        clock: Stopwatch,
        crew: Crew,
        saver: Saver,
        stop: Callable[[], int],
    ) -> str:
        """Train epoch by epoch; return "completed", or "interrupted" if stopped before the end."""
        done = self.progress
        schedule = make_schedule(self.eager.optimizer, self.settings, done.epoch)
        while not self._finished():
            pace = Pace()
            with self.blame.at(lambda: f"at step {done.step + 1}"):
                whole = self._steps(pace, clock, crew, saver, stop)
            if not whole:
                return "interrupted"
            rate = float(schedule.get_last_lr()[0])
            schedule.step()
            records.append(self._close_epoch(rate, pace, clock))
            with self.noise.private("observers"):
                crew.epoch(records[-1], self.model)
            if self.world.any(saver.due) and not self._finished():
                saver.save()
        done.seconds = clock.seconds
        return "completed"

    def _steps(
        self, pace: Pace, clock: Stopwatch, crew: Crew, saver: Saver, stop: Callable[[], int]
    ) -> bool:
        """Take the epoch's remaining steps; return False if stopped before its end."""
        done, data = self.progress, self.data.train
        self.model.train()
        batches = self.noise.order(done.epoch, len(data)).split(self.settings.batch_size)
        beta = torch.zeros((), device=data.device)
        with following(data.x, shares(batches[done.batch :], self.world)) as advance:
            for i in range(done.batch, len(batches)):
                # One vote for both, as it costs a round trip between the ranks.
                vote = self.world.most(_STOP if stop() else _SAVE if saver.due_within else _GO_ON)
                if vote:
                    done.seconds = clock.seconds
                    if vote == _STOP:
                        return False
                    saver.save()
                advance()
                # Filled in place: making a tensor from a number would wait for the device.
                beta.fill_(self._beta(done.epoch + (i + 1) / len(batches), done.step + 1))
                self.step(batches[i], beta)
                done.batch += 1
                done.step += 1
                pace.images += len(batches[i])
                crew.step(done.step)
        return True

    def _close_epoch(self, rate: float, pace: Pace, clock: Stopwatch) -> Record:
        """Turn the accumulated sums into a record, validate, and remember the best weights."""
        done, sums, peak = self.progress, self.eager.sums, self.model.likelihood.log_peak
        *totals, skipped = self.world.sum(sums.totals).tolist()  # waits, once
        speed = pace.images_per_second
        named = self.finite.epoch(totals, TERMS, len(self.data.train) - skipped)
        sums.totals.zero_()
        done.epoch += 1
        done.batch = 0
        record: dict[str, Any] = {
            "epoch": done.epoch,
            "step": done.step,
            "beta": self._beta(done.epoch, done.step),
            "lr": rate,
            "grad_norm": sums.grad_norm.item(),
            **record_terms("train", named, peak),
        }
        if self.data.validation is not None:
            record |= self._validate(self.data.validation)
            own = self.objective.selects_by == "objective"
            bound = peak - record["validation/loss"] if own else record["validation/elbo"]
            self._remember(bound)
        done.seconds = clock.seconds
        return {**record, "images_per_second": speed, "seconds": done.seconds}

    def _validate(self, x: Examples) -> dict[str, float]:
        """Return the terms of the validation data and the active units."""
        self.model.eval()
        self.world.broadcast(self.model)
        where = f"on the validation data after epoch {self.progress.epoch}"
        with (
            self.noise.private("validation"),
            self.blame.at(lambda: where),
            naming_faults(self.model, self.objective, x, self.blame, where),
        ):
            terms = validate(self.model, x, self.world, self.objective)
            self.finite.terms(terms, where)
            units = active_units(self.model, x, self.world, most=_UNIT_DRAWS)
        record = record_terms("validation", terms, self.model.likelihood.log_peak)
        return {**record, "active_units": units.active, "undecided_units": units.undecided}

    def _remember(self, elbo: float) -> None:
        """Keep a copy of the weights if the validation ELBO, or objective, is the best so far.

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

    def _save(self, store: CheckpointStore) -> None:
        self.finite.weights()
        moments = optimizer_tensors(self.eager.optimizer, self._names)
        self.finite.moments(moments)
        generators = self.noise.states()
        tensors = {
            "model": self._weights(),
            "optimizer": moments,
            "loop": {
                "totals": self.world.sum(self.eager.sums.totals.clone()),
                **self.world.gather(generators),
            },
        }
        if self.best:
            tensors["best"] = self.best
        if self.world.first:
            unused = unchanged(self.model, moments)
            state = {"progress": asdict(self.progress), "unchanged": unused}
            store.save(self.progress.step, tensors, {**state, "generators": [*generators]})
        self.finite.checkpoints = True
