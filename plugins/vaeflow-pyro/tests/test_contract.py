"""Pyro's laws keep vaeflow's contract, and a transform of one's own is a posterior.

These are the quick checks; `vaeflow plugins check vaeflow-pyro` runs all of them on every law.
"""

import json
import math
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import scipy.stats
import torch
from pyro.distributions import ConditionalTransformModule, transforms
from torch import nn
from torch.distributions import Transform, constraints
from vaeflow_pyro import likelihoods
from vaeflow_pyro.hooks import LIKELIHOODS
from vaeflow_pyro.posterior import Transformed

from vaeflow.cli import main
from vaeflow.distributions import draw
from vaeflow.testing import NotApplicable, checks

QUICK = (
    "emits_the_shape_it_promises",
    "passes_gradients_to_everything",
    "scores_what_was_observed",
)
CLOSE = {"rtol": 0, "atol": 1e-9}


def run(kind, name, part):
    try:
        next(check for check in checks(kind) if check.name == name)(part)
    except NotApplicable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("check", QUICK)
@pytest.mark.parametrize("law", LIKELIHOODS.values())
def test_law(law, check):
    run("likelihood", check, getattr(likelihoods, law))


@pytest.mark.parametrize("check", checks("package"), ids=lambda check: check.name)
def test_package(check):
    check("vaeflow-pyro")


def shape(o):
    return torch.exp(3 * torch.tanh(o / 3))


def positive(o):
    return nn.functional.softplus(o) + 1e-6


ORACLES = {
    "Beta": (lambda a, b: scipy.stats.beta(shape(a), shape(b)), 0.3),
    "Gamma": (lambda m, k: scipy.stats.gamma(shape(k), scale=positive(m) / shape(k)), 1.7),
    "LogNormal": (lambda m, s: scipy.stats.lognorm(positive(s), scale=m.exp()), 1.7),
    "StudentT": (lambda m, s, df: scipy.stats.t(2 + shape(df), m, positive(s)), -0.4),
    "VonMises": (lambda m, k: scipy.stats.vonmises(shape(k), m), -0.4),
    "Weibull": (lambda s, k: scipy.stats.weibull_min(shape(k), scale=positive(s)), 1.7),
    "InverseGamma": (lambda r, k: scipy.stats.invgamma(2 + shape(k), scale=positive(r)), 0.7),
}
COUNTS = {
    "GammaPoisson": lambda m, k: scipy.stats.nbinom(shape(k), shape(k) / (shape(k) + positive(m))),
    "BetaBinomial": lambda a, b: scipy.stats.betabinom(10, shape(a), shape(b)),
}


@pytest.mark.parametrize("law", [*ORACLES, *COUNTS])
def test_density_is_scipy_s(law):
    part = getattr(likelihoods, law)((1,))
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(4, 3, *part.output_shape, dtype=torch.float64, generator=generator)
    each = output.unbind(2)
    oracle, x = ORACLES[law] if law in ORACLES else (COUNTS[law], 3.0)
    known = oracle(*each)
    wanted = torch.as_tensor(known.logpmf(x) if law in COUNTS else known.logpdf(x))[..., 0]
    seen = part(output).log_prob(torch.full((3, 1), x, dtype=torch.float64))
    torch.testing.assert_close(seen, wanted, rtol=0, atol=1e-7)  # of Pyro's Bessel functions


def test_zeros_have_another_cause():
    part = likelihoods.ZeroInflatedPoisson((2,))
    output = torch.tensor([0.4, 1.5, -1.0, 2.0], dtype=torch.float64).reshape(1, 1, 2, 2)
    rate, gate = positive(output[0, 0, 0]), output[0, 0, 1].sigmoid()
    zero = (gate + (1 - gate) * (-rate).exp()).log()[0]
    three = ((1 - gate) * rate**3 * (-rate).exp() / math.factorial(3)).log()[1]
    seen = part(output).log_prob(torch.tensor([[0.0, 3.0]], dtype=torch.float64))
    torch.testing.assert_close(seen[0, 0], zero + three, **CLOSE)


class Sinh(Transform):
    """y = sinh(asinh(x) + a): the noise leans to one side."""

    domain = codomain = constraints.real
    bijective = True

    def __init__(self, a):
        super().__init__()
        self.a = a

    def _call(self, x):
        return torch.sinh(torch.asinh(x) + self.a)

    def _inverse(self, y):
        return torch.sinh(torch.asinh(y) - self.a)

    def log_abs_det_jacobian(self, x, y):
        return 0.5 * (y.square() + 1).log() - 0.5 * (x.square() + 1).log()


class Leaning(ConditionalTransformModule):
    """Its a is linear in the features."""

    def __init__(self, latent, features):
        super().__init__()
        self.linear = nn.Linear(features, latent)

    def condition(self, h):
        return Sinh(self.linear(h).tanh())


class Own(Transformed):
    """A user's own transform."""

    def transform(self, latent, features):
        return Leaning(latent, features)


class Autoregressive(Transformed):
    """One of Pyro's."""

    def transform(self, latent, features):
        # Pyro's chooses its order by chance, and asks for a hidden unit for each dimension.
        hidden = [max(8, latent + features)]
        return transforms.conditional_affine_autoregressive(latent, features, hidden_dims=hidden)


class Bent(Transformed):
    """Pyro's planar transform, which has no inverse."""

    has_inverse = False

    def transform(self, latent, features):
        return transforms.conditional_planar(latent, features, hidden_dims=[8])


POSTERIOR = (
    "log_q_matches_the_jacobian",
    "passes_gradients_to_everything",
    "rsample_gives_its_draws",
)


@pytest.mark.parametrize("check", [*POSTERIOR, "scores_its_draws_from_outside"])
def test_a_transform_of_one_s_own(check):
    run("posterior", check, Own)


@pytest.mark.parametrize("make", [Own, Autoregressive, Bent])
def test_log_q_is_that_of_the_jacobian(make):
    torch.manual_seed(0)
    posterior = make(3, 5).double()
    h = torch.randn(2, 5, dtype=torch.float64)
    noise = torch.randn(2, 3, dtype=torch.float64)

    def z(noise):
        q = posterior(h)
        for f in q.maps:
            noise = f(noise)[0]
        return q.loc + q.scale * noise

    jacobian = torch.autograd.functional.jacobian(lambda e: z(e).sum(0), noise).movedim(1, 0)
    wanted = torch.distributions.Normal(0.0, 1.0).log_prob(noise).sum(-1)
    wanted = wanted - torch.linalg.slogdet(jacobian).logabsdet
    torch.manual_seed(1)
    q = posterior(h)
    with torch.random.fork_rng():
        sample = draw(q, (1,))
    seen = torch.distributions.Normal(0.0, 1.0).log_prob(noise).sum(-1) - q.log_volume
    u = noise
    for f in q.maps:
        u, term = f(u)
        seen = seen - term
    torch.testing.assert_close(seen, wanted, **CLOSE)
    if make is Bent:
        with pytest.raises(NotImplementedError):
            q.log_prob(sample.z)
    else:
        torch.testing.assert_close(q.log_prob(sample.z), sample.log_prob, rtol=0, atol=1e-8)


def test_options_reach_the_law():
    part = partial(likelihoods.Binomial, total_count=3)((2,))
    assert part.support.upper_bound == 3
    whole = part(torch.zeros(1, 1, 2)).log_prob(torch.tensor([[3.0, 0.0]]))
    assert whole.item() == pytest.approx(2 * math.log(1 / 8))


def test_a_law_trains_from_the_shell(tmp_path, capsys):
    counts = np.random.default_rng(0).poisson(3.0, (60, 4))
    np.save(tmp_path / "counts.npy", counts)
    words = (
        "train --likelihood pyro-zero-inflated-poisson --posterior planar --dataset file "
        "--latent 2 --encoder.hidden 8 --decoder.hidden 8 --epochs 2 --threads 1 "
        "--test-samples 5 --no-tensorboard"
    )
    rest = ["--dataset.path", tmp_path / "counts.npy", "--run-dir", tmp_path / "run"]
    with pytest.raises(SystemExit) as ended:
        main([*words.split(), *map(str, rest)])
    assert ended.value.code == 0, capsys.readouterr().err
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    first, second = (json.loads(line)["validation/elbo"] for line in lines)
    assert second > first


def test_hooks_import_nothing_and_validation_stays_as_it_was():
    code = (
        "import sys, vaeflow_pyro.hooks; assert not {'torch', 'pyro'} & set(sys.modules);"
        "from torch.distributions import Distribution as D; D.set_default_validate_args(False);"
        "import vaeflow_pyro.likelihoods, vaeflow_pyro.posterior; sys.exit(bool(D._validate_args))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
