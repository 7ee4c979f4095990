"""A first pass through a model, so that a part that breaks its contract is named at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.distributions import draw
from vaeflow.errors import CheckpointError, ConfigError, PluginError, VaeflowError
from vaeflow.model import VAE
from vaeflow.objectives import Objective


@contextmanager
def no_validation() -> Iterator[None]:
    """Switch off torch's check of every distribution's arguments: a wait for the device in each."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


def check_contract(model: VAE, objective: Objective, x: Tensor) -> None:
    """Pass a few images through the model, so that a broken part is named before the run begins.

    Raises:
        ConfigError: if the objective does not apply to these parts.
        PluginError: naming the part, what it returned and what is expected.
    """
    batch, k = len(x), objective.samples
    with torch.no_grad():
        h = _called(model.encoder, x)
        _expect(model.encoder, "features", h.shape, (batch, model.encoder.features))
        q = _called(model.posterior, h)
        _expect(model.posterior, "q(z|x)'s batch shape", q.batch_shape, (batch,))
        _expect(model.posterior, "q(z|x)'s event shape", q.event_shape, (model.posterior.latent,))
        p = _called(model.prior, model.infer)
        _expect(model.prior, "p(z)'s event shape", p.event_shape, (model.posterior.latent,))
        try:
            z = draw(q, (k,)).z
        except NotImplementedError as error:
            raise PluginError(
                f"posterior {type(model.posterior).__name__}: its {type(q).__name__} cannot be "
                f"drawn with gradients or scored ({error or 'no rsample'}): return a distribution "
                "that can"
            ) from error
        output = _called(model.decoder, z)
        _expect(model.decoder, "output", output.shape, (k, batch, *model.decoder.output_shape))
        px = _called(model.likelihood, output)
        _expect(model.likelihood, "p(x|z)'s batch shape", px.batch_shape, (k, batch))
        _expect(model.likelihood, "p(x|z)'s event shape", px.event_shape, model.data_shape)
        terms = model(x, k)
        for part, name in (
            (model.likelihood, "log_px"),
            (model.prior, "log_pz"),
            (model.posterior, "log_qz"),
        ):
            _expect(part, name, getattr(terms, name).shape, (k, batch))
        try:
            value = objective(terms, torch.ones((), device=x.device))
        except NotImplementedError:
            raise ConfigError(
                f"--objective.kl analytic: torch knows no closed form of the KL between "
                f"{type(model.posterior).__name__} and {type(model.prior).__name__}; use "
                "--objective.kl sampled"
            ) from None
        if tuple(value.shape) != (batch,):
            raise PluginError(
                f"objective {type(objective).__name__} returned shape {tuple(value.shape)}, "
                f"but one number per image, {(batch,)}, is expected"
            )


def _called(part: torch.nn.Module, *args: Any) -> Any:
    try:
        return part(*args)
    except VaeflowError:
        raise
    except Exception as error:
        raise PluginError(
            f"{_kind(part)} {type(part).__name__} failed on a first batch "
            f"({type(error).__name__}: {error}): see --debug for where"
        ) from error


def _expect(part: torch.nn.Module, what: str, seen: Sequence[int], wanted: Sequence[int]) -> None:
    if tuple(seen) != tuple(wanted):
        raise PluginError(
            f"{_kind(part)} {type(part).__name__}: {what} has shape {tuple(seen)}, but "
            f"{tuple(wanted)} is expected: correct its forward"
        )


def _kind(part: torch.nn.Module) -> str:
    return next(
        c.__name__ for c in type(part).__mro__ if c.__module__ == "vaeflow.components"
    ).lower()


def check_fit(model: VAE, tensors: Mapping[str, Tensor]) -> None:
    """Check that weights belong to a model.

    Raises:
        CheckpointError: naming the first tensors that are missing, extra or of another shape.
    """
    own = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    given = {k: tuple(v.shape) for k, v in tensors.items()}
    wrong = [k for k in {**own, **given} if own.get(k) != given.get(k)]
    if wrong:
        told = "; ".join(
            f"{k}: {given.get(k, 'missing')} in the file, {own.get(k, 'absent')} in the model"
            for k in wrong[:5]
        )
        raise CheckpointError(f"the checkpoint is of another model ({told}): load it with its own")
