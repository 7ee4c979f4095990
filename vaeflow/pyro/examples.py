"""Examples put together from a program's observed sites: draws, and moments.

Which values of x a site observes is seen by a run in which x holds the number of each value.

Shapes: K samples, B batch, D values of an example.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.ops import packed
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import Independent

from vaeflow.errors import ConfigError
from vaeflow.pyro.gaps import Gaps, Known
from vaeflow.pyro.running import Observing, apart, contracted, enumerated, plates, run


def drawn(program: Observing, output: Tensor) -> Tensor:
    """Return a draw (K, B, *data_shape) for each output (K, B, *output_shape)."""
    sites = _Draws()
    with apart():
        run(program, output, _numbers(program, output), sites)
    return _put_together(program, output, sites.numbers, sites.values)


def moment(program: Observing, output: Tensor, power: int) -> Tensor:
    """Return E[x] or E[x²] of each value, (K, B, *data_shape), the discrete sites summed out.

    Arguments:
        power: 1 or 2.

    Raises:
        NotImplementedError: if a law has no formula, or depends on a continuous value of x.
    """
    sites = _Moments(power)
    trace = enumerated(program, output, _numbers(program, output), sites)
    values = {}
    for name in sites.numbers:
        site = trace.nodes[name]
        value = sites.values.get(name)
        values[name] = _average(trace, site, site["value"] ** power if value is None else value)
        if values[name].isnan().any():
            raise NotImplementedError(f"the site {name!r} has no mean that is known beforehand")
    return _put_together(program, output, sites.numbers, values)


def moment_given(program: Observing, output: Tensor, x: Tensor, power: int) -> Tensor:
    """Return E[x] or E[x²] of each value given z and what is known of x, (K, B, *data_shape).

    The discrete sites are summed out under what is known.

    Arguments:
        x: (1, B, *data_shape), NaN where a value is missing.
        power: 1 or 2.

    Raises:
        NotImplementedError: if a law has no formula, or depends on a missing continuous value.
    """
    places, sites = _Draws(), _Given(power)
    with apart():
        run(program, output, _numbers(program, output), places)
    trace = enumerated(program, output, x, sites)
    values = {}
    for name in places.numbers:
        site = trace.nodes[name]
        value = sites.values.get(name)
        value = site["value"] ** power if value is None else value
        values[name] = _average(trace, site, value, observed=True)
    found = _put_together(program, output, places.numbers, values)
    found = torch.where(x.isnan(), found, x**power)
    score = contracted(trace, [plate.name for plate in plates(program, output)])
    if found.isnan().any() or score.isnan().any():
        raise NotImplementedError("a missing value has no mean that is known")
    return found


class _Observed(Messenger):  # type: ignore[misc]
    """Keeps the numbers of the values that each observed site sees."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: dict[str, tuple[Tensor, int]] = {}  # with the number of the event's axes
        self.values: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] and isinstance(msg["fn"], TorchDistributionMixin):
            self.numbers[msg["name"]] = msg["value"], msg["fn"].event_dim
            self.replace(msg)

    def replace(self, msg: Any) -> None:
        """Give the site another value than the numbers."""
        msg["is_observed"], msg["value"] = False, None


class _Draws(_Observed):
    """Draws what is observed, and keeps it."""

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self.numbers:
            self.values[msg["name"]] = msg["value"]


class _Moments(_Observed):
    """Enumerates what is observed of finitely many values, and keeps moments of the others.

    A law that depends on the value of such another is NaN.
    """

    def __init__(self, power: int) -> None:
        super().__init__()
        self.power = power

    def replace(self, msg: Any) -> None:
        law = msg["fn"]
        if law.has_enumerate_support:
            super().replace(msg)
            return
        self.values[msg["name"]] = value = _moment_of(law, self.power)
        msg["fn"], msg["value"] = law.mask(False), torch.full_like(value, torch.nan)


class _Given(_Moments):
    """Keeps observed what is known, enumerates what is not, and keeps moments of the others."""

    def replace(self, msg: Any) -> None:
        law = msg["fn"]
        if law.has_enumerate_support:
            msg["fn"] = Known(law, msg["value"])
            msg["is_observed"], msg["value"] = False, None
        else:
            self.values[msg["name"]] = _moment_of(law, self.power)
            msg["fn"] = Gaps(law)


def _moment_of(law: Any, power: int) -> Tensor:
    """Return E[x] or E[x²] of a site's law, by its finite support or its formula."""
    values = law
    while isinstance(values, Independent):
        values = values.base_dist
    if values.has_enumerate_support and not values.event_shape:
        support = values.enumerate_support(expand=False)
        total: Tensor = (support**power * values.log_prob(support).exp()).sum(0)
        return total
    mean: Tensor = law.mean
    return mean if power == 1 else mean.square() + law.variance


def _average(trace: Any, site: Any, value: Tensor, *, observed: bool = False) -> Tensor:
    """Average a moment of a site over the discrete sites that it depends on.

    Arguments:
        observed: whether their weights are those given what is observed.
    """
    event, symbols = site["fn"].event_dim, site["infer"]["_dim_to_symbol"]
    frames = [frame for frame in site["cond_indep_stack"] if frame.vectorized]
    batch = value.shape[: value.dim() - event]
    among = {trace.plate_to_symbol[frame.name] for frame in frames}
    dims = [d for d in range(-len(batch), 0) if batch[d] > 1 and symbols[d] not in among]
    if dims:
        kept = {symbols[d] for d in dims}
        weight = contracted(trace, [f.name for f in frames], kept, observed=observed)
        weight = packed.unpack(weight, {symbol: dim for dim, symbol in symbols.items()})
        weight = (weight - weight.logsumexp(dims, keepdim=True)).exp()
        weighed = weight.reshape(*weight.shape, *[1] * event) * value
        value = weighed.sum([d - event for d in dims], keepdim=True)
    depth = event - min(frame.dim for frame in frames)
    return value.reshape(value.shape[max(0, value.dim() - depth) :])


def _numbers(program: Observing, output: Tensor) -> Tensor:
    """Return examples in which each value is its own number, (K, B, *data_shape)."""
    count = math.prod(program.data_shape)
    numbers = torch.arange(count, dtype=output.dtype, device=output.device)
    return numbers.reshape(program.data_shape).expand(*output.shape[:2], *program.data_shape)


def _put_together(
    program: Observing,
    output: Tensor,
    numbers: dict[str, tuple[Tensor, int]],
    values: dict[str, Tensor],
) -> Tensor:
    """Return examples (K, B, *data_shape) from the values of the sites."""
    count = math.prod(program.data_shape)
    x = output.new_zeros(*output.shape[:2], count)
    seen = []
    for name, (number, event) in numbers.items():
        number, value = torch.broadcast_tensors(number, values[name])
        axes = [value.dim() + plate.dim - event for plate in plates(program, output)[:2]]
        cells = number.movedim(axes, (0, 1))[0, 0].reshape(-1)
        seen.append(cells)
        value = value.movedim(axes, (0, 1)).reshape(*output.shape[:2], -1)
        if ((cells >= 0) & (cells < count)).all():
            x = x.index_copy(2, cells.long(), value.to(x.dtype))
    wanted = torch.arange(count, dtype=x.dtype, device=x.device)
    if not seen or not torch.equal(torch.cat(seen).to(x.dtype).sort().values, wanted):
        raise ConfigError(
            f"the program {type(program).__name__} does not observe each value of x once, as it "
            "is: a draw needs sites whose obs are x, or parts of it"
        )
    return x.reshape(*output.shape[:2], *program.data_shape)
