"""Checks for infinite numbers and NaN in a training."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from vaeflow.config.settings import Settings
from vaeflow.data.stored import Values, ends
from vaeflow.errors import NonFiniteError
from vaeflow.model import VAE
from vaeflow.runtime.blame import Blame
from vaeflow.runtime.ranks import World
from vaeflow.training.notes import Noted, Notes, noted
from vaeflow.training.progress import Progress
from vaeflow.training.step import Seen

log = logging.getLogger("vaeflow")
# A term of the bound -> the part that computes it, and how messages call it. What is not finite
# spoils what is computed after it.
_TERMS = {
    "z": ("posterior", "the draw z"),
    "log_base": ("posterior", "log q0(z0)"),
    "log_det": ("posterior", "log|det|"),
    "log_pz": ("prior", "log p(z)"),
    "log_px": ("likelihood", "log p(x|z)"),
    "objective": ("objective", "the value"),
}
_UNIT = 10.0  # data of larger values are not of unit scale
SCORED = 1e8  # up to there a likelihood can score data as they are, in float32
_GROWN = 2.0  # times their norm at the start, weights have grown
_PART = "correct that part, or tell its authors"
_CORRECT = (
    "correct a derivative of that part, or of what is computed from it, which "
    "torch.autograd.set_detect_anomaly(True) names"
)


class Finite:
    """Stops a training where its loss, its gradient or its weights are NaN or infinite.

    A finite gradient stops it as well where its squares are not: an infinite mean of squares holds
    a weight of Adam still for ever. The step changes nothing then. On the CPU its numbers are read
    before the update, which is free. Elsewhere reading would be a wait: `Notes` turns the update
    off by a number on the device, and the next checkpoint or end of an epoch tells.

    By `--on-nonfinite skip:N` the first N such steps are skipped and logged, in place of stopping.

    Arguments:
        model: its gradients and weights are checked.
        data: the training data, whose range the error may tell.
        settings: what the error does not advise where it is set.
        progress: where the training stands.
        world: the ranks of the training; all stop where one has to.
        blame: how messages call the parts.
    """

    def __init__(
        self,
        model: VAE,
        data: Values,
        settings: Settings,
        progress: Progress,
        world: World,
        blame: Blame,
    ) -> None:
        self.model = model
        self.data = data
        self.settings = settings
        self.progress = progress
        self.checkpoints = False  # whether there are any
        self.world = world
        self.blame = blame
        self.notes: Notes | None = None
        if data.device.type != "cpu":
            batch = -(-settings.batch_size // world.count)
            self.notes = Notes(data.device, batch, settings.skips)
        self._norm = math.inf  # of the weights at the start

    def begin(self) -> None:
        """Start where the training stands."""
        self._norm = self._weight_norm()
        if self.notes is not None:
            self.notes.begin(self.progress.step, self.progress.skipped)

    def step(self, seen: Seen) -> bool:
        """Check the step under way; return whether it is to update the weights.

        Raises:
            NonFiniteError: if its loss is not finite on any rank, or its gradient is not.
        """
        if self.notes is not None:
            self.notes(seen)
            return True
        lost = not math.isfinite(seen.loss.item())
        # Every rank has the same gradient, but its own loss.
        rank = self.world.most(self.world.rank + 1 if lost else 0) - 1
        if rank < 0 and math.isfinite(seen.norm.item()):
            return True
        number = self.progress.step + 1
        if rank >= 0 and not lost:
            told = f"the loss of rank {rank} is not finite at step {number}"
            error = self._error(told, ["see what that rank says"])
        else:
            error, told = self._of_step(noted(seen, number))
        if self.progress.skipped >= self.settings.skips:
            raise error
        self._skip(told)
        return False

    def settle(self) -> None:
        """Tell of the steps that nobody waited for: log those that were skipped.

        Raises:
            NonFiniteError: for the one that was not.
        """
        for one in self.notes.read() if self.notes is not None else ():
            error, told = self._of_step(one)
            if self.progress.skipped >= self.settings.skips:
                raise error
            self._skip(told)

    def epoch(self, sums: Sequence[float], names: Sequence[str], images: float) -> dict[str, float]:
        """Return the mean terms of an epoch, by name, whose sums are over so many images.

        Raises:
            NonFiniteError: naming the term or the gradient, and the step where it is known.
        """
        self.settle()
        epoch = self.progress.epoch + 1
        if not images:
            raise self._error(f"every step of epoch {epoch} was skipped", [_PART])
        means = {name: value / images for name, value in zip(names, sums, strict=True)}
        self.terms(means, f"in epoch {epoch}")
        return means

    def terms(self, means: Mapping[str, float], where: str) -> None:
        """Check mean terms.

        Raises:
            NonFiniteError: naming the first that is not finite.
        """
        finite = {name: math.isfinite(value) for name, value in means.items()}
        if not all(finite.values()):
            told, cures = self._of_term(finite)
            raise self._error(f"{told} {where}{self._growth()}", cures)

    def weights(self) -> None:
        """Check the parameters and the buffers; a buffer, such as a mask, may hold −∞, no NaN.

        Raises:
            NonFiniteError: naming the first infinite parameter, or the gradient of an earlier step.
        """
        self.settle()
        after = f"after step {self.progress.step}"
        named = {name: p.detach() for name, p in self.model.named_parameters()}
        if name := _first(named, torch.isfinite):
            told = f"{self._part(name)} has a weight in {_inner(name)} that is not finite {after}"
            raise self._error(told, self._rate())
        buffers = {k: v for k, v in self.model.state_dict().items() if k not in named}
        if name := _first(buffers, lambda value: ~value.isnan()):
            told = f"{self._part(name)} has a NaN in {_inner(name)} {after}"
            raise self._error(told, [_PART])

    def moments(self, tensors: Mapping[str, Tensor]) -> None:
        """Check an optimizer's state, "exp_avg/encoder.layers.0.weight" -> tensor.

        Raises:
            NonFiniteError: naming the first moment that is not finite.
        """
        if key := _first(tensors, torch.isfinite):
            moment, _, name = key.partition("/")
            told = f"the optimizer's {moment} of {self._part(name)} in {_inner(name)}"
            raise self._error(
                f"{told} is not finite after step {self.progress.step}, and would hold the weight "
                "still",
                [*self._rate(), *self._scale()],
            )

    def _skip(self, told: str) -> None:
        self.progress.skipped += 1
        left = self.settings.skips - self.progress.skipped
        log.warning("%s: the step is skipped, and %d more may be", told, left)

    def _of_step(self, one: Noted) -> tuple[NonFiniteError, str]:
        """Return the error of a step, and what the log tells of it, with all its rows."""
        if all(one.terms.values()):
            what, cures = self._of_gradient(one)
            rows = one.images
        else:
            what, cures = self._of_term(one.terms)
            rows = one.spoiled or one.images
        what = f"{what} at step {one.step}"
        few = 0 < len(one.spoiled) < len(one.images)
        if few and not self.settings.skips:
            cures = ["leave such steps out by --on-nonfinite skip:10", *cures]
        if skipped := self.progress.skipped:
            what += f", after {skipped} skipped step{'s' * (skipped > 1)}"
        error = self._error(f"{what}, on {_rows(rows, 5)}{self._growth()}", cures)
        return error, f"{what}, on {_rows(rows, len(rows))}"

    def _of_term(self, finite: Mapping[str, bool]) -> tuple[str, list[str]]:
        """Return which term is not finite, and the cures."""
        broken = [name for name in _TERMS if not finite.get(name, True)]
        kind, term = _TERMS[broken[0] if broken else "objective"]
        # Without z nobody knows whether the part was given finite numbers.
        of = f" of {self.blame.owners[kind]}" if "z" in finite or kind == "objective" else ""
        calmer, scale = self._calmer(), self._scale()
        part = ["correct that part"] if calmer else [] if scale else [_PART]
        return f"{term}{of} is not finite", [*calmer, *scale, *part]

    def _of_gradient(self, one: Noted) -> tuple[str, list[str]]:
        """Return which part's gradient is not finite, and the cures."""
        given = [(n, p) for n, p in self.model.named_parameters() if p.grad is not None]
        # Of the parts in the order of the forward pass, a fault spoils those before its own.
        broken = [i for i, norm in enumerate(one.norms) if not math.isfinite(norm)]
        last = max(broken, default=one.norms.index(max(one.norms)))
        (name, parameter), norm = given[last], one.norms[last]
        told = f"the gradient of {self._part(name)} in {_inner(name)}"
        if math.isnan(norm):
            return f"{told} is NaN where the loss is finite,", [*self._calmer(), _CORRECT]
        size = "is infinite"
        if self.notes is None and parameter.grad is not None and parameter.grad.isfinite().all():
            size = f"reaches {parameter.grad.abs().max().item():.3g}"
        told += f" {size}, too large for a sum of squares in float32,"
        return told, [*self._calmer()[:1], *self._scale()] or [_CORRECT]

    def _part(self, name: str) -> str:
        return self.blame.owners.get(name.partition(".")[0], "the model")

    def _weight_norm(self) -> float:
        each = torch._foreach_norm([p.detach() for p in self.model.parameters()])
        return torch.linalg.vector_norm(torch.stack(each)).item() if each else math.inf

    def _growth(self) -> str:
        """Tell how the weights have grown since the start, if they have."""
        now = self._weight_norm()
        if now <= _GROWN * self._norm:
            return ""
        return f", with weights of norm {now:.3g}, which was {self._norm:.3g} at the start"

    def _calmer(self) -> list[str]:
        """Return what keeps weights from growing, if they have grown."""
        return self._rate() if self._growth() else []

    def _rate(self) -> list[str]:
        clip = ["set --clip"] if self.settings.clip is None else []
        return [f"lower --lr (it is {self.settings.lr:g})", *clip]

    def _scale(self) -> list[str]:
        low, high = ends(self.data)
        if max(-low, high) <= _UNIT:
            return []
        cure = f"bring the data, in [{low:g}, {high:g}], nearer to unit scale"
        if self.model.scaling.kind == "raw" and max(-low, high) < SCORED:
            cure += ", for the networks alone by --scaling standardize"
        return [cure]

    def _error(self, told: str, cures: Iterable[str]) -> NonFiniteError:
        *first, last = cures
        advice = f"{', '.join(first)}, or {last}" if first else last
        kept = "; checkpoints before it are kept" if self.checkpoints else ""
        return NonFiniteError(f"{told}: {advice}{kept}")


def _inner(name: str) -> str:
    """Return a parameter's name within its part."""
    return name.partition(".")[2]


def _rows(images: Sequence[int], most: int) -> str:
    """Return "training examples 3, 7 and 12 more"."""
    first = sorted(images)[:most]
    told = ", ".join(map(str, first))
    more = f" and {len(images) - len(first)} more" if len(images) > len(first) else ""
    return f"training example{'s' * (len(images) > 1)} {told}{more}"


def _first(tensors: Mapping[str, Tensor], fine: Callable[[Tensor], Tensor]) -> str:
    """Return the name of the first tensor with a value that is not fine, or an empty text."""
    for device in {value.device for value in tensors.values()}:  # one wait for each
        here = {name: value for name, value in tensors.items() if value.device == device}
        flags = torch.stack([fine(value).all() for value in here.values()]).tolist()
        for name, flag in zip(here, flags, strict=True):
            if not flag:
                return name
    return ""
