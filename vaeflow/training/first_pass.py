"""A first pass through a model, which names the part with a broken contract."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vaeflow.distributions.draw import draw
from vaeflow.errors import PluginError
from vaeflow.model import VAE
from vaeflow.parts.abstract import Objective
from vaeflow.runtime.blame import Blame

T = TypeVar("T")


def first_pass(model: VAE, objective: Objective, x: Tensor, blame: Blame) -> None:
    """Pass a few images through the model, so that a broken part is named before the run begins.

    Raises:
        ConfigError: if the objective does not apply to these parts.
        PluginError: naming the part, its value and the expected one.
    """
    part_by_part = _FirstPass(model, objective, blame)
    with torch.no_grad(), blame.at(lambda: "on a first batch"), _buffers_kept(model):
        q = part_by_part.posterior(x)
        part_by_part.prior()
        part_by_part.likelihood(q, len(x))
        part_by_part.objective(x)
    _check_saving(model, blame)


class _FirstPass:
    """Calls each part, and holds its value to type and shape."""

    def __init__(self, model: VAE, objective: Objective, blame: Blame) -> None:
        self._model = model
        self._objective = objective
        self._blame = blame

    def posterior(self, x: Tensor) -> Distribution:
        """Return q(z|x)."""
        encoder, posterior = self._model.encoder, self._model.posterior
        h = self._call(encoder, self._model.scaling(x), Tensor)
        self._expect(encoder, "features", h.shape, (len(x), encoder.features))
        q = self._call(posterior, h, Distribution)
        self._expect(posterior, "q(z|x)'s batch shape", q.batch_shape, (len(x),))
        self._expect(posterior, "q(z|x)'s event shape", q.event_shape, (posterior.latent,))
        return q

    def prior(self) -> None:
        prior = self._model.prior
        p = self._call(prior, self._model.infer_scaled, Distribution)
        self._expect(prior, "p(z)'s event shape", p.event_shape, (self._model.posterior.latent,))

    def likelihood(self, q: Distribution, batch: int) -> None:
        model, k = self._model, self._objective.samples
        output = self._call(model.decoder, self._draw(q, k), Tensor)
        wanted = (k, batch, *model.decoder.output_shape)
        self._expect(model.decoder, "output", output.shape, wanted)
        px = self._call(model.likelihood, model.scaling.emit(output), Distribution)
        self._expect(model.likelihood, "p(x|z)'s batch shape", px.batch_shape, (k, batch))
        self._expect(model.likelihood, "p(x|z)'s event shape", px.event_shape, model.data_shape)

    def objective(self, x: Tensor) -> None:
        model, objective = self._model, self._objective
        terms = model(x, objective.samples)
        for part, name in (
            (model.likelihood, "log_px"),
            (model.prior, "log_pz"),
            (model.posterior, "log_qz"),
        ):
            self._expect(part, name, getattr(terms, name).shape, (objective.samples, len(x)))
        value = objective(terms, torch.ones((), device=x.device))
        self._expect(objective, "its value, one number per image,", value.shape, (len(x),))
        weight = objective.weight(0.0)
        if not (isinstance(weight, int | float) and weight >= 0 and math.isfinite(weight)):
            raise PluginError(
                f"{self._blame.owner(objective)}: weight(0) is {weight!r}, but a number ≥ 0 is "
                "expected"
            )

    def _draw(self, q: Distribution, samples: int) -> Tensor:
        try:
            return draw(q, (samples,)).z
        except NotImplementedError as error:
            raise PluginError(
                f"{self._blame.owner(self._model.posterior)}: its {type(q).__name__} cannot be "
                f"drawn with gradients or scored ({error or 'no rsample'}): return a distribution "
                "that can"
            ) from error

    def _call(self, part: nn.Module, argument: object, kind: type[T]) -> T:
        value = part(argument)
        if not isinstance(value, kind):
            raise PluginError(
                f"{self._blame.owner(part)}: its forward returned {type(value).__name__}, but a "
                f"{kind.__module__}.{kind.__name__} is expected: correct it"
            )
        return value

    def _expect(self, part: object, what: str, seen: Sequence[int], wanted: Sequence[int]) -> None:
        if tuple(seen) != tuple(wanted):
            raise PluginError(
                f"{self._blame.owner(part)}: {what} has shape {tuple(seen)}, but {tuple(wanted)} "
                "is expected: correct its forward"
            )


@contextmanager
def _buffers_kept(model: VAE) -> Iterator[None]:
    """Put the buffers back at the end: running means count training batches alone."""
    before = {name: value.clone() for name, value in model.named_buffers()}
    yield
    for name, value in model.named_buffers():
        value.copy_(before[name])


def _check_saving(model: VAE, blame: Blame) -> None:
    """Refuse a state that a checkpoint cannot hold, before there is work to lose."""
    seen: dict[int, str] = {}
    for name, value in model.state_dict().items():
        owner = blame.owners.get(name.partition(".")[0], "the model")
        if not isinstance(value, Tensor):
            raise PluginError(f"{owner}: {name} in its state is no tensor: keep it out of it")
        if value.numel() and seen.setdefault(value.data_ptr(), name) != name:
            raise PluginError(
                f"{owner}: {name} and {seen[value.data_ptr()]} share their memory, which a "
                "checkpoint cannot hold: keep one, and use it twice in forward"
            )
