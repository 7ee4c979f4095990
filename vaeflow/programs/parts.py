"""Encoder, decoder and sampler of a model as functions of tensors: noise is an input.

Shapes: N examples, L latent size, M numbers of noise of each example, C covariates.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vaeflow.data.examples import Examples
from vaeflow.distributions.draw import draw
from vaeflow.errors import ConfigError
from vaeflow.model import VAE
from vaeflow.programs.noise import Layout, Replayed

PartName = Literal["encoder", "decoder", "sampler"]
Tensors = Mapping[str, Tensor]


class Program(nn.Module):
    """A part of a model as a function of named tensors, in the order of `inputs`.

    Arguments:
        model: the model, in evaluation mode.
    """

    kinds: tuple[str, ...]  # of the parts of the model that it is made of
    main: str  # the first input, which is no noise; "" of a program of noise alone
    layout: Layout

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.model = model
        self.layout = Layout.of(lambda count: self.compute(**self._zeros(count)))

    @abstractmethod
    def compute(self, **inputs: Tensor | None) -> dict[str, Tensor]:
        """Return the outputs by name, with draws of torch's generator."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one example of the main input."""

    @property
    def told(self) -> str:
        """Return in words of which parts it is made, such as "the posterior planar"."""
        chosen = self.model.chosen
        each = (
            f"the {kind} {chosen[kind].name if kind in chosen else type(part).__name__}"
            for kind in self.kinds
            for part in [self.model.get_submodule(kind)]
        )
        return " and ".join(each)

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of one example of each input, in their order."""
        named = {self.main: self.shape} if self.main else {}
        if self.layout.width:
            named["noise"] = (self.layout.width,)
        if self.model.covariates:
            named["condition"] = (len(self.model.covariates),)
        return named

    def forward(self, *tensors: Tensor) -> dict[str, Tensor]:
        given = dict(zip(self.inputs, tensors, strict=True))
        noise = given.pop("noise", None)
        if noise is None:
            return self.compute(**given)
        with Replayed(self.layout, noise):
            return self.compute(**given, **({} if self.main else {"like": noise}))

    def _zeros(self, count: int) -> dict[str, Tensor]:
        """Return inputs for so many examples, without noise."""
        model = self.model
        zeros = {self.main or "like": torch.zeros(count, *self.shape, dtype=model.dtype)}
        if model.covariates:
            zeros["condition"] = torch.zeros(count, len(model.covariates), dtype=model.dtype)
        return zeros


class EncoderProgram(Program):
    """(x, noise) -> z, a draw of q(z|x) through all its maps, log q(z|x), and its mean.

    The mean is there where q has one by formula.
    """

    kinds = ("encoder", "posterior")
    main = "x"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.model.data_shape

    def compute(self, x: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:  # type: ignore[override]
        q = self.model.infer(Examples(x, condition))
        sample = draw(q, (1,))
        found = {"z": sample.z[0], "log_q": sample.log_prob[0]}
        with suppress(NotImplementedError):  # a flow has no mean by formula
            found["mean"] = q.mean
        return found


class DecoderProgram(Program):
    """z -> the mean of p(x|z), and the output that stands for its parameters."""

    kinds = ("decoder", "likelihood")
    main = "z"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.model.posterior.latent,)

    def compute(self, z: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:  # type: ignore[override]
        output = self.model.emit(z[None], _beside(z, condition))
        found = {"output": output[0]}
        try:
            return {"mean": self.model.likelihood(output).mean[0], **found}
        except NotImplementedError:
            return found


class SamplerProgram(Program):
    """Noise -> z, a draw of the prior, and the mean of p(x|z)."""

    kinds = ("prior", "decoder", "likelihood")
    main = ""

    @property
    def shape(self) -> tuple[int, ...]:
        return (1,)

    def compute(self, like: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:  # type: ignore[override]
        z = self.model.latent_prior().sample(torch.Size((like.shape[0],)))
        mean = self.model.generate(z[None], _beside(z, condition)).mean[0]
        return {"mean": mean, "z": z}


PROGRAMS: dict[PartName, type[Program]] = {
    "encoder": EncoderProgram,
    "decoder": DecoderProgram,
    "sampler": SamplerProgram,
}


def program_of(model: VAE, part: str) -> Program:
    """Return a part of a model as a program.

    Raises:
        ConfigError: if there is no such part.
        PluginError: if a part of the model draws what noise cannot stand for.
    """
    if part not in get_args(PartName):
        raise ConfigError(
            f"--part {part}: encoder, decoder or sampler is expected: choose one of them"
        )
    return PROGRAMS[part](model)  # type: ignore[index]


def _beside(z: Tensor, condition: Tensor | None) -> Examples | None:
    return None if condition is None else Examples(z, condition)
