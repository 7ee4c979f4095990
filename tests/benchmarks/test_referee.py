"""The benchmark of the referee, in small: one epoch on the digits."""

import json
import sys

import pytest
import torch
from click.testing import CliRunner

from vaeflow.evaluation import PerImage


def test_the_script_measures_each_posterior(script, tmp_path, monkeypatch):
    small = {"encoder": {"hidden": [8]}, "decoder": {"hidden": [8]}, "latent": 2}
    monkeypatch.setattr(script, "SETTINGS", {**script.SETTINGS, **small})
    monkeypatch.setattr(script, "POSTERIORS", ("identity", "mixture"))
    monkeypatch.setattr(sys.modules["shared.common"], "RESULTS", tmp_path)
    args = ["--epochs", 1, "--images", 3, "--simulated", 2, "--temperatures", 10, "--chains", 2]
    args = [str(word) for word in (*args, "--work", tmp_path / "runs")]
    result = CliRunner().invoke(script.main, args, catch_exceptions=False)
    assert result.exit_code == 0
    runs = json.loads((tmp_path / "referee.json").read_text(encoding="utf-8"))["runs"]
    assert {*runs} == {"identity", "mixture"}
    for one in runs.values():
        lengths = {name: len(part["values"]) for name, part in one.items()}
        assert lengths == {"nll": 3, "annealing": 3, "gap_simulated": 2}
    assert str(tmp_path) not in result.output


def test_the_error_is_of_the_draws_and_of_the_gap(script):
    def images(*values, error):
        return PerImage(torch.tensor(values).double(), torch.full((len(values),), error).double())

    one = script.Refereed(
        nll=images(10.0, 20.0, error=0.0),
        annealing=images(10.1, 20.3, error=0.02 * 2**0.5),
        gap=images(0.02, 0.04, error=0.0),
    )
    assert one.difference.over_images.mean == pytest.approx(0.2)
    # The draws' error is 0.02; the gap is 0.03, its standard error over two images 0.01.
    assert one.error == pytest.approx((0.02**2 + 0.03**2 + 0.01**2) ** 0.5)
    assert one.row("x")[-1] == "+5.3"
