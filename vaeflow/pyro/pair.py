"""A VAE as a pair of Pyro's programs.

Shapes: N examples of a call, L latent size; * is what plates put before them, such as particles.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.poutine.runtime import effectful
from torch import Tensor

from vaeflow.data.covariates import given_covariates
from vaeflow.data.examples import Examples
from vaeflow.errors import ConfigError, DataError
from vaeflow.model import VAE
from vaeflow.pyro.sites import Observation, latent_site

Call = Callable[..., Tensor]


def as_pyro(model: VAE) -> tuple[Call, Call]:
    r"""Return the model p(z) p(x|z) and the guide q(z|x) as Pyro's programs.

    Both are called with data, as `model.examples` takes it: `program(x, condition=…, weight=…)`, or
    with its result. Within a plate "examples" of the N examples stand the sites "z" (N, L) and, in
    the model, "x" (N, \*data_shape), observed. `pyro.poutine.uncondition(model)` draws x; the model
    called with a number of examples in place of data does so too.

    The parameters are those of `model`: a step of `pyro.infer.SVI` trains it. They do not pass
    through Pyro's global store, which would give two models of one name the same parameters. Gaps
    are left out of log p(x|z). Weights scale the sites of their examples (`poutine.scale`).

    Trace_ELBO is the sum of vaeflow's ELBO over the examples with the sign turned, RenyiELBO with
    α = 0 that of the IWAE bound. Whether dropout and running statistics are in training mode is the
    model's own state: `model.train()` and `model.eval()` set it.

    Raises:
        ConfigError: if `model` is no VAE.
    """
    if not isinstance(model, VAE):
        raise ConfigError(
            f"as_pyro: model is a {type(model).__name__}, but a vaeflow.VAE is expected: make one "
            "with vaeflow.build, or load that of a run with vaeflow.load"
        )
    programs = _Programs(model)
    return programs.model, programs.guide


class _Programs:
    """The two programs of a VAE."""

    def __init__(self, vae: VAE) -> None:
        self.vae = vae

    def model(
        self, x: object, condition: Mapping[str, object] | None = None, weight: object = None
    ) -> Tensor:
        """Draw z from p(z), and score x, or draw it, under p(x|z); return x."""
        count = _count(x)
        examples = self._given(x, condition, weight) if count is None else None
        beside = examples if count is None else self._beside(count, condition)
        with self._batch(len(examples) if examples is not None else count, examples):
            z = pyro.sample("z", latent_site(self.vae.latent_prior()))
            law = Observation(self.vae, z, beside)
            values = None if examples is None else examples.values
            seen: Tensor = pyro.sample("x", law, obs=values)
        if values is not None and self.vae.training and torch.is_grad_enabled():
            self.vae.likelihood.observe(law.law, values)
        return seen

    def guide(
        self, x: object, condition: Mapping[str, object] | None = None, weight: object = None
    ) -> Tensor:
        """Draw z from q(z|x), and return it."""
        if _count(x) is not None:
            raise DataError(
                f"the guide q(z|x) is asked for {x} examples without data: give it data, or call "
                "the model alone to draw from the prior"
            )
        examples = self._given(x, condition, weight)
        with self._batch(len(examples), examples):
            z: Tensor = pyro.sample("z", latent_site(self.vae.infer(examples)))
        return z

    def _given(self, x: object, condition: Mapping[str, object] | None, weight: object) -> Examples:
        examples = self.vae.examples(x, condition, weight)
        if not len(examples):
            raise DataError("x holds no examples: give one or more")
        return examples.read().to(self.vae.device)

    def _beside(self, count: int, condition: Mapping[str, object] | None) -> Examples | None:
        """Return the covariates of so many examples to draw, as examples without values."""
        if not self.vae.covariates:
            return None
        told = given_covariates(self.vae.covariates, condition or {})
        told = told.expand(count, -1).to(self.vae.device, self.vae.dtype)
        return Examples(told, told)

    @contextmanager
    def _batch(self, count: int | None, examples: Examples | None) -> Iterator[None]:
        """Open the plate of the examples, with their weights, and tell Pyro the parameters."""
        for name, parameter in self.vae.named_parameters():
            if parameter.requires_grad:
                _tell(f"vae.{name}", parameter)
        with ExitStack() as held:
            held.enter_context(pyro.plate("examples", count, dim=-1))
            weight = None if examples is None else examples.weight
            if weight is not None:  # Pyro scales by what is above 0
                held.enter_context(poutine.mask(mask=weight > 0))
                held.enter_context(poutine.scale(scale=torch.where(weight > 0, weight, 1.0)))
            yield


def _count(x: object) -> int | None:
    """Return a number of examples, or None of data.

    Raises:
        DataError: if the number is below 1.
    """
    if isinstance(x, Tensor | np.ndarray):
        return None
    try:
        count = operator.index(x)  # type: ignore[arg-type]
    except TypeError:
        return None
    if count < 1 or isinstance(x, bool):
        raise DataError(f"{x} examples are asked for: give data, or a number of 1 or more")
    return count


def _tell(name: str, parameter: Tensor) -> None:
    """Tell the handlers of Pyro a parameter, as `pyro.param` does, past its store."""
    told = parameter.detach()  # a tensor of its own, as what is set on a parameter is pickled
    told.unconstrained = lambda: parameter  # type: ignore[attr-defined]
    effectful(type="param")(lambda: told)(name=name)
