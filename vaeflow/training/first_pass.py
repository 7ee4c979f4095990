"""A first pass through a model, which names the part with a broken contract."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, TransformedDistribution

from vaeflow.data.examples import Data, as_examples
from vaeflow.distributions.draw import OnePass, brief, draw
from vaeflow.errors import PluginError
from vaeflow.model import VAE
from vaeflow.nn.modes import evaluating
from vaeflow.parts.abstract import Objective
from vaeflow.runtime.blame import Blame
from vaeflow.training.conduct import conduct
from vaeflow.training.rowwise import odd_row


def first_pass(model: VAE, objective: Objective, x: Data, blame: Blame) -> None:
    """Pass a few images through the model, so that a broken part is named before the run begins.

    Once as in training, and once as on validation data.

    Raises:
        ConfigError: if the objective does not apply to these parts.
        PluginError: naming the part, its value and the expected one.
    """
    with blame.at(lambda: "on a first batch"), buffers_kept(model):
        with torch.enable_grad():
            part_by_part = FirstPass(model, objective, x, blame)
            part_by_part.all()
            part_by_part.objective()
        with torch.no_grad(), evaluating(model):
            part_by_part.all()
            part_by_part.rows()
    _check_saving(model, blame)


def few(model: VAE, objective: Objective) -> int:
    """Return a small number of images that is no other size, so that swapped axes are seen."""
    others = (objective.samples, model.posterior.latent, model.posterior.features)
    return next(n for n in (2, 3, 4, 5) if n not in others)


class _Shape(NamedTuple):
    """A shape as the contracts write it, such as "B, F", and as it is here."""

    axes: str
    sizes: tuple[int, ...]

    def __str__(self) -> str:
        return f"({self.axes}) = {self.sizes}"


class FirstPass:
    """Calls each part, and holds its value to type, shape and dtype.

    Arguments:
        where: how messages call the pass.
    """

    def __init__(
        self,
        model: VAE,
        objective: Objective,
        data: Data,
        blame: Blame,
        where: str = "on a first batch",
    ) -> None:
        self._where = where
        self._model = model
        self._objective = objective
        self._data = as_examples(data)
        self._x = self._data.values
        self._blame = blame
        self._each = _Shape("K, B", (objective.samples, len(self._x)))
        self._latent = _Shape("L,", (model.posterior.latent,))

    def all(self) -> None:
        """Pass through all parts but the objective."""
        z = self.posterior()
        self.prior(z)
        self.likelihood(z)

    def rows(self) -> None:
        """Refuse a log q(z|x) that depends on the other images of the batch."""
        posterior = self._model.posterior
        with self._at(posterior):
            odd = odd_row(posterior, self._features())
        if odd:
            raise PluginError(
                f"{self._blame.owner(posterior)}: log q(z|x) of a draw is {odd[0]:.5g} among "
                f"{len(self._x)} images and {odd[1]:.5g} alone: sum log|det| over the latent axis, "
                "not over the images or samples"
            )

    def posterior(self) -> Tensor:
        """Return K draws of q(z|x)."""
        encoder, posterior, batch = self._model.encoder, self._model.posterior, len(self._x)
        u = self._model.seen(self._data)
        with self._watched(encoder, {"its input": u}):
            h = encoder(u)
        self._tensor(encoder, "its features are", h, _Shape("B, F", (batch, encoder.features)))
        h = self._model.features(h, self._data)
        with self._watched(posterior, {"the features": h}):
            q = posterior(h)
        self._distribution(posterior, "q(z|x)", q, _Shape("B,", (batch,)), self._latent)
        with self._at(posterior), self._watched(posterior, {"the features": h}):
            try:
                return self._draw(q)
            except NotImplementedError as error:
                raise PluginError(
                    f"{self._blame.owner(posterior)}: its {type(q).__name__} cannot be drawn with "
                    f"gradients or scored ({error or 'no rsample'}): return a distribution that can"
                ) from error

    def _features(self) -> Tensor:
        """Return what the posterior is given."""
        model, data = self._model, self._data
        return model.features(model.encoder(model.seen(data)), data)

    def _draw(self, q: Distribution) -> Tensor:
        """Draw as `draw` does, and look at each value before the next is made of it."""
        part, (k, batch) = self._model.posterior, self._each.sizes
        drawn, wanted = "a draw of its q(z|x) is", _Shape("K, B, L", (k, batch, part.latent))
        in_one_pass = isinstance(q, OnePass | TransformedDistribution)
        if not in_one_pass and not hasattr(q, "rsample_and_log_prob"):
            z = q.rsample(torch.Size((k,)))
            self._tensor(part, drawn, z, wanted)
            self._density(part, "log q(z|x)", q.log_prob(z))
            return z
        sample = draw(q, (k,))
        self._tensor(part, drawn, sample.z, wanted)
        self._density(part, "log q0(z0)", sample.log_base)
        self._density(part, "log|det|", sample.log_det)
        return sample.z

    def prior(self, z: Tensor) -> None:
        prior = self._model.prior
        with self._watched(prior, {}):
            p = prior(self._model.infer_scaled)
        self._distribution(prior, "p(z)", p, _Shape("", ()), self._latent)
        with self._at(prior), self._watched(prior, {"the draw z": z}):
            self._density(prior, "log p(z)", p.log_prob(z))

    def likelihood(self, z: Tensor) -> None:
        decoder, likelihood = self._model.decoder, self._model.likelihood
        with self._watched(decoder, {"the draw z": z}):
            output = decoder(self._model.code(z, self._data))
        sizes = (*self._each.sizes, *decoder.output_shape)
        self._tensor(decoder, "its output is", output, _Shape("K, B, *output_shape", sizes))
        output = self._model.scaling.emit(output)
        with self._watched(likelihood, {"the decoder's output": output}):
            px = likelihood(output)
        event = _Shape("*data_shape", self._model.data_shape)
        self._distribution(likelihood, "p(x|z)", px, self._each, event)
        with self._at(likelihood), self._watched(likelihood, {"the data": self._x}):
            self._density(likelihood, "log p(x|z)", self._model.score(px, self._data))
            if self._model.training:
                likelihood.observe(px, self._x)

    def objective(self) -> None:
        objective, terms = self._objective, self._model(self._data, self._objective.samples)
        watched = {
            "log p(x|z)": terms.log_px,
            "log p(z)": terms.log_pz,
            "log q0(z0)": terms.log_base,
            "log|det|": terms.log_det,
            "the draw z": terms.z,
        }
        with self._at(objective), self._watched(objective, watched):
            value = objective(terms, torch.ones((), device=self._x.device))
        self._density(objective, "its value", value, _Shape("B,", (len(self._x),)))
        weight = objective.weight(0.0)
        if not (isinstance(weight, int | float) and weight >= 0 and math.isfinite(weight)):
            raise PluginError(
                f"{self._blame.owner(objective)}: weight(0) is {weight!r}, but a number ≥ 0 is "
                "expected: correct it"
            )

    def _watched(self, part: object, given: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        """See that a part leaves alone what it is given, and torch's modes."""
        return conduct(self._blame.owner(part), given)

    def _at(self, part: object) -> AbstractContextManager[None]:
        """Blame a part for what fails in no part's own code, such as in torch's distributions."""
        return self._blame.at(lambda: self._where, suspect=part)

    def _tensor(self, part: object, what: str, value: object, wanted: _Shape) -> None:
        """Refuse what is no tensor of a shape, of the data's dtype and on its device."""
        self._expect(part, what, value, wanted, (self._x.dtype,))

    def _density(
        self, part: object, what: str, value: object, wanted: _Shape | None = None
    ) -> None:
        """Refuse what holds no density for each draw, in float32 or better."""
        dtypes = (torch.float32, torch.float64)
        self._expect(part, f"{what} is", value, wanted or self._each, dtypes)

    def _expect(
        self,
        part: object,
        what: str,
        value: object,
        wanted: _Shape,
        dtypes: tuple[torch.dtype, ...],
    ) -> None:
        fits = (
            isinstance(value, Tensor)
            and value.shape == wanted.sizes
            and value.dtype in dtypes
            and value.device == self._x.device
        )
        if not fits:
            raise PluginError(
                f"{self._blame.owner(part)}: {what} {self._told(value)}, but a tensor of "
                f"{_name(dtypes[0])} and shape {wanted} is expected: correct it"
            )

    def _distribution(
        self, part: object, what: str, value: object, batch: _Shape, event: _Shape
    ) -> None:
        """Refuse what is no distribution of such shapes."""
        seen = self._told(value)
        if isinstance(value, Distribution):
            if (value.batch_shape, value.event_shape) == (batch.sizes, event.sizes):
                return
            seen = brief(value)
        raise PluginError(
            f"{self._blame.owner(part)}: its {what} is {seen}, but a torch distribution of batch "
            f"{batch if batch.sizes else '()'} and event {event} is expected: correct its forward"
        )

    def _told(self, value: object) -> str:
        """Say what a part returned."""
        if not isinstance(value, Tensor):
            return "None" if value is None else f"of type {type(value).__name__}"
        place = "" if value.device == self._x.device else f" on {value.device}"
        return f"a tensor of {_name(value.dtype)} and shape {tuple(value.shape)}{place}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@contextmanager
def buffers_kept(model: VAE) -> Iterator[None]:
    """Put the buffers back at the end: running means count training batches alone."""
    before = {name: value.clone() for name, value in model.named_buffers()}
    yield
    with torch.no_grad():
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
