"""Every check of an objective can fail: right objectives, and objectives with one mistake each."""

import math
from functools import partial

import pytest
import torch
from torch.distributions import kl_divergence

from vaeflow.errors import ConfigError
from vaeflow.parts.abstract import Objective
from vaeflow.parts.objectives import ELBO
from vaeflow.testing import NotApplicable, check, checks


def objective(value, samples=1):
    """An objective of `value(terms, beta)`, with all options of `Objective`, and so many draws."""

    def __init__(self, *, samples: int = samples, beta: float = 1.0, warmup: float = 0.0):
        Objective.__init__(self, samples=samples, beta=beta, warmup=warmup)

    def __call__(self, terms, beta):
        return value(terms, beta)

    return type("Made", (Objective,), {"__init__": __init__, "__call__": __call__})


def charging(charge, samples=1):
    """An objective of log p(x|z) − β·charge(terms)."""
    return objective(lambda t, beta: (t.log_px - beta * charge(t)).mean(0), samples)


def kl(terms):
    return kl_divergence(terms.posterior, terms.prior)


def log_mean(log_w):
    return log_w.logsumexp(0) - math.log(len(log_w))


# Right objectives, beside the built-in ones, which tests/repository/test_contract.py checks


class Alone(Objective):
    """The importance-weighted bound without a weight: β is always 1."""

    def __init__(self, *, samples: int = 5):
        super().__init__(samples=samples)

    def __call__(self, terms, beta):
        return log_mean(terms.log_weight)


class MIWAE(Objective):
    """The mean of several importance-weighted bounds (Rainforth et al. 2018)."""

    def __init__(self, *, samples: int = 6, groups: int = 3):
        if samples % groups:
            raise ConfigError(f"{samples} draws make no {groups} groups")
        super().__init__(samples=samples)
        self.groups = groups

    def __call__(self, terms, beta):
        log_w = terms.log_px - beta * terms.sampled_kl()
        return log_mean(log_w.unflatten(0, (-1, self.groups))).mean(0)


class Thermodynamic(Objective):
    """The lower Riemann sum of the thermodynamic integral (Masrani et al. 2019)."""

    def __call__(self, terms, beta):
        log_w = terms.log_px - beta * terms.sampled_kl()
        shares = [torch.softmax(t * log_w, 0) for t in (0.0, 0.25, 0.5, 0.75)]
        return sum((share * log_w).sum(0) for share in shares) / 4

    def __init__(self, *, samples: int = 4, warmup: float = 0.0):
        super().__init__(samples=samples, warmup=warmup)


def combined(terms, beta):
    log_w = terms.log_px - beta * terms.sampled_kl()
    return 0.3 * log_w.mean(0) + 0.7 * log_mean(log_w)


def with_entropy(terms, beta):
    """The ELBO with the entropy of q in closed form, which a flow does not know."""
    log_p = terms.log_px + beta * terms.log_pz
    return log_p.mean(0) + beta * terms.posterior.entropy()


def renyi(terms, beta, alpha=0.6):
    return log_mean((1 - alpha) * (terms.log_px - beta * terms.sampled_kl())) / (1 - alpha)


def floor_of_each_image(terms):
    return torch.clamp(kl(terms), min=2.0)


def floor_of_each_dimension(terms):
    each = kl_divergence(terms.posterior.base_dist, terms.prior.base_dist)
    return torch.clamp(each, min=0.3).sum(-1)


def path_gradient(terms, beta):
    """The ELBO, its gradient without the score of q, by `log_q_of_path`."""
    if not terms.z.requires_grad:
        return (terms.log_px - beta * terms.sampled_kl()).mean(0)
    return (terms.log_px + beta * (terms.log_pz - terms.log_q_of_path())).mean(0)


RIGHT = {
    "free bits in total": partial(ELBO, free_bits=2.0),
    "free bits in total, closed": partial(ELBO, free_bits=0.4, kl="analytic", samples=3),
    "free bits of each dimension": partial(ELBO, free_bits=0.1, free="dimension"),
    "free bits of each dimension, closed": partial(
        ELBO, free_bits=1.0, free="dimension", kl="analytic"
    ),
    "free bits of each image": charging(floor_of_each_image),
    "free bits of each image's dimensions": charging(floor_of_each_dimension),
    "IWAE without a weight": Alone,
    "a path gradient": objective(path_gradient),
    "MIWAE": MIWAE,
    "CIWAE": objective(combined, samples=5),
    "Rényi": objective(renyi, samples=8),
    "a thermodynamic sum": Thermodynamic,
    "the entropy in closed form": objective(with_entropy, samples=2),
}


@pytest.mark.parametrize("part", RIGHT.values(), ids=RIGHT)
def test_the_right_objectives_pass(part):
    check("objective", partial(part))  # with its defaults alone


def test_an_objective_whose_weight_is_always_1_may_ignore_it():
    (one,) = (one for one in checks("objective") if one.name == "weighs_the_kl_by_beta")
    with pytest.raises(NotApplicable, match="the weight is always 1"):
        one(Alone)


# Wrong objectives


class Lost(ELBO):
    """Its weight goes on rising after the warm-up."""

    def __init__(self):
        super().__init__(warmup=3.0)

    def weight(self, time):
        return time / 3


def at_every_hundredth_call(change):
    """An ELBO that `change(value)` spoils at every hundredth call."""
    calls = []

    def value(terms, beta):
        calls.append(None)
        right = terms.log_weight.mean(0) if beta == 1 else ELBO()(terms, beta)
        return change(right) if len(calls) % 100 == 0 else right

    return objective(value)


def only_where(wrong, change):
    """An ELBO that `change(value)` spoils where `wrong(terms)` holds."""

    def value(terms, beta):
        right = ELBO()(terms, beta)
        return change(right) if wrong(terms) else right

    return objective(value)


def with_gradient_of(value, other):
    """The value of one, with the gradient of the other."""

    def __call__(terms, beta):
        surrogate = other(terms, beta)
        return value(terms, beta).detach() + surrogate - surrogate.detach()

    return __call__


def iwae(terms, beta):
    return log_mean(terms.log_px - beta * terms.sampled_kl())


def path_of_iwae(terms, beta):
    """The path gradient put into IWAE, which is biased there (Tucker et al. 2019)."""
    if not terms.z.requires_grad:
        return iwae(terms, beta)
    return log_mean(terms.log_px + beta * (terms.log_pz - terms.log_q_of_path()))


def one_factor(terms, beta):
    """DReG with the normalized weight once, not squared."""
    share = torch.softmax((terms.log_px - beta * terms.sampled_kl()).detach(), 0)
    if not terms.z.requires_grad:
        return (share * terms.log_px).sum(0)
    return (share * (terms.log_px + beta * (terms.log_pz - terms.log_q_of_path()))).sum(0)


def in_place(terms, beta):
    with torch.no_grad():
        terms.log_px.mul_(1.0001)
    return ELBO()(terms, beta)


class Together(ELBO):
    """A closed KL and free bits of each dimension, which go wrong together alone."""

    def _cost(self, terms):
        return super()._cost(terms) * (0.9 if self.analytic and self.each else 1.0)


def clipped(terms, beta):
    """The ELBO, its gradient clipped on the way back."""
    value = ELBO()(terms, beta)
    if value.requires_grad:
        value.register_hook(lambda gradient: gradient.clamp(-0.5, 0.5))
    return value


class Renyi(Objective):
    """Rényi's bound of any order, which is an upper one below 0."""

    def __init__(self, *, alpha: float = 0.5, samples: int = 5):
        super().__init__(samples=samples)
        self.order = alpha

    def __call__(self, terms, beta):
        if self.order == 1:
            return ELBO()(terms, beta)
        return renyi(terms, beta, self.order)


class Counting(ELBO):
    """Its KL weighs less from its 500th call on."""

    calls = 0

    def __call__(self, terms, beta):
        self.calls += 1
        return super().__call__(terms, beta * (0.99 if self.calls > 500 else 1))


def at_least_5_nats_below(terms, beta):
    log_w = terms.log_px - beta * terms.sampled_kl()
    return log_mean(torch.maximum(log_w, log_w.amax(0) - 5))


def without_nan(terms, beta):
    log_w = terms.log_px - beta * terms.sampled_kl()
    bad = log_w.isnan() & ~log_w.isnan().all(0)
    return log_mean(torch.where(bad, -math.inf, log_w))


def without_small_log_det(terms):
    """The sampled KL, with log q0 for log q where the map hardly stretches."""
    return torch.where(terms.log_det.abs() < 0.05, terms.log_base, terms.log_qz) - terms.log_pz


def slow_where_large(terms):
    """The sampled KL, with a tenth of the gradient above 100 nats."""
    cost = terms.sampled_kl()
    return torch.where(cost > 100, 0.1 * cost + 0.9 * cost.detach(), cost)


def with_65th_of_first(terms):
    """The sampled KL; in large batches the 65th image has that of the first."""
    cost = terms.sampled_kl()
    if cost.shape[1] <= 300:
        return cost
    return torch.cat([cost[:, :64], cost[:, :1], cost[:, 65:]], 1)


def clamped_in_float32(terms, beta):
    least = -2e4 if terms.log_px.dtype == torch.float32 else -math.inf
    return (terms.log_px.clamp(min=least) - beta * terms.sampled_kl()).mean(0)


def detached_if_frozen(terms, beta):
    value = iwae(terms, beta)
    return value if terms.z.requires_grad else value.detach()


TIGHT = "is_tight_where_the_posterior_is_exact"
BUGS = [
    ("summed over the batch", "gives_one_number_per_image",
     objective(lambda t, beta: t.log_weight.mean(0).sum())),
    ("another number for a single image", "gives_one_number_per_image",
     objective(lambda t, beta: ELBO()(t, beta).squeeze())),
    ("samples by name", "gives_one_number_per_image", objective(ELBO(), samples="5")),
    ("averaged over the batch", "treats_images_independently",
     objective(lambda t, beta: ELBO()(t, beta) + t.log_pz.mean())),
    ("KL averaged over the batch", "treats_images_independently",
     objective(lambda t, beta: t.log_px.mean(0) - beta * t.sampled_kl().mean())),
    ("a gradient of other images", "treats_images_independently",
     objective(lambda t, beta: ELBO()(t, beta) + t.log_pz.mean() - t.log_pz.mean().detach())),
    ("another value in large batches", "treats_images_independently",
     only_where(lambda t: t.log_px.shape[1] >= 100, lambda v: 1.001 * v)),
    ("a wrong image in batches of more than 300", "treats_images_independently",
     charging(with_65th_of_first)),
    ("a small log-determinant left out", TIGHT, charging(without_small_log_det)),
    ("no log-determinant", TIGHT,
     objective(lambda t, beta: (t.log_px - beta * (t.log_base - t.log_pz)).mean(0))),
    ("no prior", TIGHT, charging(lambda t: t.log_qz)),
    ("sign of the KL", TIGHT, charging(lambda t: -t.sampled_kl())),
    ("log K missing", TIGHT,
     objective(lambda t, beta: (t.log_px - beta * t.sampled_kl()).logsumexp(0), samples=5)),
    ("summed over the draws", TIGHT,
     objective(lambda t, beta: (t.log_px - beta * t.sampled_kl()).sum(0), samples=2)),
    ("log K of another K", TIGHT,
     objective(lambda t, beta: iwae(t, beta) + math.log(len(t.z) / 5), samples=5)),
    ("capped KL", TIGHT, charging(lambda t: kl(t).clamp(max=250.0))),
    ("capped sampled KL", TIGHT, charging(lambda t: t.sampled_kl().clamp(max=50.0))),
    ("KL averaged over L", TIGHT, charging(lambda t: t.sampled_kl() / t.z.shape[-1])),
    ("the first λ nats of KL left out", TIGHT,
     charging(lambda t: torch.clamp(kl(t) - 0.05, min=0))),
    ("the first λ nats of each draw left out", TIGHT,
     charging(lambda t: torch.clamp(t.sampled_kl() - 0.5, min=0))),
    ("free bits of each draw", TIGHT, charging(lambda t: t.sampled_kl().clamp(min=0.5))),
    ("reverse KL", TIGHT, charging(lambda t: kl_divergence(t.prior, t.posterior))),
    ("a KL 1 % too large", TIGHT, charging(lambda t: 1.01 * t.sampled_kl())),
    ("a constant too much", TIGHT, charging(lambda t: kl(t) + 0.1)),
    ("wrong in one dimension", TIGHT,
     only_where(lambda t: t.z.shape[-1] == 1, lambda v: v - 0.1)),
    ("wrong in many dimensions", TIGHT,
     only_where(lambda t: t.z.shape[-1] > 32, lambda v: v - 0.1)),
    ("wrong for many draws", TIGHT, only_where(lambda t: len(t.z) > 30, lambda v: v - 0.1)),
    ("best draw", "bounds_the_evidence_from_below",
     objective(lambda t, beta: (t.log_px - beta * t.sampled_kl()).amax(0), samples=5)),
    ("median draw", "bounds_the_evidence_from_below",
     objective(lambda t, beta: (t.log_px - beta * t.sampled_kl()).median(0).values)),
    ("weights that are not detached", "bounds_the_evidence_from_below",
     objective(lambda t, beta: (torch.softmax(t.log_weight, 0) * t.log_weight).sum(0), samples=5)),
    ("weights clamped 5 nats below the largest", "is_at_most_the_log_mean_weight",
     objective(at_least_5_nats_below, samples=5)),
    ("Rényi's upper bound", "is_at_most_the_log_mean_weight",
     objective(partial(renyi, alpha=-1.0), samples=5)),
    ("the mean without β at β = 0", "weighs_the_kl_by_beta",
     objective(lambda t, beta: iwae(t, beta) if beta else t.log_px.mean(0), samples=5)),
    ("β capped at 4", "weighs_the_kl_by_beta",
     objective(lambda t, beta: ELBO()(t, beta.clamp(max=4)))),
    ("β on log p(x|z)", "weighs_the_kl_by_beta",
     objective(lambda t, beta: (beta * t.log_px - t.sampled_kl()).mean(0))),
    ("β on both", "weighs_the_kl_by_beta",
     objective(lambda t, beta: beta * t.log_weight.mean(0))),
    ("β on log q alone", "weighs_the_kl_by_beta",
     objective(lambda t, beta: (t.log_px + t.log_pz - beta * t.log_qz).mean(0))),
    ("β ignored", "weighs_the_kl_by_beta", objective(lambda t, beta: t.log_weight.mean(0))),
    ("β squared", "weighs_the_kl_by_beta",
     objective(lambda t, beta: ELBO()(t, beta.square()))),
    ("β capped at 1", "weighs_the_kl_by_beta",
     objective(lambda t, beta: ELBO()(t, beta.clamp(max=1)))),
    ("wrong for hundreds of draws", "weighs_the_kl_by_beta",
     only_where(lambda t: len(t.z) > 100, lambda v: v - 0.1)),
    ("log p(x|z) clamped", "moves_with_log_px",
     objective(lambda t, beta: (t.log_px.clamp(min=-1e7) - beta * t.sampled_kl()).mean(0))),
    ("log p(x|z) halved", "moves_with_log_px",
     objective(lambda t, beta: (0.5 * t.log_px - beta * t.sampled_kl()).mean(0))),
    ("KL detached", "gradients_match_slopes", charging(lambda t: t.sampled_kl().detach())),
    ("log p(x|z) detached", "gradients_match_slopes",
     objective(lambda t, beta: (t.log_px.detach() - beta * t.sampled_kl()).mean(0))),
    ("prior detached", "gradients_match_slopes",
     charging(lambda t: t.log_qz - t.log_pz.detach())),
    ("IWAE with the ELBO's gradient", "gradients_match_slopes",
     objective(with_gradient_of(iwae, ELBO()), samples=5)),
    ("IWAE with the ELBO's gradient, one draw by default", "gradients_match_slopes",
     objective(with_gradient_of(iwae, ELBO()))),
    ("weights once, not squared", "gradients_match_slopes",
     objective(with_gradient_of(iwae, one_factor), samples=5)),
    ("a gradient without β", "gradients_match_slopes",
     objective(with_gradient_of(ELBO(), lambda t, beta: t.log_weight.mean(0)))),
    ("a gradient 1 % too large", "gradients_match_slopes",
     objective(with_gradient_of(ELBO(), lambda t, beta: 1.01 * ELBO()(t, beta)))),
    ("a clipped gradient", "gradients_match_slopes", objective(clipped)),
    ("a slow gradient of large KLs", "gradients_match_slopes", charging(slow_where_large)),
    ("no gradient where q is frozen", "gradients_match_slopes",
     objective(detached_if_frozen, samples=5)),
    ("IWAE with a path gradient once", "gradients_match_slopes",
     objective(with_gradient_of(iwae, path_of_iwae), samples=5)),
    ("another value without gradients", "is_the_same_without_gradients",
     objective(lambda t, beta: ELBO()(t, beta) - 0.1 * (not t.z.requires_grad))),
    ("computed in bfloat16", "agrees_in_float32",
     only_where(lambda t: t.z.dtype == torch.float32, lambda v: v.bfloat16().float())),
    ("returned in float64", "agrees_in_float32",
     objective(lambda t, beta: ELBO()(t, beta).double())),
    ("log p(x|z) clamped in float32", "agrees_in_float32", objective(clamped_in_float32)),
    ("weights out of the logarithm", "stays_finite_for_unlikely_draws",
     objective(lambda t, beta: (t.log_px - beta * t.sampled_kl()).exp().mean(0).log())),
    ("NaN made 0", "hides_no_nan", objective(lambda t, beta: ELBO()(t, beta).nan_to_num())),
    ("draws of NaN left out", "hides_no_nan", objective(without_nan, samples=5)),
    ("another value from the 500th call on", "repeats_its_value", Counting),
    ("another value at every hundredth call", "repeats_its_value",
     at_every_hundredth_call(lambda v: v - 0.1)),
    ("another gradient at every hundredth call", "repeats_its_value",
     at_every_hundredth_call(lambda v: 2 * v - v.detach())),
    ("terms changed in place", "repeats_its_value", objective(in_place)),
    ("two options together", "keeps_its_bound_for_options_together", Together),
    ("an option of which it is no bound", "keeps_its_bound_for_options_together", Renyi),
    ("a warm-up without an end", "weight_settles_after_the_warmup", Lost),
]  # fmt: skip


@pytest.mark.parametrize(("name", "part"), [row[1:] for row in BUGS], ids=[row[0] for row in BUGS])
def test_the_named_check_catches_the_bug(name, part):
    (one,) = (one for one in checks("objective") if one.name == name)
    with pytest.raises(AssertionError):
        one(part)


def test_every_check_catches_a_bug():
    assert {name for _, name, _ in BUGS} == {one.name for one in checks("objective")}
