"""A run directory of an earlier version loads, evaluates, resumes and compares.

tests/runs/first_round is the run of `vaeflow train --posterior planar --posterior.steps 2
--encoder.hidden 8 --decoder.hidden 8 --latent 2 --epochs 2 --no-tensorboard --device cpu
--threads 1` by the code of commit d560ea0. The same code trained the third epoch below.
tests/runs/second_round is the same run by the code of commit c5b6264, whose checkpoints hold the
configuration.
"""

import json
import shutil
from pathlib import Path

import pytest

import vaeflow
from vaeflow.runs.directory import Run

HERE = Path(__file__).parent
THIRD = {"train/elbo": -43.940861598289096, "validation/elbo": -43.5394580078125}


@pytest.fixture(params=["first_round", "second_round"])
def old(request, tmp_path):
    return Path(shutil.copytree(HERE / request.param, tmp_path / "run"))


def test_an_older_run_loads(old):
    model = vaeflow.load(old)
    assert model.sample(3).shape == (3, 1, 8, 8)
    assert type(model.posterior) is vaeflow.posteriors.Planar


def test_an_older_run_evaluates_to_equal_figures(old, cli):
    done = cli("evaluate", old, "--proposal", "q", "-k", 100, "--json")
    assert done.code == 0, done.err
    found, before = json.loads(done.out), Run(old).summary
    before["nll"] = before.get("under_q", before["nll"])  # once, the NLL was the bound under q
    for name in ("elbo", "nll", "kl"):
        assert found[name]["mean"] == pytest.approx(before[name]["mean"], abs=1e-4)


def test_an_older_run_resumes_to_equal_figures(old, cli):
    done = cli("resume", old, "--epochs", 3)
    assert done.code == 0, done.err
    last = Run(old).metrics[-1]
    assert last["epoch"] == 3
    for name, value in THIRD.items():
        assert last[name] == pytest.approx(value, abs=1e-4)


def test_an_older_run_compares_with_a_new_run(old, tmp_path):
    small = {"encoder": ("mlp", {"hidden": [8]}), "decoder": ("mlp", {"hidden": [8]})}
    new = vaeflow.train(
        tmp_path / "new", latent=2, epochs=2, tensorboard=False, device="cpu", threads=1, **small
    )
    found = vaeflow.compare(old, new, proposal="q", samples=20)
    assert found.versus["planar"].baseline == "identity"
