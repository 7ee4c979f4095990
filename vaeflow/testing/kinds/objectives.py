"""Checks of the value of an objective. Shapes: K samples, B batch, L latent size."""

from __future__ import annotations

import inspect
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.testing.kinds.objective_terms import (
    changed,
    charge_at_prior,
    gaussian,
    made_terms,
    objectives,
    some_terms,
    takes_flows,
    value_of,
)
from vaeflow.testing.probes import close, finite, keeps_to_itself, normal
from vaeflow.testing.registered import MakePart, NotApplicable, register

COUNTS = (1, 2, 50)  # K to try, beside the objective's own, where it is an option
_TIMES = (0.0, 0.25, 0.5, 1.0, 3.0, 1e6)
_STRETCHES = (0.4, 0.0, 1e-4)  # log-determinants of q as a flow, for each dimension; 0: no flow


@register("objective")
def gives_one_number_per_image(part: MakePart) -> None:
    """(B,) from the terms of K = `samples` ≥ 1 draws, differentiable, for batches of 1 to 1000."""
    for objective in objectives(part, *COUNTS):
        k = objective.samples
        assert isinstance(k, int), f"samples is {k!r}, not an integer"
        assert k >= 1, f"samples is {k}, not at least 1"
        for batch in (1, 2, 3, 17, 128, 1000):
            h = normal(batch, 4).requires_grad_()
            value = value_of(objective, some_terms(h, k))
            where = f"for {batch} images and K = {k}"
            told = tuple(value.shape)
            assert told == (batch,), f"the objective is {told}, not {(batch,)}, {where}"
            finite(value, f"the objective {where}")
            assert value.requires_grad, "the objective has no gradient"
            (gradient,) = torch.autograd.grad(value.sum(), h, allow_unused=True)
            assert gradient is not None, "the objective does not depend on the posterior"
            finite(gradient, f"its gradient {where}")
            assert gradient.any(), "the objective has no gradient in the posterior"


@register("objective")
def treats_images_independently(part: MakePart) -> None:
    """Value and gradient of an image depend on its own terms alone; free bits may ask the batch."""
    for objective in objectives(part, *COUNTS):
        k = objective.samples
        charge, error = charge_at_prior(objective, 2)
        free = charge * (charge > error)
        h = normal(1000, 4)
        # Where some bits are free, every KL is far above them: there they change nothing.
        h[:, :2] += (10 + 3 * math.sqrt(free)) * (free > 0) * h[:, :2].sign()
        terms = some_terms(h, k)
        whole = value_of(objective, terms)
        for rows in ([0], [7], [1, 4], list(range(60, 190)), list(range(999, -1, -1))):
            loc, log_variance = h[rows].chunk(2, -1)
            some = changed(terms, lambda x: x[:, rows], gaussian(loc, log_variance))  # noqa: B023
            alone = value_of(objective, some)
            close(alone, whole[rows], f"in a batch of {len(rows)} images, not 1000, the values")
        h = h[:5].requires_grad_()
        keeps_to_itself(value_of(objective, some_terms(h, k)), h, "the value", 0)


class _Law(NamedTuple):
    """A Gaussian q of independent dimensions, for an exact posterior."""

    loc: Tensor  # (L,)
    log_variance: Tensor  # (L,)

    @property
    def kl(self) -> Tensor:
        """Return KL(q_j ‖ N(0, 1)) of each dimension, (L,)."""
        log_v = self.log_variance
        return 0.5 * (self.loc.square() + log_v.exp() - 1 - log_v)

    def rows(self, count: int, *, a: float) -> Distribution:
        """Return q for so many images; where a ≠ 0, as a flow of log-determinant L·a."""
        size = (count, len(self.loc))
        loc, log_variance = self.loc.expand(size), self.log_variance.expand(size)
        return gaussian(loc, log_variance, flow=a != 0, a=a)


def _laws(latent: int) -> list[_Law]:
    """Return shifted, wide, narrow and mixed Gaussians, with a KL from 0.1 to 10⁴ nats."""
    zero, sign = torch.zeros(latent, dtype=torch.float64), normal(latent, seed=5).sign()
    shifted = [_Law(sign * math.sqrt(2 * kl / latent), zero) for kl in (0.13, 1.7, 310.0, 11_000.0)]
    spread = [_Law(zero, zero + log_v) for log_v in (1.5, -3.0)]
    mixed = [_Law(2 * normal(latent, seed=s), normal(latent, seed=s + 1)) for s in (6, 8)]
    return [*shifted, *spread, *mixed]


@register("objective", core=True)
def is_tight_where_the_posterior_is_exact(part: MakePart) -> None:
    """With q(z|x) = p(z|x), the value at β = 1 is log p(x), less what free bits charge.

    For any q, log p(x|z) := log q(z) − log p(z) + c makes q the posterior and log p(x) = c. A
    bound cannot exceed c. It may charge more than the KL only where the KL is below a floor λ, for
    the whole code or as λ/L for each dimension; λ is what it charges where q = p.
    """
    for objective in objectives(part, 2, 50):
        tight(objective, 1, 2, 20, 50)


def tight(objective: Any, *latents: int) -> None:
    """Raise AssertionError unless the value is log p(x), less free bits, at exact posteriors."""
    flows = takes_flows(objective)
    for latent in latents:
        floor, error = charge_at_prior(objective, latent)
        assert floor >= -error, (
            f"with q = p, L = {latent} and log p(x|z) = log p(x) = 0, the value is {-floor:.4g}"
        )
        floor *= floor > error
        for i, law in enumerate(_laws(latent)):
            _charges_the_kl(objective, law, floor, _STRETCHES[i % len(_STRETCHES)] * flows)


def _charges_the_kl(objective: Any, law: _Law, floor: float, a: float) -> None:
    """Compare what the objective charges, E[log p(x|z) − value], with the KL and the floor."""
    k, latent, evidence = objective.samples, len(law.loc), 2.3
    rows = max(16, 400 // k)
    with torch.no_grad():
        terms = made_terms(law.rows(rows, a=a), k, lambda z, kl: kl + evidence)
        value = value_of(objective, terms)
    kl = law.kl.sum().item()
    # Both have the same mean. The first is exact for a sampled KL, the second for a closed form.
    charges = torch.stack([kl + evidence - value, terms.log_px.mean(0) - value])
    charge, error = min(
        ((c.mean().item(), 6 * c.std().item() / math.sqrt(rows)) for c in charges),
        key=lambda estimate: estimate[1],
    )
    error += 1e-9 * (1 + terms.log_px.abs().max().item())
    sampled = terms.sampled_kl()
    doubt = 6 * sampled.mean(0).std().item() / math.sqrt(rows)
    if floor and (abs(kl - floor) < doubt or (law.kl - floor / latent).abs().min() < doubt):
        error += latent**0.5 * doubt  # a floor of the sampled KL may or may not hold here
    least = max(min(kl, sampled.mean().item()), floor)
    most = torch.clamp(law.kl, min=floor / latent).sum().item()
    where = f"with q exact, KL(q‖p) = {kl:.4g} nats, L = {latent} and K = {k}, "
    assert charge >= least - error, (
        f"{where}the value is {evidence + kl - charge:.4g}, above log p(x) = {evidence}: it charges"
        f" {charge:.4g} for the KL"
    )
    free = f", nor the {floor:.4g} charged at q = p" if floor else ""
    assert charge <= max(most, kl) + error, (
        f"{where}the value is {evidence + kl - charge:.4g}, below log p(x) = {evidence}: it charges"
        f" {charge:.4g}, not the KL{free}"
    )


@register("objective")
def weighs_the_kl_by_beta(part: MakePart) -> None:
    """With K equal draws, the value is log p(x|z) − β·charge, with one charge for every β."""
    used = [weighed(each, must=weighs(part, each)) for each in objectives(part, *COUNTS, 1000)]
    if not any(used):
        raise NotApplicable("the weight is always 1, and β is not used")


def weighed(objective: Any, *, must: bool) -> bool:
    """Raise AssertionError unless β weighs the charge alone; return False where β is ignored.

    Where β must be used, that is an error too.
    """
    drawn = some_terms(normal(5, 6), 1, flow=takes_flows(objective))
    terms = changed(drawn, lambda x: x.expand(objective.samples, *x.shape[1:]))
    with torch.no_grad():
        values = {b: value_of(objective, terms, b) for b in (0.0, 0.25, 1.0, 3.0, 100.0)}
    if all(torch.equal(value, values[1.0]) for value in values.values()):
        told = "β is ignored: weigh the KL term by it, or take neither beta nor warmup as an option"
        assert not must, told
        return False
    charge = drawn.log_px[0] - values[1.0]
    for beta, value in values.items():
        what = "at β = 0, the value against log p(x|z)"
        if beta:
            what = f"at β = {beta:g}, the value against log p(x|z) − β·(what is charged at β = 1)"
        close(value, drawn.log_px[0] - beta * charge, what)
    _moves_gently_with_beta(objective)
    return True


def _moves_gently_with_beta(objective: Any) -> None:
    """Raise AssertionError where a tiny change of β changes the value of unequal draws by much."""
    terms = some_terms(normal(5, 6), objective.samples, flow=takes_flows(objective))
    for beta in (0.0, 1.0):
        with torch.no_grad():
            here, near = (value_of(objective, terms, b) for b in (beta, beta + 1e-9))
        jump = (near - here).abs().max().item()
        assert jump <= 1e-6, (
            f"the value jumps by {jump:.4g} nats from β = {beta:g} to {beta:g} + 10⁻⁹"
        )


def weighs(part: MakePart, objective: Any) -> bool:
    """Tell whether the weight can be another than 1."""
    if {"beta", "warmup"} & inspect.signature(part).parameters.keys():
        return True
    return any(objective.weight(time) != 1 for time in _TIMES)


@register("objective")
def moves_with_log_px(part: MakePart) -> None:
    """log p(x|z) + a, for any number a of each image, changes the value by a."""
    for objective in objectives(part, *COUNTS):
        h, shift = normal(8, 4), normal(8, seed=4)
        for size in (1.0, 300.0, 1e6, -1e4, -1e9):
            a = size * shift.abs()
            with torch.no_grad():
                plain = value_of(objective, some_terms(h, objective.samples))
                moved = value_of(
                    objective,
                    some_terms(
                        h,
                        objective.samples,
                        log_px=lambda z, kl: a - (z - 1).square().sum(-1),  # noqa: B023
                    ),
                )
            close(moved - plain, a, f"with log p(x|z) moved by {size:g}·|ε|, the value's move")


@register("objective")
def weight_settles_after_the_warmup(part: MakePart) -> None:
    """β is finite and not negative at every time, and constant from `warmup` on."""
    objective = part()
    warmup = objective.warmup
    assert math.isfinite(warmup), f"warmup is {warmup}, not a number of epochs"
    assert warmup >= 0, f"warmup is {warmup}, not a number of epochs"
    for epoch in (*_TIMES, 0.25 * warmup, 0.5 * warmup, warmup):
        weight = objective.weight(epoch)
        assert math.isfinite(weight), f"β is {weight} at epoch {epoch:g}"
        assert weight >= 0, f"β is {weight} at epoch {epoch:g}"
    for later in (0.5, 10.0, 1e6):
        seen, wanted = objective.weight(warmup + later), objective.weight(warmup)
        assert seen == wanted, (
            f"β is {seen} {later:g} epochs after the warm-up, {wanted} at its end"
        )
