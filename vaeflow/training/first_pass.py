"""A first pass through a model, so that a part that breaks its contract is named at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vaeflow.distributions.draw import draw
from vaeflow.errors import PluginError
from vaeflow.model import VAE
from vaeflow.parts.abstract import Objective
from vaeflow.runtime.blame import Blame


def check_contract(model: VAE, objective: Objective, x: Tensor, blame: Blame) -> None:
    """Pass a few images through the model, so that a broken part is named before the run begins.

    Raises:
        ConfigError: if the objective does not apply to these parts.
        PluginError: naming the part, what it returned and what is expected.
    """
    batch, k = len(x), objective.samples
    before = {name: value.clone() for name, value in model.named_buffers()}

    def expect(part: object, what: str, seen: Sequence[int], wanted: Sequence[int]) -> None:
        if tuple(seen) != tuple(wanted):
            raise PluginError(
                f"{blame.owner(part)}: {what} has shape {tuple(seen)}, but {tuple(wanted)} is "
                "expected: correct its forward"
            )

    def called(part: nn.Module, argument: object, kind: type) -> Any:
        value = part(argument)
        if not isinstance(value, kind):
            raise PluginError(
                f"{blame.owner(part)}: its forward returned {type(value).__name__}, but a "
                f"{kind.__module__}.{kind.__name__} is expected: correct it"
            )
        return value

    with torch.no_grad(), blame.at(lambda: "on a first batch"):
        h = called(model.encoder, x, Tensor)
        expect(model.encoder, "features", h.shape, (batch, model.encoder.features))
        q = called(model.posterior, h, Distribution)
        expect(model.posterior, "q(z|x)'s batch shape", q.batch_shape, (batch,))
        expect(model.posterior, "q(z|x)'s event shape", q.event_shape, (model.posterior.latent,))
        p = called(model.prior, model.infer, Distribution)
        expect(model.prior, "p(z)'s event shape", p.event_shape, (model.posterior.latent,))
        try:
            z = draw(q, (k,)).z
        except NotImplementedError as error:
            raise PluginError(
                f"{blame.owner(model.posterior)}: its {type(q).__name__} cannot be drawn with "
                f"gradients or scored ({error or 'no rsample'}): return a distribution that can"
            ) from error
        output = called(model.decoder, z, Tensor)
        expect(model.decoder, "output", output.shape, (k, batch, *model.decoder.output_shape))
        px = called(model.likelihood, output, Distribution)
        expect(model.likelihood, "p(x|z)'s batch shape", px.batch_shape, (k, batch))
        expect(model.likelihood, "p(x|z)'s event shape", px.event_shape, model.data_shape)
        terms = model(x, k)
        for part, name in (
            (model.likelihood, "log_px"),
            (model.prior, "log_pz"),
            (model.posterior, "log_qz"),
        ):
            expect(part, name, getattr(terms, name).shape, (k, batch))
        value = objective(terms, torch.ones((), device=x.device))
        expect(objective, "its value, one number per image,", value.shape, (batch,))
        weight = objective.weight(0.0)
        if not (isinstance(weight, int | float) and weight >= 0 and math.isfinite(weight)):
            raise PluginError(
                f"{blame.owner(objective)}: weight(0) is {weight!r}, but a number ≥ 0 is expected"
            )
        for name, value in model.named_buffers():  # running means count training batches alone
            value.copy_(before[name])
    _check_saving(model, blame)


def _check_saving(model: VAE, blame: Blame) -> None:
    """Refuse what a checkpoint cannot hold, before there is work to lose."""
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
