"""A diagnosis of a model whose bounds are known in closed form."""

import json
import math
from contextlib import contextmanager

import pytest
import torch

from vaeflow.config.layers import Layers
from vaeflow.diagnosis.calibration import simulate
from vaeflow.diagnosis.diagnose import diagnose
from vaeflow.diagnosis.local_bounds import Optimization
from vaeflow.diagnosis.options import STAGES, DiagnosisOptions
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
LOCAL = Optimization(steps=250, lr=0.05, rounds=2, tolerance=0.002)


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
    return diagnose(model, x, FAMILIES, DiagnosisOptions(**SHORT, local=LOCAL), progress=progress)


def test_every_estimate_is_the_known_value_within_its_error(world, found):
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
    assert bracket.below_by == "Laplace"  # AIS is lower after so few steps
    assert below.values.mean().abs() < 4 * below.monte_carlo_error < 0.1
    # An annealing of 60 steps is above by some tenths of a nat.
    assert -4 * above.monte_carlo_error < above.values.mean() < 0.3
    torch.testing.assert_close(bracket.width.values, above.values - below.values)


def test_coarse_annealing_is_below_on_one_side_and_above_on_the_other(world):
    skip = [stage for stage in STAGES if stage != "ais"]
    x = world.data(N)[1]
    model = world.model(spread=1.3)
    found = diagnose(
        model, x, {}, DiagnosisOptions(samples=1000, temperatures=4, chains=8, skip=skip)
    )
    _, made = simulate(model, N)
    assert (found.log_px["AIS"].values - world.log_px(x)).mean() < -0.3
    assert (found.bracket.above.values - world.log_px(made)).mean() > 0.3


def test_the_findings_repeat_the_measurements(found):
    split, closes, *_, calibration = found.findings
    assert (split.kind, split.subject) == ("gap-split", "identity")
    assert split.estimate == found.gaps.total.over_images.mean
    assert split.details["approximation"] == found.gaps.approximation.over_images
    assert 0 < split.details["may_be_missing"] < 1  # 60 temperatures
    assert (closes.kind, closes.subject) == ("family-closes", "full-gaussian")
    assert calibration.kind == "calibration-failed"
    assert calibration.details["wrong"] == 3
    assert str(found).startswith("Of ")


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


def test_a_diagnosis_is_plain_json(found):
    told = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert (told["images"], told["samples"], told["log_dets"]) == (N, 1000, None)
    assert told["gaps"]["approximation"] == found.gaps.approximation.as_dict()
    assert told["simulated"]["width"]["mean"] == found.bracket.width.values.mean().item()
    assert sum(told["calibration"]["counts"][0]) == 1000
    assert told["local"]["identity"]["converged"] is True


def test_a_skipped_stage_leaves_no_measurement_and_no_finding(world):
    x = world.data(2)[1]
    found = diagnose(
        world.model(spread=1.3), x, FAMILIES, DiagnosisOptions(samples=2000, skip=STAGES)
    )
    assert (found.bracket, found.local, found.calibration, found.log_dets) == (None, {}, None, None)
    assert [*found.as_dict()["gaps"]] == ["log_px_by", "log_px", "total"]
    assert [(f.kind, f.subject) for f in found.findings] == [
        ("units-undecided", "the latent code"),  # of which two images tell little
        ("gap-not-split", "log p(x) − ELBO"),
        ("bounded-from-below", "IWAE"),
    ]


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


def test_a_flow_has_a_log_det_for_each_map(world):
    model = world.model()
    model.posterior = Exact(world)
    skip = [stage for stage in STAGES if stage != "log-dets"]
    x = world.data(4)[1]
    found = diagnose(model, x, FAMILIES, DiagnosisOptions(samples=10, skip=skip))
    torch.testing.assert_close(found.elbo.values, world.log_px(x))  # it is p(z|x) indeed
    widening = -0.5 * world.precision.logdet().item() + 3 * math.log(2)
    assert [(name, estimate.mean) for name, estimate in found.log_dets] == [
        ("Linear", pytest.approx(widening)),
        ("Linear", pytest.approx(-3 * math.log(2))),
    ]
    assert found.as_dict()["log_dets"][1]["map"] == "Linear"


def test_weights_that_score_nothing_are_refused(world, one_sentence):
    model = world.model()
    model.posterior = Identity(3, 6).double()
    torch.nn.init.constant_(model.posterior.head.bias, torch.nan)
    with pytest.raises(NonFiniteError, match="diagnose other --weights") as error:
        diagnose(model, world.data(2)[1], FAMILIES, DiagnosisOptions(samples=10, skip=STAGES))
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


def test_the_noisiest_bound_does_not_stand_for_log_p_of_x(world, monkeypatch):
    """Annealing that is a nat too high by chance, and says so by its error."""
    x = world.data(2)[1]
    lucky = PerImage(world.log_px(x) + 1, torch.full((2,), 2.0).double())
    monkeypatch.setattr(
        "vaeflow.diagnosis.stages.annealed",
        lambda *a, **k: type("Annealed", (), {"log_px": lucky}),
    )
    skip = [stage for stage in STAGES if stage != "ais"]
    found = diagnose(
        world.model(spread=1.2), x, {}, DiagnosisOptions(samples=500, temperatures=2, skip=skip)
    )
    assert found.gaps.log_px_by == found.bracket.below_by == "IWAE"
