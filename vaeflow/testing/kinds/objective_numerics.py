"""Checks of an objective's gradient and of its arithmetic. Shapes: K samples, B batch, L latent."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vaeflow.options import options_model, validate
from vaeflow.terms import Terms
from vaeflow.testing.kinds.objective_bounds import below_the_log_mean, bounded
from vaeflow.testing.kinds.objective_terms import (
    changed,
    gaussian,
    made_terms,
    objectives,
    some_terms,
    standard,
    takes_flows,
    value_of,
)
from vaeflow.testing.kinds.objectives import (
    COUNTS,
    tight,
    weighed,
    weighs,
)
from vaeflow.testing.option_sets import combinations
from vaeflow.testing.probes import close, finite, normal, options_of
from vaeflow.testing.registered import MakePart, NotApplicable, register
from vaeflow.text import show

# A linear Gaussian model far from its optimum: in each row, two parameters of two dimensions.
_GROUPS = ("q(z|x)", "p(z)", "p(x|z)")
_MODEL = torch.tensor(
    [
        [[0.9, -1.1], [-0.4, 0.3]],  # q = N(m, exp v): m and v
        [[-0.3, 0.5], [0.4, -0.2]],  # p(z) = N(m, exp v): m and v
        [[1.3, 0.7], [-0.2, 0.1]],  # p(x|z) = N(x; wz, exp 2s): w and s
    ],
    dtype=torch.float64,
)
_FAR = _MODEL.clone()  # with q far from p(z): a KL of some thousand nats
_FAR[0, 0] = torch.tensor([40.0, -40.0])
_WAY = torch.tensor([[1.0, 0.7], [0.8, -0.9]], dtype=torch.float64)  # the same for every group
_X = torch.tensor([1.6, 1.2], dtype=torch.float64)
_BATCHES, _ROWS, _STEP = 16, 512, 1e-4
# log p(x|z) of the first draw and of the others, and the reach of z.
_UNLIKELY = ((-1e4, -1e4, 1), (1e4, 1e4, 1), (0.0, -1e4, 1), (1e4, -1e4, 1), (0.0, 0.0, 99))


@register("objective", core=True)
def gradients_match_slopes(part: MakePart) -> None:
    """In a linear Gaussian model, the mean gradient is the slope of the mean value.

    The slope is a difference of two values with the same noise. A gradient may leave out terms of
    mean 0, as the path gradient does: means over many draws are compared, within six standard
    errors.
    """
    own, *_, other = [part(), *objectives(part, 3)]
    for objective, beta in ((own, 1.0), (other, 0.6 if weighs(part, other) else 1.0)):
        _follows(objective, beta)
    told = _differ(own, 1.0, _WAY.expand(3, 2, 2), _FAR, flows=False)
    assert not told, f"with a KL of some thousand nats, {told}"
    for i in (1, 2):
        told = _differ(own, 1.0, _alone(i), flows=False, frozen=True)
        assert not told, f"in the parameters of {_GROUPS[i]}, with a q without gradients, {told}"


def _follows(objective: Any, beta: float) -> None:
    """Raise AssertionError, naming the parameters, unless the mean gradient is the slope."""
    flows, everywhere = takes_flows(objective), _WAY.expand(3, 2, 2)
    if not (told := _differ(objective, beta, everywhere, flows=flows)):
        return
    for i, group in enumerate(_GROUPS):
        alone = _differ(objective, beta, _alone(i), flows=flows)
        assert not alone, f"in the parameters of {group}, {alone}"
    raise AssertionError(told)


def _alone(group: int) -> Tensor:
    """Return the direction (3, 2, 2) in the parameters of one group."""
    way = torch.zeros_like(_MODEL)
    way[group] = _WAY
    return way


def _differ(
    objective: Any,
    beta: float,
    way: Tensor,
    model: Tensor = _MODEL,
    *,
    flows: bool,
    frozen: bool = False,
) -> str:
    """Return how the mean gradient along `way` (3, 2, 2) differs from the slope, or "".

    Where it is frozen, q is given without a gradient, and stays as it is.
    """
    pairs: list[Tensor] = []
    for batch in range(_BATCHES):

        def total(at: Tensor) -> Tensor:
            rows = (model[0] if frozen else at[0], at[1], at[2])
            terms = _terms(rows, objective.samples, batch, flow=flows and batch % 2 > 0)  # noqa: B023
            return value_of(objective, terms, beta).sum()

        pairs.append(_gradient_and_slope(total, model, way))
        gradient, slope = torch.stack(pairs).unbind(-1)
        gap, size = gradient - slope, 1 + slope.abs().mean().item()
        if batch >= 3 and gap.abs().max() <= 1e-6 * size:  # they agree draw by draw
            return ""
    if abs(gap.mean().item()) <= 6 * gap.std().item() / math.sqrt(_BATCHES) + 1e-6 * size:
        return ""
    return (
        f"the gradient along a direction is {gradient.mean().item():.4g}, the slope of the value "
        f"{slope.mean().item():.4g}, at K = {objective.samples} and β = {beta:g}"
    )


def _gradient_and_slope(total: Callable[[Tensor], Tensor], model: Tensor, way: Tensor) -> Tensor:
    """Return the gradient per image of a total along a direction, and its slope, (2,)."""
    at = model.clone().requires_grad_()
    value = total(at)
    gradient = None
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value, at, allow_unused=True)
    along = 0.0 if gradient is None else (gradient * way).sum().item()
    with torch.no_grad():
        rise = total(model + _STEP * way) - total(model - _STEP * way)
    return torch.tensor([along, rise.item() / (2 * _STEP)], dtype=torch.float64) / _ROWS


def _terms(at: Iterable[Tensor], samples: int, seed: int, *, flow: bool) -> Terms:
    """Return the terms of the linear Gaussian model at its three groups of parameters (2, 2)."""
    (loc, log_variance), prior, (weight, log_scale) = at

    def log_px(z: Tensor, kl: Tensor) -> Tensor:
        residual = (_X - weight * z) / log_scale.exp()
        costs: Tensor = 0.5 * residual.square() + log_scale + 0.5 * math.log(2 * math.pi)
        return -costs.sum(-1)

    q = gaussian(loc.expand(_ROWS, -1), log_variance.expand(_ROWS, -1), flow=flow)
    return made_terms(q, samples, log_px, gaussian(*prior), seed=seed)


@register("objective")
def is_the_same_without_gradients(part: MakePart) -> None:
    """Under torch.no_grad, the value is the same."""
    for objective in objectives(part, *COUNTS):
        for flow in (False, takes_flows(objective)):
            h = normal(6, 4).requires_grad_()
            seen = value_of(objective, some_terms(h, objective.samples, flow=flow))
            with torch.no_grad():
                alone = value_of(objective, some_terms(h, objective.samples, flow=flow))
            close(alone, seen.detach(), "without gradients, the value")


@register("objective")
def agrees_in_float32(part: MakePart) -> None:
    """In float32, the value is that of float64, to 10⁻⁵ of its terms."""
    for objective in objectives(part, *COUNTS):
        for far in (0.0, -1e5, 1e5):
            _agrees_in_float32(objective, far)


def _agrees_in_float32(objective: Any, far: float) -> None:
    """Raise AssertionError unless the value agrees where log p(x|z) is about `far`."""
    h = normal(6, 4)
    exact = some_terms(h, objective.samples, log_px=lambda z, kl: far - (z - 1).square().sum(-1))
    loc, log_variance = h.float().chunk(2, -1)
    single = changed(exact, Tensor.float, gaussian(loc, log_variance), standard(2, torch.float32))
    value = value_of(objective, single)
    assert value.dtype == torch.float32, f"from float32, the value is {value.dtype}"
    size = exact.log_px.abs().max().item()
    error = (value.double() - value_of(objective, exact)).abs().max().item()
    assert error <= 1e-5 * (1 + size), (
        f"in float32, the value is off by {error:.3g} nats where log p(x|z) is up to ±{size:.3g}"
    )


@register("objective")
def stays_finite_for_unlikely_draws(part: MakePart) -> None:
    """In float32, value and gradient are finite for log-weights from −10⁴ to 10⁴, side by side."""
    for objective in objectives(part, *COUNTS):
        k = objective.samples
        for high, low, reach in _UNLIKELY:
            h = (reach * normal(6, 4, dtype=torch.float32).sign()).requires_grad_()
            loc, log_variance = h[:, :2], h[:, 2:] / reach
            far = torch.full((k, 6), low, dtype=torch.float32)
            far[0] = high
            terms = made_terms(
                gaussian(loc, log_variance),
                k,
                lambda z, kl: far - z.square().sum(-1),  # noqa: B023
            )
            value = value_of(objective, terms)
            weights = terms.log_weight
            where = f"at log-weights from {weights.min().item():.3g} to {weights.max().item():.3g}"
            finite(value, f"{where}, the value")
            (gradient,) = torch.autograd.grad(value.sum(), h, allow_unused=True)
            finite(gradient, f"{where}, the gradient")


@register("objective")
def hides_no_nan(part: MakePart) -> None:
    """Where log p(x|z) of an image is NaN or infinite, its value is so, and no other image's is."""
    for objective in objectives(part, *COUNTS):
        k = objective.samples
        # −∞ for some of the draws alone is a weight of 0.
        for number, draws in ((math.nan, k), (math.inf, k), (-math.inf, k), (math.nan, 1)):
            terms = some_terms(normal(3, 4), k)
            terms.log_px[:draws, 1] = number
            value = value_of(objective, terms)
            told = f"where log p(x|z) of {draws} of {k} draws of an image is {number}"
            assert not torch.isfinite(value[1]), f"{told}, its value is {value[1].item():.4g}"
            finite(value[::2], f"{told}, the value of another image")


@register("objective")
def repeats_its_value(part: MakePart) -> None:
    """The same terms give the same value and the same gradient, at each of some hundred calls."""
    objective = part()
    h = normal(2, 4).requires_grad_()
    terms = some_terms(h, objective.samples)

    def call() -> tuple[Tensor, ...]:
        value = value_of(objective, terms)
        return value.detach(), *torch.autograd.grad(value.sum(), h, retain_graph=True)

    first = call()
    for i in range(2, 602):
        for what, seen, wanted in zip(("value", "gradient"), call(), first, strict=True):
            assert torch.equal(seen, wanted), (
                f"call {i} with the same terms has another {what} than the first: is it made of "
                "the terms alone, and are they left as they were?"
            )


@register("objective", once=True)
def keeps_its_bound_for_options_together(part: MakePart) -> None:
    """For all pairs of options' choices and numbers, it is a bound, tight, weighed and has slopes.

    A check that the part is exempt from is left out, and so are options with which it cannot be
    made or called, such as draws that make no whole groups.
    """
    whole = options_of(part)
    if not isinstance(whole, type):
        raise NotApplicable("the class of the part, whose options could be varied, is not known")
    exempt = getattr(whole, "exemptions", {})
    defaults = {k: v.default for k, v in options_model(whole).model_fields.items()}
    given = {k: v for k, v in getattr(part, "keywords", {}).items() if v != defaults.get(k)}
    for options in combinations(whole, given):
        made = partial(whole, **validate(whole, options, "objective"))
        try:
            value_of(objective := made(), some_terms(normal(2, 4), objective.samples))
        except Exception:
            continue
        if objective.samples < 1:
            continue
        try:
            _keeps_its_bound(made, exempt)
        except AssertionError as error:
            told = ", ".join(f"{k} = {show(v)}" for k, v in options.items())
            raise AssertionError(f"with {told}: {error}") from None


def _keeps_its_bound(part: MakePart, exempt: Container[str]) -> None:
    """Run the core of the checks on an objective as it is."""
    objective, used = part(), weighs(part, part())
    if "is_tight_where_the_posterior_is_exact" not in exempt:
        tight(objective, 2, 20)
    if "weighs_the_kl_by_beta" not in exempt:
        weighed(objective, must=used)
    if "bounds_the_evidence_from_below" not in exempt:
        bounded(objective)
    if "is_at_most_the_log_mean_weight" not in exempt:
        below_the_log_mean(objective)
    if "gradients_match_slopes" not in exempt:
        _follows(objective, 0.6 if used else 1.0)
