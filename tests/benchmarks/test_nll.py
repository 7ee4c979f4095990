"""The benchmark of the NLL, in small: one epoch on the digits."""

import json
import sys

import pytest
import torch
from click.testing import CliRunner

from vaeflow.evaluation import PerImage
from vaeflow.evaluation.proposals.marginal import Marginal


def test_the_script_measures_each_way(script, tmp_path, monkeypatch):
    small = {"dataset": "digits", "encoder": {"hidden": [8]}, "decoder": {"hidden": [8]}}
    monkeypatch.setattr(script, "SETTINGS", {**script.SETTINGS, **small})
    monkeypatch.setattr(script, "SWEEP_K", (2, 20))
    monkeypatch.setattr(script, "SWEEP_TOLERANCES", (0.5,))
    monkeypatch.setattr(script, "LARGE", 20)
    monkeypatch.setattr(script, "K", 10)
    monkeypatch.setattr(script, "BATCHES", (1, 2))
    monkeypatch.setattr(sys.modules["shared.proposals"], "K", 10)
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    monkeypatch.setattr(sys.modules["shared.common"], "RESULTS", tmp_path)
    args = ["--latent", 2, "--epochs", 1, "--images", 4, "--few", 2, "--rounds", 1]
    args = [str(word) for word in (*args, "--work", tmp_path / "runs")]
    result = CliRunner().invoke(script.main, args, catch_exceptions=False)
    assert result.exit_code == 0
    figures = json.loads((tmp_path / "nll.json").read_text(encoding="utf-8"))
    assert {*figures["runs"]} == {"identity-L2", "planar-L2"}
    one = figures["runs"]["identity-L2"]
    assert one["figures"][script.ONE]["mean_draws"] == 10
    assert [p["images"] for p in one["sweep"]] == [2, 2, 2]
    assert (tmp_path / "nll.png").stat().st_size < 60_000
    assert str(tmp_path) not in (tmp_path / "nll.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in result.output


def test_a_difference_is_paired_by_image(script):
    def found(values):
        n = len(values)
        nll = PerImage(torch.tensor(values).double(), torch.full((n,), 0.3).double())
        ones = torch.ones(n, dtype=torch.float64)
        return Marginal(nll, ones, ones, ones.long())

    told = script.described(found([12.0, 22.0]), found([10.0, 20.0, 300.0]))
    assert told["above_fitted"] == pytest.approx(2)
    assert told["above_fitted_error"] == pytest.approx(0.3)  # √(2 · 0.3²) / √2
    assert told["share_unreliable"] == 1
