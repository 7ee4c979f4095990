"""A diagnosis of a model of which all is known, and the words for figures that are made."""

import dataclasses
import json
import math
from contextlib import contextmanager

import pytest
import torch

from vaeflow.config.layers import Layers
from vaeflow.diagnosis.calibration import Calibration, simulate
from vaeflow.diagnosis.diagnose import STAGES, Bracket, Diagnosis, diagnose
from vaeflow.diagnosis.gaps import split_gap
from vaeflow.diagnosis.local_bounds import LocalBounds
from vaeflow.diagnosis.verdict import told, verdict
from vaeflow.distributions.flow import Flow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.errors import ConfigError, NonFiniteError
from vaeflow.evaluation import PerImage
from vaeflow.parts.abstract import Posterior
from vaeflow.parts.posteriors.full_gaussian import FullGaussian
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.posteriors.planar import Planar
from vaeflow.plugins.discovery import Selection
from vaeflow.plugins.loading import load_plugins
from vaeflow.runs.diagnosis import families

N = 8
FAMILIES = {"identity": lambda f: Identity(3, f), "full-gaussian": lambda f: FullGaussian(3, f)}
SHORT = {"samples": 1000, "temperatures": 60, "chains": 30, "simulated": 1000}
LOCAL = {"steps": 250, "lr": 0.05, "rounds": 2, "tolerance": 0.002}


def exactly(values):
    return PerImage(values, torch.zeros_like(values))


@pytest.fixture(scope="module")
def stages():
    return []


@pytest.fixture(scope="module")
def found(world, stages):
    """The diagnosis of a diagonal Gaussian that lies aside and is too wide."""

    @contextmanager
    def progress(total, what):
        done = []
        yield done.append
        stages.append((what, total, sum(done)))

    model = world.model(diagonal=True, shift=0.15, spread=1.3)
    x = world.data(N)[1]
    return diagnose(model, x, FAMILIES, progress=progress, **SHORT, **LOCAL)


def test_every_figure_is_the_known_one_within_its_error(world, found):
    x = world.data(N)[1]
    model = world.model(diagonal=True, shift=0.15, spread=1.3)
    log_px, divergence = world.log_px(x), world.divergence(model, x)
    gap, gaps = world.diagonal_gap, found.gaps
    for part, expected in {
        found.elbo: log_px - divergence,
        found.log_px["IWAE"]: log_px,
        found.log_px["IWAE, local identity"]: log_px,
        found.log_px["IWAE, local full-gaussian"]: log_px,
        gaps.log_px: log_px,
        gaps.total: divergence,
        gaps.approximation: gap,
        gaps.amortization: divergence - gap,
        gaps.richer["full-gaussian"]: 0.0,
        gaps.closed["full-gaussian"]: gap,
    }.items():
        # What the optimization leaves is a nat's hundredth.
        assert (part.values - expected).mean().abs() < 4 * part.monte_carlo_error + 0.01
    # An annealing of 60 steps is below by some tenths of a nat.
    slack = log_px - found.log_px["AIS"].values
    assert -4 * found.log_px["AIS"].monte_carlo_error < slack.mean() < 0.3
    assert found.own == "identity"
    assert all(bounds.converged for bounds in found.local.values())


def test_each_image_has_its_best_q(world, found):
    x = world.data(N)[1]
    exact = world.posterior(x[:3])
    with torch.no_grad():
        means = [bounds.q(3).sample((4000,)).mean(0) for bounds in found.local.values()]
    for mean in means:
        assert (mean - exact.mean).abs().max() < 0.06
    assert (exact.mean[0] - exact.mean[1]).abs().max() > 0.25


def test_log_p_of_simulated_images_is_between_its_bounds(world, found):
    bracket = found.bracket
    _, made = simulate(world.model(), N)
    log_px = world.log_px(made)
    assert log_px.std() > 0.5
    below, above = bracket.below - exactly(log_px), bracket.above - exactly(log_px)
    assert bracket.below_by == "IWAE"  # AIS is lower after so few steps
    assert below.values.mean().abs() < 4 * below.monte_carlo_error < 0.1
    # An annealing of 60 steps is above by some tenths of a nat.
    assert -4 * above.monte_carlo_error < above.values.mean() < 0.3
    torch.testing.assert_close(bracket.width.values, above.values - below.values)


def test_coarse_annealing_is_below_on_one_side_and_above_on_the_other(world):
    skip = [stage for stage in STAGES if stage != "ais"]
    x = world.data(N)[1]
    model = world.model(spread=1.3)
    found = diagnose(model, x, {}, samples=1000, temperatures=4, chains=8, skip=skip)
    _, made = simulate(model, N)
    assert (found.log_px["AIS"].values - world.log_px(x)).mean() < -0.3
    assert (found.bracket.above.values - world.log_px(made)).mean() > 0.3


def test_the_words_are_those_of_the_figures(found):
    gaps = found.gaps
    said = verdict(found)
    part = gaps.approximation.over_images
    assert said[0].startswith("Of 1.") or said[0].startswith("Of 0.")
    assert f", {told(part)} (or up to 0." in said[0]  # 60 temperatures
    assert said[1].startswith("A local full-gaussian q closes 0.")
    assert "Calibration fails in 3 of 3 dimensions" in said[-1]


def test_each_stage_tells_how_far_it_is(found, stages):
    assert [what for what, _, _ in stages] == [
        "IWAE of the images",
        "annealing",
        "IWAE of simulated images",
        "annealing simulated images",
        "annealing them backwards",
        "local identity q",
        "local full-gaussian q",
        "calibration",
    ]
    assert all(total == done for _, total, done in stages)
    assert [total for _, total, _ in stages] == [N] * 7 + [1000]


def test_what_is_written_is_plain_json(found):
    told = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert (told["images"], told["samples"], told["log_dets"]) == (N, 1000, None)
    assert told["gaps"]["approximation"] == found.gaps.approximation.as_dict()
    assert told["simulated"]["width"]["mean"] == found.bracket.width.values.mean().item()
    assert sum(told["calibration"]["counts"][0]) == 1000
    assert told["local"]["identity"]["converged"] is True


def test_what_is_skipped_is_not_done_and_not_said(world):
    x = world.data(2)[1]
    found = diagnose(world.model(spread=1.3), x, FAMILIES, samples=2000, skip=STAGES)
    assert (found.bracket, found.local, found.calibration, found.log_dets) == (None, {}, None, None)
    assert [*found.as_dict()["gaps"]] == ["log_px_by", "log_px", "total"]
    said = verdict(found)
    assert len(said) == 2
    assert said[0].endswith("nats; they were not split.")
    assert said[1].startswith("log p(x) is bounded from below only, by IWAE")


class Linear:
    """z -> Az + b, b of each image."""

    def __init__(self, a, b):
        self.a, self.b = a, b

    def __call__(self, z):
        return z @ self.a.T + self.b, self.a.slogdet().logabsdet.expand(z.shape[:-1])


class Exact(Posterior):
    """p(z|x) of the linear-Gaussian model as a flow: twice its width, then half of that."""

    def __init__(self, world):
        super().__init__(3, 6)
        self.world = world

    def forward(self, h):
        law = self.world.posterior(h)
        zero = torch.zeros_like(law.mean)
        eye = torch.eye(3, dtype=torch.float64)
        widen = Linear(2 * law.scale_tril[0], zero)
        return Flow(DiagonalNormal(zero, zero), [widen, Linear(0.5 * eye, law.mean)])


def test_a_flow_is_told_map_by_map(world):
    model = world.model()
    model.posterior = Exact(world)
    skip = [stage for stage in STAGES if stage != "log-dets"]
    x = world.data(4)[1]
    found = diagnose(model, x, FAMILIES, samples=10, skip=skip)
    torch.testing.assert_close(found.elbo.values, world.log_px(x))  # it is p(z|x) indeed
    widening = -0.5 * world.precision.logdet().item() + 3 * math.log(2)
    assert [(name, estimate.mean) for name, estimate in found.log_dets] == [
        ("Linear", pytest.approx(widening)),
        ("Linear", pytest.approx(-3 * math.log(2))),
    ]
    assert found.as_dict()["log_dets"][1]["map"] == "Linear"


def test_weights_that_score_nothing_are_said(world, one_sentence):
    model = world.model()
    model.posterior = Identity(3, 6).double()
    torch.nn.init.constant_(model.posterior.head.bias, torch.nan)
    with pytest.raises(NonFiniteError, match="diagnose other --weights") as error:
        diagnose(model, world.data(2)[1], FAMILIES, samples=10, skip=STAGES)
    one_sentence(str(error.value))


def test_the_families_are_the_runs_own_a_gaussian_and_a_richer_one(one_sentence):
    plugins = load_plugins(Selection(allowed=frozenset()))

    def of(name, richer=(), **options):
        layers = Layers()
        layers.add({"latent": 2, "posterior": {"name": name, **options}}, "the test")
        return families(layers.resolve(plugins), richer)

    assert [*of("identity")] == ["identity", "planar"]
    assert [*of("planar")] == ["planar", "identity", "mixture"]
    assert [*of("mixture", ["iaf", "planar"])] == ["mixture", "identity", "iaf", "planar"]
    found = of("planar", ["planar", "radial"], steps=3)
    assert [*found] == ["planar", "identity", "radial"]
    own = found["planar"](5)
    assert (type(own), own.steps, own.features) == (Planar, 3, 5)
    with pytest.raises(ConfigError, match="--richer nothing: unknown posterior") as error:
        of("identity", ["nothing"])
    one_sentence(str(error.value))


# The verdict's branches, of figures that are made.


def figure(mean, error=0.01, wave=1, n=100):
    """Values with this mean and standard error over images; those of two waves are uncorrelated."""
    values = torch.cos(wave * torch.pi * (torch.arange(n).double() + 0.5) / n)
    return PerImage(mean + values / values.std() * error * n**0.5, torch.full((n,), error).double())


def made(approximation, amortization, closed=0.0, *, error=0.01, width=0.01, **changed):
    zero = figure(0.0, 0.0)
    best = figure(-approximation, error)
    elbo = PerImage(best.values - figure(amortization, error, 2).values, best.errors)
    richer = PerImage(best.values + figure(closed, error, 3).values, best.errors)
    local = {
        name: LocalBounds(bound, zero, gain=0.2, converged=True)
        for name, bound in {"identity": best, "planar": richer}.items()
    }
    plain = Diagnosis(
        samples=10,
        elbo=elbo,
        log_px={"IWAE": zero},
        bracket=Bracket(zero, "IWAE", figure(width, 0.001)),
        local=local,
        gaps=split_gap(elbo, best, {"IWAE": zero}, {"planar": richer}),
        calibration=None,
        log_dets=None,
        active_units=3,
    )
    return dataclasses.replace(plain, **changed)


def test_a_split_is_said_with_its_errors():
    assert verdict(made(0.8, 1.3, 0.6)) == [
        "Of 2.10 ± 0.01 nats between log p(x) and the ELBO, 0.80 ± 0.01 are the family's "
        "(approximation), 1.30 ± 0.01 are the encoder's (amortization).",
        "A local planar q closes 0.60 ± 0.01 of the family's part and leaves 0.20 ± 0.01.",
        "On 100 simulated images the bounds of log p(x) from both sides are 0.010 ± 0.001 nats "
        "apart: as much may be missing from log p(x) and from the family's part, at most.",
    ]


@pytest.mark.parametrize(
    ("figures", "position", "said"),
    [
        ((0.8, 0.015), 1, "The encoder's (amortization) part is not distinguishable from 0."),
        ((0.015, 0.8), 1, "The family's (approximation) part is not distinguishable from 0."),
        (
            (0.01, 0.01),
            0,
            "The 0.02 ± 0.01 nats between log p(x) and the ELBO are not distinguishable from 0: "
            "there is no gap to split.",
        ),
        (
            (0.9, -0.2),
            1,
            "The encoder's q is better than the local identity q that was found: the family's part "
            "is too large by 0.20 ± 0.01 nats at least.",
        ),
        (
            (0.8, 1.3, 0.01),
            1,
            "A local planar q differs from a local identity q by 0.01 ± 0.01 nats, which are not "
            "distinguishable from 0.",
        ),
        (
            (0.8, 1.3, -0.3),
            1,
            "The optimization of the local planar q did not converge: it lost 0.30 ± 0.01 nats "
            "more than a local identity q, which is one of them.",
        ),
    ],
)  # fmt: skip
def test_what_is_not_sure_is_said(figures, position, said):
    assert verdict(made(*figures))[position] == said


def test_a_flow_that_its_gaussian_beats_is_not_blamed_for_the_difference():
    plain = made(0.8, 1.3)
    best, other = plain.local["identity"].elbo, figure(-0.5)
    local = {
        name: LocalBounds(bound, other, gain=0.0, converged=True)
        for name, bound in {"planar": best, "identity": other}.items()
    }
    gaps = split_gap(plain.elbo, best, {"IWAE": figure(0.0, 0.0)}, {"identity": other})
    said = verdict(dataclasses.replace(plain, local=local, gaps=gaps))
    assert "at most 0.50 ± 0.01 are the family's" in said[0]
    assert "at least 1.60 ± 0.0" in said[0]
    assert said[1].startswith(
        "The optimization of the local planar q did not converge: it lost 0.30"
    )
    assert not any("closes" in sentence for sentence in said)
    local = {"mine/planar": local["planar"], "identity": local["identity"]}
    said = verdict(dataclasses.replace(plain, local=local, gaps=gaps))
    assert "at most" not in said[0]
    assert said[1].startswith("A local identity q closes 0.30")


def test_a_code_that_is_unused_is_said_first():
    said = verdict(made(0.01, 0.3, active_units=0))
    assert said[0].startswith("The code is unused (0 active units)")
    assert not verdict(made(0.01, 0.3))[0].startswith("The code")


def test_the_doubt_is_in_the_first_sentence():
    assert (
        "0.80 ± 0.01 (or up to 0.22 more, by what log p(x) may miss) are the family's"
        in (verdict(made(0.8, 1.3, width=0.22))[0])
    )
    assert "or up to" not in verdict(made(0.8, 1.3, width=0.2))[0]


def test_a_bracket_that_is_too_wide_is_not_to_be_trusted():
    for figures, width, said in (
        ((0.8, 1.3), 0.22, "Do not trust the family's part: on 100 simulated images"),
        ((0.8, 1.3), 0.2099, "maybe too far; more --images tell."),  # of 0.21, ± 0.001
        ((0.8, 1.3), 0.2, "at most."),  # a tenth of the gap
        ((0.2, 0.3), 0.11, "Do not trust"),
        ((0.2, 0.3), 0.09, "at most."),
        ((0.2, 0.3), 0.001, "which is not distinguishable from 0."),
    ):
        assert said in verdict(made(*figures, width=width))[-1]


def test_an_optimization_that_has_not_ended_is_said():
    found = made(0.8, 1.3, 0.6)
    local = {n: dataclasses.replace(b, converged=False) for n, b in found.local.items()}
    own, other = verdict(dataclasses.replace(found, local=local))[2:4]
    assert own == (
        "The optimization of the local identity q has not converged (its last round gained 0.2 "
        "nats): the family's part may be smaller than that, and the encoder's larger."
    )
    assert other.endswith("the local planar q has not converged (its last round gained 0.2 nats): "
                          "it may be better than that.")  # fmt: skip


@pytest.mark.parametrize(
    ("power", "said"),
    [
        (lambda u: u, "finds nothing wrong"),
        (lambda u: u**1.3, "lies too high"),
        (lambda u: u**0.7, "lies too low"),
        (lambda u: 0.5 + 4 * (u - 0.5) ** 3, "is too wide"),
        (lambda u: 0.5 + 0.5 * (2 * (u - 0.5)).abs().sqrt() * (u - 0.5).sign(), "is too narrow"),
    ],
)
def test_calibration_says_how_q_is_wrong(power, said):
    generator = torch.Generator().manual_seed(0)
    u = torch.rand(1000, 2, generator=generator).double()
    u[:, 1] = power(u[:, 1])
    calibration = Calibration.of((u * 100).long().clamp(max=99), 99, 20)
    sentence = verdict(made(0.8, 1.3, calibration=calibration))[-1]
    assert said in sentence
    assert ("fails in 1 of 2" in sentence) == ("wrong" not in said)


def test_the_p_value_is_that_of_all_dimensions_together():
    """A dimension of p = 0.03 is nothing strange among twenty."""
    ranks = torch.arange(100)[:, None].expand(-1, 20)
    plain = Calibration.of(ranks, 99, 20)
    for p, said in ((0.03, "nothing wrong with q (p = 0.6 "), (0.001, "fails in 1 of 20")):
        values = plain.p_value.clone()
        values[3] = p
        calibration = dataclasses.replace(plain, p_value=values)
        assert said in verdict(made(0.8, 1.3, calibration=calibration))[-1]


def test_the_noisiest_bound_does_not_stand_for_log_p_of_x(world, monkeypatch):
    """Annealing that is a nat too high by chance, and says so by its error."""
    x = world.data(2)[1]
    lucky = PerImage(world.log_px(x) + 1, torch.full((2,), 2.0).double())
    monkeypatch.setattr(
        "vaeflow.diagnosis.diagnose.annealed",
        lambda *a, **k: type("Annealed", (), {"log_px": lucky}),
    )
    skip = [stage for stage in STAGES if stage != "ais"]
    found = diagnose(world.model(spread=1.2), x, {}, samples=500, temperatures=2, skip=skip)
    assert found.gaps.log_px_by == found.bracket.below_by == "IWAE"
