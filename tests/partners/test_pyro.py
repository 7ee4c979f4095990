"""A VAE as Pyro's programs: their bounds are vaeflow's, and Pyro's inference runs on them."""

import math
import subprocess
import sys

import pyro
import pytest
import torch
from linear_gaussian import SHAPE as WORLD_SHAPE
from pyro import poutine
from pyro.infer import (
    MCMC,
    NUTS,
    SVI,
    Predictive,
    RenyiELBO,
    Trace_ELBO,
    TraceMeanField_ELBO,
)
from pyro.infer.importance import psis_diagnostic
from torch.distributions import Independent, Laplace

import vaeflow
from vaeflow.distributions.draw import draw
from vaeflow.errors import ConfigError, DataError
from vaeflow.model import VAE
from vaeflow.parts import encoders, likelihoods, priors
from vaeflow.parts.abstract import Posterior
from vaeflow.pyro import as_pyro

SHAPE = (1, 4, 4)
POSTERIORS = (
    "identity", "full-gaussian", "householder", "planar", "radial", "iaf", "realnvp", "spline",
    "mixture", "sylvester", "zuko-nsf",
)  # fmt: skip
NO_INVERSE = ("householder", "planar", "radial", "sylvester")


def images(n, dtype=torch.float64):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1)).round().to(dtype)


def vae(posterior="planar", dtype=torch.float64, **options):
    torch.manual_seed(0)
    made = vaeflow.build(SHAPE, posterior=posterior, latent=3, **options).to(dtype)
    with torch.no_grad():  # away from the start, where flows are Gaussians
        for parameter in made.posterior.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def elbo(loss, model, guide, *x, **named):
    torch.manual_seed(5)
    return -loss.loss(model, guide, *x, **named)


def terms(model, x, samples=1):
    torch.manual_seed(5)
    return model(x, samples)


@pytest.mark.parametrize("name", POSTERIORS)
def test_bounds_are_vaeflow_s_on_the_same_draws(name):
    model, x = vae(name), images(6)
    programs = as_pyro(model)
    with torch.no_grad():
        wanted = terms(model, x).log_weight.sum()
        iwae = (terms(model, x, 7).log_weight.logsumexp(0) - math.log(7)).sum()
    seen = elbo(Trace_ELBO(), *programs, x)
    assert seen == pytest.approx(wanted.item(), abs=1e-9)
    renyi = RenyiELBO(alpha=0, num_particles=7, vectorize_particles=True, max_plate_nesting=1)
    assert elbo(renyi, *programs, x) == pytest.approx(iwae.item(), abs=1e-9)
    assert len(pyro.get_param_store()) == 0


@pytest.mark.parametrize("name", ["planar", "iaf", "spline"])
def test_bound_is_vaeflow_s_in_float32(name):
    model, x = vae(name, torch.float32), images(50, torch.float32)
    with torch.no_grad():
        wanted = terms(model, x).log_weight.sum().item()
    assert elbo(Trace_ELBO(), *as_pyro(model), x) == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize("name", ["identity", "full-gaussian"])
def test_closed_kl_of_gaussians(name):
    model, x = vae(name), images(6)
    found = terms(model, x)
    wanted = (found.log_px[0] - found.analytic_kl()).sum().item()
    assert elbo(TraceMeanField_ELBO(), *as_pyro(model), x) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("name", POSTERIORS)
def test_sample_takes_a_posterior_as_it_is(name):
    model, x = vae(name), images(4)
    with poutine.trace() as seen, pyro.plate("particles", 5, dim=-2), pyro.plate("rows", 4):
        z = pyro.sample("z", model.infer(x))
    assert z.shape == (5, 4, 3)
    law = seen.trace.nodes["z"]["fn"]
    assert law.log_prob(z).shape == (5, 4)
    assert len(z.flatten(0, 1).unique(dim=0)) == 20  # each particle has noise of its own
    q = model.infer(x)
    torch.manual_seed(3)
    z = q.rsample((2,))
    torch.manual_seed(3)
    torch.testing.assert_close(q.log_prob(z), draw(q, (2,)).log_prob, rtol=0, atol=1e-12)
    assert q.mask(torch.tensor([True, False, True, True])).log_prob(z)[:, 1].abs().max() == 0
    assert q.to_event(1).log_prob(z).shape == (2,)


def test_gradients_are_vaeflow_s():
    model, x = vae("sylvester"), images(6)
    loss = Trace_ELBO().differentiable_loss
    torch.manual_seed(5)
    loss(*as_pyro(model), x).backward()
    seen = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    (-terms(model, x).log_weight.sum()).backward()
    for a, parameter in zip(seen, model.parameters(), strict=True):
        torch.testing.assert_close(a, parameter.grad, rtol=1e-9, atol=1e-9)


def test_a_step_trains_the_model_and_leaves_the_store_empty():
    first, second, x = vae("planar"), vae("planar"), images(8)
    before = {name: p.detach().clone() for name, p in first.named_parameters()}
    svi = SVI(*as_pyro(first), pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    losses = [svi.step(x) for _ in range(40)]
    assert sum(losses[-10:]) < 0.95 * sum(losses[:10])
    assert all(not torch.equal(before[name], p) for name, p in first.named_parameters())
    assert all(torch.equal(before[name], p) for name, p in second.named_parameters())
    assert len(pyro.get_param_store()) == 0


def tabled(**options):
    """Return a model of gaps under a covariate, and examples with both, and weights."""
    model = vaeflow.build(
        (6,), posterior="planar", likelihood="gaussian", latent=2, encoder="mlp", decoder="mlp",
        missing="mask", condition={"group": ["a", "b"]}, **options,
    ).double()  # fmt: skip
    x = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    x[0, 1], x[3] = torch.nan, torch.nan
    groups = ["a", "b", "b", "a", "b"]
    return model, model.examples(x, {"group": groups}, [0.0, 1.0, 2.0, 0.5, 1.5])


def test_gaps_covariates_and_weights():
    model, examples = tabled()
    with torch.no_grad():
        each = terms(model, examples).log_weight[0]
    wanted = (examples.weight * each).sum().item()
    programs = as_pyro(model)
    assert elbo(Trace_ELBO(), *programs, examples) == pytest.approx(wanted, abs=1e-9)
    x = examples.values.numpy()
    named = {"condition": {"group": ["a", "b", "b", "a", "b"]}, "weight": examples.weight.numpy()}
    assert elbo(Trace_ELBO(), *programs, x, **named) == pytest.approx(wanted, abs=1e-9)


class Skew(Posterior):
    """A law of torch's own, which Pyro does not call."""

    def __init__(self):
        super().__init__(3, 16)
        self.loc = torch.nn.Linear(16, 3)

    def forward(self, h):
        return Independent(Laplace(self.loc(h), torch.ones(3)), 1)


@pytest.mark.parametrize("prior", ["Normal", "Vamp", "FlowPrior"])
def test_laws_that_are_not_vaeflow_s(prior):
    torch.manual_seed(0)
    model = VAE(
        encoders.MLP(SHAPE, hidden=(16,)), Skew(), getattr(priors, prior)(3, SHAPE),
        vaeflow.decoders.MLP(3, SHAPE), likelihoods.Bernoulli(SHAPE),
    )  # fmt: skip
    x = images(4, torch.float32)
    with torch.no_grad():
        wanted = terms(model, x).log_weight.sum().item()
    programs = as_pyro(model)
    assert elbo(Trace_ELBO(), *programs, x) == pytest.approx(wanted, abs=1e-3)
    loss = Trace_ELBO(num_particles=3, vectorize_particles=True)
    assert math.isfinite(elbo(loss, *programs, x))


@pytest.mark.parametrize("parallel", [False, True])
def test_predictive_draws_from_prior_and_posterior(parallel):
    model, x = vae("planar").eval(), images(4)
    program, guide = as_pyro(model)
    drawn = Predictive(program, num_samples=11, parallel=parallel)(5)
    assert (drawn["z"].shape, drawn["x"].shape) == ((11, 5, 3), (11, 5, *SHAPE))
    draws = 400 if parallel else 50
    again = Predictive(
        poutine.uncondition(program), guide=guide, num_samples=draws, parallel=parallel,
        return_sites=("z", "x"),
    )(x)  # fmt: skip
    assert again["x"].shape == (draws, 4, *SHAPE)
    with torch.no_grad():
        wanted = model.generate(draw(model.infer(x), (4000,)).z).mean.mean(0)
    assert (again["x"].mean(0) - wanted).abs().max() < 3 / math.sqrt(draws)


def test_covariates_of_draws_from_the_prior():
    model, examples = tabled()
    program, guide = as_pyro(model)
    drawn = Predictive(program, num_samples=3)(2, condition={"group": "a"})
    assert drawn["x"].shape == (3, 2, 6)
    with pytest.raises(DataError, match="the guide"):
        guide(2)
    z = torch.zeros(5, 2, dtype=torch.float64)
    with poutine.trace() as seen:
        poutine.condition(program, data={"z": z})(examples)
    seen.trace.compute_log_prob()
    wanted = model.log_px(z[None], examples)[0] * examples.weight
    torch.testing.assert_close(seen.trace.nodes["x"]["log_prob"], wanted)


def test_handlers_block_and_scale():
    model, x = vae("planar"), images(3)
    program, guide = as_pyro(model)
    whole = elbo(Trace_ELBO(), program, guide, x)
    scaled = elbo(Trace_ELBO(), poutine.scale(program, 3.0), poutine.scale(guide, 3.0), x)
    assert scaled == pytest.approx(3 * whole)
    found = terms(model, x)
    unseen = poutine.block(program, hide=["x"])
    wanted = (found.log_pz - found.log_qz).sum().item()
    assert elbo(Trace_ELBO(), unseen, guide, x) == pytest.approx(wanted, abs=1e-9)


def test_nuts_finds_the_exact_posterior(world):
    _, x = world.data(2)
    model, _ = as_pyro(world.model(diagonal=True).eval())
    pyro.set_rng_seed(0)
    mcmc = MCMC(NUTS(model), num_samples=200, warmup_steps=50, disable_progbar=True)
    mcmc.run(x)
    z, exact = mcmc.get_samples()["z"], world.posterior(x)
    assert x.shape[1:] == WORLD_SHAPE
    error = exact.variance.sqrt() / math.sqrt(100)
    assert ((z.mean(0) - exact.mean).abs() / error).max() < 4
    assert (z.var(0) / exact.variance - 1).abs().max() < 0.6


def test_psis_diagnostic_tells_a_narrow_guide(world):
    _, x = world.data(1)
    told = []
    for spread in (1.05, 0.4):
        pyro.set_rng_seed(0)
        programs = as_pyro(world.model(diagonal=False, spread=spread).eval())
        told.append(float(psis_diagnostic(*programs, x, num_particles=4000)))
    assert told[0] < 0.5 < told[1]


_WITHOUT = """
import sys, vaeflow, torch
from torch.distributions import Distribution
model = vaeflow.build((1, 4, 4), posterior="planar", latent=2)
vaeflow.fit(model, torch.rand(40, 1, 4, 4), epochs=1)
assert "pyro" not in sys.modules
for before in (False, True):
    Distribution.set_default_validate_args(before)
    vaeflow.pyro.as_pyro(model)
    assert Distribution._validate_args == before
    del sys.modules["vaeflow.pyro"], vaeflow.pyro
"""


def test_nothing_imports_pyro_and_its_import_decides_nothing():
    done = subprocess.run([sys.executable, "-c", _WITHOUT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_wrong_models_and_numbers_of_examples_are_one_sentence(one_sentence):
    model, guide = as_pyro(vaeflow.build((1, 2, 2), latent=2))
    empty = torch.zeros(0, 1, 2, 2)
    for call, x in [(model, 0), (model, -1), (guide, 0), (model, empty), (guide, empty)]:
        with pytest.raises(DataError, match=r"asked for|no examples") as caught:
            call(x)
        one_sentence(str(caught.value))
    with pytest.raises(ConfigError, match=r"a vaeflow\.VAE is expected") as wrong:
        as_pyro("runs/first")
    one_sentence(str(wrong.value))
