"""The learning curves of runs: as metrics.jsonl has them, called as comparisons call the runs."""

import shutil

import numpy as np
import pytest

import vaeflow
from vaeflow.comparison.curves import Curve, Curves
from vaeflow.errors import CheckpointError, ConfigError
from vaeflow.runs.directory import Run


def test_curves_are_the_records_of_the_runs(trained, people_run, tmp_path):
    found = vaeflow.curves(trained, people_run)
    for curve, path in zip(found.each, (trained, people_run), strict=True):
        run = Run.open(path)
        assert curve.validation.tolist() == [r["validation/elbo"] for r in run.metrics]
        assert curve.train.tolist() == [r["train/elbo"] for r in run.metrics]
        assert curve.best == run.summary["best_epoch"]
    assert [curve.label for curve in found.each] == [curve.name for curve in found.each]  # in all
    assert found.columns["epoch"].tolist() == [1, 2, 1]
    assert found.columns["best"].sum() == 2
    axes = found.figure().axes[0]
    marked = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in marked] == [c.best for c in found.each]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "ELBO, nats per example")


def test_runs_that_differ_in_their_seed_are_told_apart(trained, run_copy, cli, here):
    text = (run_copy / "config.toml").read_text("utf-8")
    (run_copy / "config.toml").write_text(text.replace("seed = 0", "seed = 5"))
    found = vaeflow.curves([trained, run_copy])
    assert [curve.label for curve in found.each] == ["planar (seed 0)", "planar (seed 5)"]
    for name in ("curves.svg", "curves.npz"):
        done = cli("curves", trained, run_copy, "--out", name)
        assert (done.code, done.out) == (0, f"wrote {name}\n"), done.err
    assert np.load("curves.npz")["epoch"].tolist() == [1, 2, 1, 2]


def test_the_first_epochs_are_cut_off_with_a_word():
    steep = np.array([-900.0, -90, -80, -75, -72.5])
    found = Curves((Curve("planar", "a", np.arange(1, 6), steep, steep + 1, 5),))
    axes = found.figure().axes[0]
    assert axes.get_ylim()[0] > -100
    assert [text.get_text() for text in axes.texts] == ["the first epochs begin below, at -900.0"]
    flat = Curves((Curve("planar", "a", np.arange(1, 6), steep[-1:].repeat(5), steep + 800, 5),))
    assert not flat.figure().axes[0].texts


def test_a_run_without_an_epoch_is_left_out_or_refused(trained, run_copy, tmp_path, caplog):
    (run_copy / "metrics.jsonl").unlink()
    (run_copy / "status.json").unlink()
    assert len(vaeflow.curves(trained, run_copy).each) == 1
    assert "copy is left out: it has finished no epoch" in caplog.text
    with pytest.raises(ConfigError, match="none of the runs has finished an epoch"):
        vaeflow.curves(run_copy)
    with pytest.raises(CheckpointError):
        vaeflow.curves(tmp_path)
    shutil.rmtree(run_copy)
