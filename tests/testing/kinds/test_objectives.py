"""Every check of an objective can fail: right objectives, and objectives with one mistake each."""

import math

import pytest

from vaeflow.parts.abstract import Objective
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.testing import check, checks


class IWAE(Objective):
    def __init__(self, *, samples: int = 5):
        super().__init__(samples=samples)

    def __call__(self, terms, beta):
        return terms.log_weight.logsumexp(0) - math.log(self.samples)


class Lost(Objective):
    """Its weight goes on rising after the warm-up."""

    def __init__(self):
        super().__init__(warmup=3.0)

    def weight(self, epoch):
        return epoch / 3

    def __call__(self, terms, beta):
        return ELBO()(terms, beta)


def objective(value, samples=1):
    """An objective of `value(terms, beta)` for so many samples."""

    def __init__(self):
        Objective.__init__(self, samples=samples)

    def __call__(self, terms, beta):
        return value(terms, beta)

    return type("Made", (Objective,), {"__init__": __init__, "__call__": __call__})


BUGS = [
    ("summed over the batch", "gives_one_number_per_image",
     objective(lambda terms, beta: terms.log_weight.mean(0).sum())),
    ("averaged over the batch", "treats_images_independently",
     objective(lambda terms, beta: ELBO()(terms, beta) + 0 * beta + terms.log_pz.mean())),
    ("no log-determinant", "is_tight_where_the_posterior_is_exact",
     objective(lambda terms, beta: (terms.log_px + terms.log_pz - terms.log_base).mean(0))),
    ("sign of the KL", "bounds_the_evidence_from_below",
     objective(lambda terms, beta: (terms.log_px + terms.log_qz - terms.log_pz).mean(0))),
    ("log K missing", "is_tight_where_the_posterior_is_exact",
     objective(lambda terms, beta: terms.log_weight.logsumexp(0), samples=5)),
    ("a warm-up without an end", "weight_settles_after_the_warmup", Lost),
]  # fmt: skip


@pytest.mark.parametrize(("name", "part"), [row[1:] for row in BUGS], ids=[row[0] for row in BUGS])
def test_the_named_check_catches_the_bug(name, part):
    (one,) = (one for one in checks("objective") if one.name == name)
    with pytest.raises(AssertionError):
        one(part)


def test_every_check_catches_a_bug():
    assert {name for _, name, _ in BUGS} == {one.name for one in checks("objective")}


@pytest.mark.parametrize("part", [IWAE, ELBO])
def test_the_right_parts_pass(part):
    check("objective", part)
