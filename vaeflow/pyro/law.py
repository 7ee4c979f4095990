"""The law of a program: scored with its discrete sites summed out, drawn, and averaged.

Shapes: K samples, B batch. Densities are in nats.
"""

from __future__ import annotations

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from vaeflow.errors import ConfigError
from vaeflow.pyro.examples import drawn, moment, moment_given
from vaeflow.pyro.gaps import GapMessenger
from vaeflow.pyro.running import Observing, contracted, enumerated, plates

_DRAWS = 1000  # of a mean without a formula
_NUMBERS = 10_000_000  # of draws at a time


class ProgramLaw(Distribution):
    """p(x|z) of a program: batch (K, B), event data_shape.

    Arguments:
        program: the likelihood.
        output: of the decoder, (K, B, *output_shape).
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  (torch's own spelling)

    def __init__(self, program: Observing, output: Tensor) -> None:
        batch = output.shape[: output.dim() - len(program.output_shape)]
        super().__init__(batch, Size(program.data_shape), validate_args=False)
        self.program, self.output = program, output

    @property
    def mean(self) -> Tensor:
        """Return E[x|z], (K, B, *event_shape), as the program tells it."""
        return self.program.mean(self.output)

    @property
    def variance(self) -> Tensor:
        """Return Var[x|z] = E[x²|z] − E[x|z]² of each value, (K, B, *event_shape)."""
        return (self.moment(2) - self.moment(1).square()).clamp_min(0)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x|z), (K, B)."""
        return self._of_example(self._scores(x))

    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        lead = Size((*sample_shape, *self.batch_shape))
        with torch.no_grad():
            output = self.output.expand(*lead, *self.program.output_shape)
            return drawn(self.program, self._in_two(output)).reshape(*lead, *self.event_shape)

    def moment(self, power: int) -> Tensor:
        """Return E[x|z] or E[x²|z] of each value, (K, B, *event_shape).

        Without a formula it is the average over 1000 draws, the same at each call.
        """
        try:
            found = moment(self.program, self._in_two(self.output), power)
        except NotImplementedError:
            cuda = [self.output.device] if self.output.is_cuda else []
            with torch.random.fork_rng(devices=cuda):
                torch.manual_seed(0)
                at_once = max(1, _NUMBERS // max(1, self._extended_shape().numel()))
                total = self.output.new_zeros(())
                for done in range(0, _DRAWS, at_once):
                    draws = self.sample(Size((min(at_once, _DRAWS - done),)))
                    total = total + draws.pow(power).sum(0)
                return total / _DRAWS
        return found.reshape(*self.batch_shape, *self.event_shape)

    def _scores(self, x: Tensor, *, gaps: bool = False) -> Tensor:
        """Return log p(x|z) of each cell of the plates: (K, B), or (K, B, *event_shape)."""
        event, own = len(self.event_shape), len(self.program.output_shape)
        lead = torch.broadcast_shapes(x.shape[: x.dim() - event], self.batch_shape)
        cells = self.event_shape if self.program.by_value else Size()
        if not lead.numel():
            return self.output.new_zeros(*lead, *cells)
        output = self.output
        if output.shape[: output.dim() - own] != lead:
            output = output.expand(*lead, *self.program.output_shape)
        output = self._in_two(output)
        if x.dim() > event + 1:
            x = x.expand(*lead, *self.event_shape).reshape(*output.shape[:2], *self.event_shape)
        else:
            x = x[None]  # with as many axes as the output, so that a program may move them alike
        trace = enumerated(self.program, output, x, GapMessenger() if gaps else None)
        names = [plate.name for plate in plates(self.program, output)]
        total = contracted(trace, names)
        axes = [total._pyro_dims.index(trace.plate_to_symbol[name]) for name in names]
        scores: Tensor = total.permute(axes).reshape(*lead, *cells)
        return scores

    def _of_example(self, scores: Tensor) -> Tensor:
        if not self.program.by_value:
            return scores
        total: Tensor = scores.flatten(-len(self.event_shape)).sum(-1)
        return total

    def _in_two(self, output: Tensor) -> Tensor:
        """Return an output of any batch as one of (K, B)."""
        lead = output.shape[: output.dim() - len(self.program.output_shape)]
        last = lead[-1] if lead else 1
        rows = lead[:-1].numel() if lead else 1
        return output.reshape(rows, last, *self.program.output_shape)


class ValueLaw(ProgramLaw):
    """The law of a program for single values, which are independent given z."""

    def log_prob_of_each(self, x: Tensor) -> Tensor:
        """Return the score of each value, (K, B, *event_shape); NaN is a missing one."""
        return self._scores(x, gaps=True)


class RowLaw(ProgramLaw):
    """The law of a program for whole examples, whose values depend on each other given z."""

    def log_prob_of_observed(self, x: Tensor) -> Tensor:
        """Return the log-density (K, B) of what is known of x: NaN is what is not."""
        return self._scores(x, gaps=True)

    def given(self, x: Tensor) -> GivenLaw:
        """Return the law of x given what is known of it, (B, *event_shape): its mean and variance.

        For values that depend on each other it differs from the law given z alone.
        """
        return GivenLaw(self.program, self.output, x)


class GivenLaw(ProgramLaw):
    """p(x|z, x_o): the law of a program given what is known of x.

    Arguments:
        program, output: as of `ProgramLaw`, batch (K, B).
        x: (B, *event_shape), NaN where a value is missing.
    """

    def __init__(self, program: Observing, output: Tensor, x: Tensor) -> None:
        super().__init__(program, output)
        self.x = x

    @property
    def mean(self) -> Tensor:
        """Return E[x|z, x_o], (K, B, *event_shape)."""
        return self.moment(1)

    def moment(self, power: int) -> Tensor:
        """Return E[x|z, x_o] or E[x²|z, x_o] of each value, (K, B, *event_shape).

        Raises:
            ConfigError: if it is not known.
        """
        try:
            return moment_given(self.program, self.output, self.x[None], power)
        except NotImplementedError as error:
            raise ConfigError(
                f"missing values: the program {type(self.program).__name__} tells no mean of what "
                f"is missing given the rest ({error}); a program whose sites depend on discrete "
                "sites alone does"
            ) from error
