"""Checks for infinite numbers and NaN in a training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from vaeflow.config.settings import Settings
from vaeflow.errors import NonFiniteError
from vaeflow.model import VAE
from vaeflow.runtime.blame import Blame
from vaeflow.runtime.ranks import World
from vaeflow.terms import Terms
from vaeflow.training.progress import Progress
from vaeflow.training.step import Gradient

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
_SCORED = 1e8  # up to there a likelihood can score data as they are, in float32
_CORRECT = (
    "correct a derivative of that part, or of what is computed from it, which "
    "torch.autograd.set_detect_anomaly(True) names"
)


class Notes:
    """Notes the first step whose gradient is not finite on a device that is not to be waited for.

    Attributes:
        halted: 1.0 from that step on, else 0.0; torch's fused Adam then leaves all as it is.
        lost: that step and those after it.
        norms: (P,), of that step's gradient; of the newest step before.
    """

    def __init__(self, device: torch.device) -> None:
        self.halted = torch.zeros((), device=device)
        self.lost = torch.zeros((), device=device)
        self.norms = torch.zeros(0, device=device)

    def __call__(self, terms: Terms, loss: Tensor, gradient: Gradient) -> None:
        """Look at a step before its update; nothing waits."""
        if self.norms.shape != gradient.norms.shape:
            self.norms = gradient.norms.clone()
        self.norms.copy_(torch.where(self.halted > 0, self.norms, gradient.norms))
        self.halted.logical_or_(gradient.norm.isfinite().logical_not())
        self.lost.add_(self.halted)


class Finite:
    """Stops a training where its loss, its gradient or its weights are NaN or infinite.

    A finite gradient stops it as well where its squares are not: an infinite mean of squares holds
    a weight of Adam still for ever.

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
        data: Tensor,
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
        # Reading a number is free on the CPU. Elsewhere it is a wait, and the epoch's end tells.
        self.notes = None if data.device.type == "cpu" else Notes(data.device)

    def step(self, terms: Terms, loss: Tensor, gradient: Gradient) -> None:
        """Check the step under way before its update.

        Raises:
            NonFiniteError: if its loss is not finite on any rank, or its gradient is not.
        """
        if self.notes is not None:
            self.notes(terms, loss, gradient)
            return
        number = self.progress.step + 1
        if self.world.any(not math.isfinite(loss.item())):
            sums = {
                name: getattr(terms, name).sum().item() for name in _TERMS if name != "objective"
            }
            raise self._term_error(sums, f"at step {number}", number)
        if not math.isfinite(gradient.norm.item()):
            raise self._gradient_error(gradient.norms, number)

    def epoch(self, means: Mapping[str, float]) -> None:
        """Check the mean terms of an epoch, and the steps that nobody waited for.

        Raises:
            NonFiniteError: naming the term or the gradient, and the step where it is known.
        """
        noted = self._noted()
        where = f"at step {noted[1]}" if noted else f"in epoch {self.progress.epoch + 1}"
        self.terms(means, where)
        if noted:
            raise self._gradient_error(*noted)

    def terms(self, means: Mapping[str, float], where: str) -> None:
        """Check mean terms.

        Raises:
            NonFiniteError: naming the first that is not finite.
        """
        if not all(map(math.isfinite, means.values())):
            raise self._term_error(means, where, self.progress.step)

    def weights(self) -> None:
        """Check the parameters; a buffer, such as a mask, may hold −∞.

        Raises:
            NonFiniteError: naming the first infinite parameter, or the gradient of an earlier step.
        """
        if noted := self._noted():
            raise self._gradient_error(*noted)
        for name, weight in self.model.named_parameters():
            if not torch.isfinite(weight).all():
                where = f"{self._part(name)} has a weight in {_inner(name)} that is not finite"
                raise self._error(f"{where} after step {self.progress.step}", self._calmer())

    def _noted(self) -> tuple[Tensor, int] | None:
        """Return the norms and the number of the first step that was noted, if any was."""
        lost = 0 if self.notes is None else int(self.notes.lost.item())
        if self.notes is None or not lost:
            return None
        return self.notes.norms, self.progress.step - lost + 1

    def _term_error(self, means: Mapping[str, float], where: str, number: int) -> NonFiniteError:
        broken = [name for name in _TERMS if not math.isfinite(means.get(name, 0.0))]
        if not broken and self.world.count > 1:
            return self._error(f"the loss of another rank is not finite {where}", self._calmer())
        kind, term = _TERMS[broken[0] if broken else "objective"]
        cures = [*(self._calmer() if number > 1 else ()), *self._scale()]
        # Without z nobody knows whether the part was given finite numbers.
        of = f" of {self.blame.owners[kind]}" if "z" in means or kind == "objective" else ""
        told = f"{term}{of} is not finite {where}"
        return self._error(told, cures or ["correct that part, or tell its authors"])

    def _gradient_error(self, norms: Tensor, number: int) -> NonFiniteError:
        given = [(n, p) for n, p in self.model.named_parameters() if p.grad is not None]
        finite = norms.isfinite().tolist()
        # Of the parts in the order of the forward pass, a fault spoils those before its own.
        last = max((i for i, fine in enumerate(finite) if not fine), default=int(norms.argmax()))
        name, parameter = given[last]
        norm, largest = norms[last].item(), math.nan
        if self.notes is None:
            assert parameter.grad is not None
            largest = parameter.grad.abs().max().item()
        calmer = self._calmer() if number > 1 else []
        told = f"the gradient of {self._part(name)} in {_inner(name)}"
        if math.isnan(norm):
            error = f"{told} is NaN at step {number}, where the loss is finite"
            return self._error(error, [*calmer, _CORRECT])
        size = f"reaches {largest:.3g}" if math.isfinite(largest) else "is infinite"
        error = f"{told} {size} at step {number}, too large for a sum of squares in float32"
        return self._error(error, [*calmer[:1], *self._scale()] or [_CORRECT])

    def _part(self, name: str) -> str:
        return self.blame.owners.get(name.partition(".")[0], "the model")

    def _calmer(self) -> list[str]:
        """Return what keeps weights from growing."""
        clip = ["set --clip"] if self.settings.clip is None else []
        return [f"lower --lr (it is {self.settings.lr:g})", *clip]

    def _scale(self) -> list[str]:
        low, high = self.data.min().item(), self.data.max().item()
        if max(-low, high) <= _UNIT:
            return []
        cure = f"bring the data, in [{low:g}, {high:g}], nearer to unit scale"
        if self.model.scaling.kind == "raw" and max(-low, high) < _SCORED:
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
