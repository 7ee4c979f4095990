"""NUTS as the referee of a diagnosis, where the posterior and log p(x) are known."""

import json
from contextlib import nullcontext

import pytest
import torch

from vaeflow.diagnosis.diagnose import diagnose
from vaeflow.diagnosis.nuts import NUTS, Chains, findings, referee
from vaeflow.diagnosis.options import DiagnosisOptions
from vaeflow.diagnosis.stored import StageFiles
from vaeflow.evaluation import PerImage
from vaeflow.model import VAE
from vaeflow.parts import encoders, likelihoods, posteriors, priors
from vaeflow.parts.abstract import Decoder

N = 6
SHORT = Chains(draws=200, warmup=80)


@pytest.fixture(scope="module")
def found(world):
    return referee(world.model(diagonal=True, shift=0.3, spread=0.6), world.data(N)[1], SHORT)


def test_moments_are_those_of_the_exact_posterior(world, found):
    x = world.data(N)[1]
    q = world.model(diagonal=True, shift=0.3, spread=0.6).infer(x)
    exact = world.posterior(x)
    spread = (q.variance.sqrt() / exact.variance.sqrt()).log().mean(-1)
    assert (found.spread - spread).abs().max() < 0.12
    shift = ((q.mean - exact.mean) / exact.variance.sqrt()).square().mean(-1).sqrt()
    assert (found.shift - shift).abs().max() < 0.2
    assert found.settled.all()
    assert found.effective.min() > 100


def test_log_px_is_known_within_its_error(world, found):
    away = (found.log_px.values - world.log_px(world.data(N)[1])) / found.log_px.errors
    assert found.log_px.errors.max() < 0.06
    assert away.abs().max() < 5
    assert away.square().mean() < 4


def test_it_is_repeated_and_kept_to_the_bit(world):
    x, few = world.data(2)[1], Chains(draws=8, warmup=8)
    one, two = (referee(world.model(diagonal=True), x, few) for _ in range(2))
    assert torch.equal(one.log_px.values, two.log_px.values)
    assert NUTS.unpack(NUTS.pack(one)).as_dict() == one.as_dict()


def test_findings_tell_a_narrow_q_and_a_wrong_bound(world, found):
    exact, zero = world.log_px(world.data(N)[1]), torch.full((N,), 0.01, dtype=torch.float64)
    bounds = {"AIS": PerImage(exact, zero), "IWAE": PerImage(exact - 0.5, zero)}
    posterior, agrees, differs = findings(found, bounds)
    assert posterior.kind == "nuts-posterior"
    assert "q is narrower than the posterior" in str(posterior)
    assert (agrees.kind, agrees.subject) == ("nuts-agrees", "AIS")
    assert (differs.kind, differs.subject) == ("nuts-differs", "IWAE")
    assert "nats below its estimate" in str(differs)


class Square(Decoder):
    """z², of which two z are the cause."""

    def __init__(self):
        super().__init__(1, (1,))

    def forward(self, z):
        return z.square()


def test_chains_in_two_modes_are_not_trusted():
    torch.manual_seed(0)
    model = VAE(
        encoders.MLP((1,), hidden=(4,)), posteriors.Identity(1, 4), priors.Normal(1, (1,)),
        Square(), likelihoods.Gaussian((1,), sigma=0.1),
    )  # fmt: skip
    seen = referee(model, torch.full((3, 1), 4.0), Chains(draws=40, warmup=40, chains=6))
    assert not seen.settled.all()
    first = next(iter(findings(seen, {})))
    assert first.kind == "nuts-not-settled"
    assert f"not settled on {int((~seen.settled).sum())} of 3 examples" in str(first)


def test_a_diagnosis_measures_it_once(world, tmp_path):
    model, x = world.model(diagonal=True), world.data(5)[1]
    skip = ("ais", "gaps", "calibration", "log-dets")
    options = DiagnosisOptions(samples=500, skip=skip, nuts=2)
    stages = []

    def progress(total, what, done=0):
        stages.append((what, total))
        return nullcontext(lambda count: None)

    keeper = StageFiles(tmp_path, {})
    first = diagnose(model, x, {}, options, keeper=keeper, progress=progress)
    assert ("NUTS", 2) in stages
    again = diagnose(model, x, {}, options, keeper=StageFiles(tmp_path, {}), progress=progress)
    assert [what for what, _ in stages].count("NUTS") == 1
    assert again.as_dict() == first.as_dict()
    kinds = {finding.kind for finding in first.findings}
    assert {"nuts-posterior", "nuts-agrees"} <= kinds
    assert json.loads(json.dumps(first.as_dict()))["nuts"]["images"] == 2


def test_the_command_says_it(cli, run_copy, tmp_path):
    done = cli(
        "diagnose", run_copy, "--nuts", 2, "--images", 3, "--importance-samples", 50, "--skip",
        "gaps", "--skip", "calibration", "--skip", "ais", "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "NUTS: " in done.out
    assert "NUTS" in done.out.split("NUTS: ")[1]
    assert json.loads((tmp_path / "out" / "diagnosis.json").read_text())["nuts"]["images"] == 2
