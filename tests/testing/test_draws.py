"""Draws against densities: right ones are let pass, wrong ones are found."""

import math

import pytest
import torch
from torch.distributions import (
    Bernoulli,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    StudentT,
    constraints,
)
from torch.distributions import Categorical as Choice

from vaeflow.testing.conditionals import marginals
from vaeflow.testing.draws import follow, follow_given_the_rest, have_noise_of_their_own
from vaeflow.testing.lines import line_of
from vaeflow.testing.stein import satisfy_stein

REAL = line_of(constraints.real, (3,))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def normals(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def gaussian():
    a = normals(3, 3)
    return MultivariateNormal(normals(3), a @ a.T + 0.1 * torch.eye(3))


class TestFollow:
    @pytest.fixture
    def p(self):
        return Independent(Normal(normals(3), torch.rand(3).double()), 1)

    @pytest.fixture
    def law(self, p):
        return marginals(p.log_prob, p.sample((1000,)), REAL)

    def test_right_draws_pass(self, p, law):
        for _ in range(20):
            follow(p.sample((2000,)), law, REAL, "draws")

    @pytest.mark.parametrize("factor", [0.9, 1.1])
    def test_another_scale_is_found(self, p, law, factor):
        with pytest.raises(AssertionError, match="do not follow the density"):
            follow(p.mean + factor * (p.sample((4000,)) - p.mean), law, REAL, "draws")

    def test_noise_that_is_clamped_is_found(self, p, law):
        noise = normals(4000, 3).clamp(-3, 3)
        with pytest.raises(AssertionError, match="repeat the value"):
            follow(p.mean + p.stddev * noise, law, REAL, "draws")

    def test_what_an_integral_has_missed_is_allowed(self, p, law):
        x = p.sample((2000,))
        x[:20] += 1e3 + normals(20, 3)
        with pytest.raises(AssertionError, match="do not follow"):
            follow(x, law, REAL, "draws")
        follow(x, law, REAL, "draws", missed=0.02)

    def test_one_draw_where_next_to_none_is_expected_is_found(self):
        p = Independent(Bernoulli(logits=torch.full((1,), -30.0).double()), 1)
        line = line_of(constraints.boolean, (1,))
        law = marginals(p.log_prob, p.sample((10,)), line)
        x = torch.zeros(2000, 1).double()
        follow(x, law, line, "draws")
        x[:5] = 1
        with pytest.raises(AssertionError):
            follow(x, law, line, "draws")


class TestGivenTheRest:
    def test_right_draws_pass(self):
        for _ in range(5):
            p = gaussian()
            follow_given_the_rest(p.sample((2000,)), p.log_prob, REAL, "draws")

    def test_draws_of_the_marginals_are_found(self):
        p = gaussian()
        x = Independent(Normal(p.mean, p.stddev), 1).sample((2000,))
        with pytest.raises(AssertionError, match="the rest"):
            follow_given_the_rest(x, p.log_prob, REAL, "draws")


class TestStein:
    @pytest.mark.parametrize(
        "law",
        [
            lambda: gaussian(),
            lambda: Independent(StudentT(1.0, normals(3), torch.ones(3).double()), 1),
            lambda: MixtureSameFamily(
                Choice(torch.tensor([0.3, 0.7]).double()),
                Independent(Normal(9 * normals(2, 3), torch.ones(2, 3).double()), 1),
            ),
        ],
    )
    def test_right_draws_pass_and_another_scale_is_found(self, law):
        p = law()
        for _ in range(5):
            z = p.sample((1000,))
            satisfy_stein(z, lambda z: p.log_prob(z) + 3, "draws")
        middle = z.median(0).values
        with pytest.raises(AssertionError, match="do not fit"):
            satisfy_stein(middle + 1.5 * (z - middle), p.log_prob, "draws")

    def test_a_bounded_support_is_not_judged(self):
        def log_prob(z):
            return torch.where((z.abs() < 1).all(-1), 0 * z.sum(-1), -math.inf)

        satisfy_stein(torch.rand(500, 3).double() * 2 - 1, log_prob, "draws")


class TestNoise:
    group = torch.arange(4)

    def test_independent_numbers_pass(self):
        for _ in range(20):
            have_noise_of_their_own(normals(500, 4), self.group, "numbers")
            have_noise_of_their_own(torch.rand(500, 4).round(), self.group, "bits")

    @pytest.mark.parametrize(
        "tied",
        [
            lambda x: x + 0.5 * x.roll(1, -1),
            lambda x: torch.cat([x[:, :3], -x[:, :1]], 1),
            lambda x: torch.cat([x[:, :3], x[:, :1] * x[:, 1:2].sign()], 1),  # alike but for signs
        ],
    )
    def test_numbers_that_share_noise_are_found(self, tied):
        x = tied(normals(1000, 4))
        with pytest.raises(AssertionError, match="depend on each other"):
            have_noise_of_their_own(x, self.group, "numbers")
        have_noise_of_their_own(x, 0 * self.group, "numbers of one group")

    def test_one_draw_for_all_is_found(self):
        with pytest.raises(AssertionError, match="the same in every draw"):
            have_noise_of_their_own(normals(1, 4).expand(500, -1), self.group, "numbers")
