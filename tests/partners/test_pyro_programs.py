"""Programs of Pyro as likelihoods: their scores, gaps, draws and moments, and runs with them."""

import itertools
import math
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Predictive, Trace_ELBO
from torch.distributions import constraints
from torch.nn.functional import softplus

import vaeflow.testing
from vaeflow.distributions.observed import log_prob_of_observed
from vaeflow.errors import ConfigError
from vaeflow.evaluation.imputation import impute_examples
from vaeflow.model import VAE
from vaeflow.parts import decoders, encoders, posteriors, priors
from vaeflow.pyro import Program, as_pyro

K, B = 4, 3
FILE = Path(__file__).parents[2] / "examples" / "zero_inflated.py"
CLOSE = {"rtol": 0, "atol": 1e-10}


class ZeroInflated(Program):
    """A count that may be 0 for another reason."""

    outputs = 2
    support = constraints.nonnegative_integer

    def program(self, output, x):
        rate, gate = output
        on = pyro.sample("on", dist.Bernoulli(logits=gate))
        pyro.sample("x", dist.Poisson(torch.where(on > 0, rate.exp(), 1e-30)), obs=x)


class Ordinal(Program):
    """One of four ordered levels, by cumulative logits."""

    support = constraints.integer_interval(0, 3)

    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.raw = torch.nn.Parameter(torch.tensor([-1.0, 0.2, 0.5]))

    @property
    def cuts(self):
        return torch.cat((self.raw[:1], self.raw[:1] + softplus(self.raw[1:]).cumsum(0)))

    def program(self, output, x):
        cuts = self.cuts.expand(*output.shape, 3)
        pyro.sample("x", dist.OrderedLogistic(output, cuts), obs=x)


class Chain(Program):
    """A sequence of numbers around the place of a hidden Markov chain of three states."""

    by_value = False
    support = constraints.real

    def __init__(self, data_shape):
        super().__init__(data_shape)
        steps = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
        self.steps, self.loc = torch.nn.Parameter(steps), torch.nn.Parameter(torch.arange(3.0))

    def program(self, output, x):
        logits = self.loc.new_zeros(3)
        for t in pyro.markov(range(x.shape[-1])):
            state = pyro.sample(f"state {t}", dist.Categorical(logits=logits))
            pyro.sample(f"x {t}", dist.Normal(self.loc[state] + output[..., t], 0.5), obs=x[..., t])
            logits = self.steps[state]


class SemiSupervised(Program):
    """Two numbers and, last, a label of two classes, which may be missing."""

    by_value = False
    support = constraints.real

    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.output_shape = (5,)

    def program(self, output, x):
        label = pyro.sample("label", dist.Bernoulli(logits=output[..., 4]), obs=x[..., 2])
        for i in range(2):
            loc = torch.where(label > 0, output[..., i], output[..., 2 + i])
            pyro.sample(f"x {i}", dist.Normal(loc, 0.7), obs=x[..., i])


class Mixed(Program):
    """A row of a number, a count and a category whose common cause is summed out."""

    by_value = False
    support = constraints.real

    def program(self, output, x):
        mean, log_rate, logit = output.unbind(-1)
        cause = pyro.sample("cause", dist.Bernoulli(output.new_tensor(0.3)))
        pyro.sample("number", dist.Normal(mean + cause, 1.0), obs=x[..., 0])
        pyro.sample("count", dist.Poisson((log_rate - cause).exp()), obs=x[..., 1])
        pyro.sample("category", dist.Bernoulli(logits=logit + 2 * cause), obs=x[..., 2])


class Plated(Program):
    """Values with causes of their own in a plate of the program, and one cause of all."""

    by_value = False
    support = constraints.real

    def program(self, output, x):
        common = pyro.sample("common", dist.Bernoulli(output.new_tensor(0.3)))
        with pyro.plate("values", x.shape[-1], dim=-3):
            own = pyro.sample("own", dist.Categorical(logits=output.new_zeros(3)))
            loc = output.movedim(-1, 0) + common + 2 * own
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x.movedim(-1, 0))


def formula(part, output, x):
    """Return log p(x|z) (K, B) as one would write it down."""
    inf = x.new_tensor(-math.inf)
    if isinstance(part, ZeroInflated):
        rate, gate = output.unbind(2)
        zero = torch.where(x == 0, (-gate).sigmoid().log(), inf)
        counted = gate.sigmoid().log() + dist.Poisson(rate.exp()).log_prob(x)
        return torch.logaddexp(zero, counted).flatten(2).sum(-1)
    if isinstance(part, Ordinal):
        above = torch.sigmoid(output[..., None] - part.cuts)  # p(level > c)
        edges = torch.cat((torch.ones_like(above[..., :1]), above, 0 * above[..., :1]), -1)
        level = x.long().expand(output.shape)[..., None]
        p = edges.gather(-1, level) - edges.gather(-1, level + 1)
        return p.log().squeeze(-1).flatten(2).sum(-1)
    if isinstance(part, Chain):
        paths = []
        steps = part.steps.log_softmax(-1)
        for path in itertools.product(range(3), repeat=x.shape[-1]):
            loc = part.loc[list(path)] + output
            moves = sum(steps[a, b] for a, b in itertools.pairwise(path))
            paths.append(dist.Normal(loc, 0.5).log_prob(x).sum(-1) + moves - math.log(3))
        return torch.stack(paths).logsumexp(0)
    if isinstance(part, SemiSupervised):
        p = output[..., 4].sigmoid()
        both = torch.stack([1 - p, p]).log()
        for label in (0, 1):
            loc = output[..., :2] if label else output[..., 2:4]
            both[label] = both[label] + dist.Normal(loc, 0.7).log_prob(x[..., :2]).sum(-1)
        known = torch.where(x[..., 2] > 0, both[1], both[0])
        return torch.where(x[..., 2].isnan(), both.logsumexp(0), known)
    terms = []
    for cause, p in ((0.0, 0.7), (1.0, 0.3)):
        if isinstance(part, Plated):
            each = [dist.Normal(output + cause + 2 * own, 1.0).log_prob(x) for own in range(3)]
            values = torch.stack(each).logsumexp(0) - math.log(3)
            terms.append(values.sum(-1) + math.log(p))
            continue
        mean, log_rate, logit = output.unbind(-1)
        terms.append(
            dist.Normal(mean + cause, 1.0).log_prob(x[..., 0])
            + dist.Poisson((log_rate - cause).exp()).log_prob(x[..., 1])
            + dist.Bernoulli(logits=logit + 2 * cause).log_prob(x[..., 2])
            + math.log(p)
        )
    return torch.stack(terms).logsumexp(0)


PARTS = [
    (ZeroInflated, (1, 2, 3)), (Ordinal, (4,)), (Chain, (5,)), (SemiSupervised, (3,)),
    (Mixed, (3,)), (Plated, (2,)),
]  # fmt: skip
programs = pytest.mark.parametrize(("make", "shape"), PARTS, ids=[p.__name__ for p, _ in PARTS])


def made(make, shape):
    """Return a likelihood in float64, outputs that have gradients, and an example for each row."""
    torch.manual_seed(0)
    part = make(shape).double()
    output = torch.randn(K, B, *part.output_shape, dtype=torch.float64, requires_grad=True)
    return part, output, part(output).sample()[0]


@programs
def test_score_and_gradient_are_the_formula_s(make, shape):
    part, output, x = made(make, shape)
    if make is SemiSupervised:
        x[0, 2] = 1.0
    inputs = [output, *part.parameters()]
    seen = part(output).log_prob(x)
    wanted = formula(part, output, x)
    torch.testing.assert_close(seen, wanted, **CLOSE)
    for a, b in zip(*(torch.autograd.grad(s.sum(), inputs) for s in (seen, wanted)), strict=True):
        torch.testing.assert_close(a, b, **CLOSE)
    one_each = part(output).sample()
    torch.testing.assert_close(part(output).log_prob(one_each), formula(part, output, one_each))


@programs
def test_draws_have_the_moments(make, shape):
    part, output, _ = made(make, shape)
    p = part(output[:1, :2].detach())
    torch.manual_seed(1)
    draws = p.sample((6000,))
    error = p.variance.sqrt() / math.sqrt(6000) + 1e-12
    assert ((draws.mean(0) - p.mean).abs() / error).max() < 5
    spread = (draws - p.mean).square()
    error = spread.std(0) / math.sqrt(6000) + 1e-12
    assert ((spread.mean(0) - p.variance).abs() / error).max() < 5


def test_gaps_of_single_values_are_left_out():
    part, output, x = made(ZeroInflated, (1, 2, 3))
    seen = x.clone()
    seen[0], seen[1, 0, 0] = torch.nan, torch.nan
    score = log_prob_of_observed(part(output), seen, ~seen.isnan())
    whole = part(output).log_prob_of_each(x)
    assert score[:, 0].abs().max() == 0
    torch.testing.assert_close(score[:, 1], whole[:, 1].flatten(1)[:, 3:].sum(-1), **CLOSE)
    (gradient,) = torch.autograd.grad(score.sum(), output)
    assert gradient.isfinite().all()


def test_gaps_of_a_row_are_summed_out():
    part, output, x = made(SemiSupervised, (3,))
    x[1, 2] = torch.nan  # the label, on which the rest depends
    x[2, 0] = torch.nan
    score = log_prob_of_observed(part(output), x, ~x.isnan())
    filled = x.nan_to_num()
    filled[1, 2] = torch.nan
    wanted = formula(part, output, filled)
    torch.testing.assert_close(score[:, :2], wanted[:, :2], **CLOSE)
    known = torch.where(x[2, 2] > 0, output[:, 2, 1], output[:, 2, 3])
    told = dist.Bernoulli(logits=output[:, 2, 4]).log_prob(x[2, 2])
    left = dist.Normal(known, 0.7).log_prob(x[2, 1]) + told
    torch.testing.assert_close(score[:, 2], left, **CLOSE)
    (gradient,) = torch.autograd.grad(score.sum(), output)
    assert gradient.isfinite().all()


def test_gaps_of_a_chain_are_summed_out():
    part, output, x = made(Chain, (4,))
    cut = torch.cat((x[:, :2], torch.full_like(x[:, 2:], torch.nan)), -1)
    score = log_prob_of_observed(part(output), cut, ~cut.isnan())
    torch.testing.assert_close(score, formula(part, output[..., :2], x[:, :2]), **CLOSE)


def test_means_given_what_is_known():
    """What is observed tells of the discrete sites, and they of what is missing."""
    part, output, x = made(SemiSupervised, (3,))
    x[0, 2], x[1, :2], x[2, 1:] = torch.nan, torch.nan, torch.nan
    p = part(output).given(x)
    label = dist.Bernoulli(logits=output[..., 4]).probs
    loc = torch.stack([output[..., 2:4], output[..., :2]])  # of label 0 and of 1, (2, K, B, 2)
    likely = dist.Normal(loc, 0.7).log_prob(x[..., :2].nan_to_num()).exp()
    both = torch.stack([1 - label, label])
    weighed = both[:, :, 0] * likely[:, :, 0].prod(-1)
    torch.testing.assert_close(p.mean[:, 0, 2], weighed[1] / weighed.sum(0), **CLOSE)
    assert torch.equal(p.mean[:, 0, :2], x[0, :2].expand(K, 2))
    torch.testing.assert_close(p.mean[:, 1, :2], loc[x[1, 2].long()][:, 1], **CLOSE)
    assert (p.variance[:, 1, :2] - 0.49).abs().max() < 1e-10
    weighed = both[:, :, 2] * likely[:, :, 2, 0]
    share = weighed[1] / weighed.sum(0)
    mean = (1 - share) * loc[0, :, 2, 1] + share * loc[1, :, 2, 1]
    torch.testing.assert_close(p.mean[:, 2, 1], mean, **CLOSE)
    spread = share * (1 - share) * (loc[1, :, 2, 1] - loc[0, :, 2, 1]).square()
    torch.testing.assert_close(p.variance[:, 2, 1], 0.49 + spread, **CLOSE)


class Walk(Program):
    """Each number depends on the one before."""

    by_value = False
    support = constraints.real

    def program(self, output, x):
        before = 0.0
        for t in range(x.shape[-1]):
            law = dist.Normal(0.9 * before + output[..., t], 0.1)
            before = pyro.sample(f"x {t}", law, obs=x[..., t])


def test_values_that_depend_on_values():
    part, output, x = made(Walk, (3,))
    p = part(output)
    before = torch.cat((torch.zeros_like(x[:, :1]), x[:, :-1]), -1)
    wanted = dist.Normal(0.9 * before + output, 0.1).log_prob(x).sum(-1)
    torch.testing.assert_close(p.log_prob(x), wanted, **CLOSE)
    mean = torch.zeros(K, B, dtype=torch.float64)
    for t in range(3):
        mean = 0.9 * mean + output[..., t]
        assert (p.mean[..., t] - mean).abs().max() < 0.03  # by draws, always the same
    assert torch.equal(p.mean, p.mean)
    grown = 0.01 * (1 + 0.81 + 0.81**2)  # of the last, not 0.01 given the one before
    assert (p.variance[..., 2] / grown - 1).abs().max() < 0.25
    x[0, 0] = torch.nan  # its marginal is not known: loud, and not wrong
    assert log_prob_of_observed(p, x, ~x.isnan())[:, 0].isnan().all()
    with pytest.raises(ConfigError, match="the program Walk tells no mean of what is missing"):
        _ = p.given(x).mean


class Unsummable(Program):
    """A latent count."""

    support = constraints.real

    def program(self, output, x):
        count = pyro.sample("count", dist.Poisson(output.exp()))
        pyro.sample("x", dist.Normal(count, 1.0), obs=x)


class Kept(Program):
    """A parameter in Pyro's store."""

    support = constraints.real

    def program(self, output, x):
        pyro.sample("x", dist.Normal(output + pyro.param("a", torch.zeros(())), 1.0), obs=x)


class Scaled(Program):
    """An observed value that is not x."""

    support = constraints.real

    def program(self, output, x):
        pyro.sample("x", dist.Normal(output, 1.0), obs=2 * x)


def test_what_cannot_be_summed_or_drawn_is_told(one_sentence):
    output = torch.zeros(1, 2, 3)
    with pytest.raises(ConfigError, match="'count' of the program Unsummable") as error:
        Unsummable((3,))(output).log_prob(output[0])
    one_sentence(str(error.value))
    with pytest.raises(ConfigError, match=r"pyro.param\('a'\), which a run neither") as error:
        Kept((3,))(output).log_prob(output[0])
    one_sentence(str(error.value))
    p = Scaled((3,))(output)
    assert p.log_prob(output[0]).shape == (1, 2)
    with pytest.raises(ConfigError, match="Scaled does not observe each value") as error:
        p.sample()
    one_sentence(str(error.value))


def test_imputation_takes_what_is_known_into_account():
    """Of a model whose decoder leaves z aside, the mean is the program's own."""
    part = SemiSupervised((3,))
    model = VAE(
        encoders.MLP((6,), hidden=(4,)), posteriors.Identity(2, 4), priors.Normal(2, (3,)),
        decoders.MLP(2, (5,), hidden=(4,)), part, missing=True,
    ).double()  # fmt: skip
    output = torch.tensor([1.0, 2.0, -1.0, 0.0, 0.3], dtype=torch.float64)
    with torch.no_grad():
        model.decoder.layers[-1].weight.zero_()
        model.decoder.layers[-1].bias.copy_(output)
    x = torch.tensor([[0.9, math.nan, math.nan]], dtype=torch.float64)
    found = impute_examples(model, x, samples=20)
    wanted = part(output[None, None]).given(x)
    torch.testing.assert_close(found.x, wanted.mean[0])
    torch.testing.assert_close(found.spread, wanted.variance[0].sqrt(), rtol=0, atol=1e-6)


def test_the_sum_does_not_underflow():
    """One factor is e^−300 where the other is 1, and the other way round: in float32 both are 0."""
    part = ZeroInflated((1,))
    output = torch.tensor([3.0, -300.0]).reshape(1, 1, 2, 1)
    score = part(output).log_prob(torch.tensor([[20.0]]))
    wanted = -300 + dist.Poisson(math.exp(3)).log_prob(torch.tensor(20.0))
    assert score.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_an_inference_around_a_program_sees_none_of_its_sites():
    torch.manual_seed(0)
    part = ZeroInflated((4,))
    model = VAE(
        encoders.MLP((4,), hidden=(8,)), posteriors.Planar(2, 8), priors.Normal(2, (4,)),
        decoders.MLP(2, part.output_shape, hidden=(8,)), part,
    ).double()  # fmt: skip
    x = model.sample(5, mean=False)
    program, guide = as_pyro(model)
    with torch.no_grad():
        torch.manual_seed(2)
        wanted = model(x, 3).log_weight.mean(0).sum().item()
    torch.manual_seed(2)
    loss = Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1)
    assert -loss.loss(program, guide, x) == pytest.approx(wanted, abs=1e-9)
    drawn = Predictive(poutine.uncondition(program), guide=guide, num_samples=7, parallel=True)(x)
    assert drawn["x"].shape == (7, 5, 4)
    assert "on" not in drawn


def test_example_keeps_the_contract():
    namespace = {"__name__": "example"}
    exec(compile(FILE.read_text(), str(FILE), "exec"), namespace)
    vaeflow.testing.check("likelihood", namespace["ZeroInflated"])


def test_example_trains_and_resumes_by_the_shell(cli, tiny, tmp_path):
    rng = np.random.default_rng(0)
    counts = rng.poisson(4, (60, 5)) * rng.integers(0, 2, (60, 5))
    np.save(tmp_path / "counts.npy", counts)
    run = tmp_path / "run"
    done = cli(
        "train", *tiny, "--plugin", FILE, "--likelihood", "zero-inflated", "--posterior", "planar",
        "--dataset", "file", "--dataset.path", tmp_path / "counts.npy", "--epochs", 2,
        "--no-tensorboard", "--run-dir", run,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert cli("resume", run, "--plugin", FILE, "--epochs", 3).code == 0
    sample = cli("sample", run, "--plugin", FILE, "--out", tmp_path / "draws.npz")
    assert sample.code == 0, sample.err
    missing = cli("evaluate", run)
    assert missing.code != 0
    assert "--plugin" in missing.err
