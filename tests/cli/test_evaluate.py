"""`vaeflow evaluate`: the same figures at each call, and a run that is left as it was."""

from __future__ import annotations

import json
import shutil

import pytest


@pytest.fixture
def figures(cli, trained):
    def evaluate(*words, run=trained, k=3):
        done = cli("evaluate", run, "-k", k, "--json", *words)
        assert (done.code, done.err) == (0, ""), done.err
        return json.loads(done.out)

    return evaluate


def test_json_states_what_the_figures_are_of(figures, trained):
    found = figures("--importance-samples", 5)
    assert {k: v for k, v in found.items() if not isinstance(v, dict)} == {
        "run": str(trained),
        "dataset": "vaeflow/file",
        "split": "test",
        "binarization": "dynamic",
        "dequantize": None,
        "weights": "best",
        "seed": 0,
        "images": 6,
        "samples": 5,
    }
    for name in ("elbo", "log_px", "kl", "nll", "bits_per_dimension"):
        assert set(found[name]) == {"mean", "standard_error"}


def test_the_figures_are_those_that_ended_the_training(figures, trained):
    summary = json.loads((trained / "summary.json").read_text())
    found = figures()
    for name in ("elbo", "log_px", "kl", "nll"):
        assert found[name] == summary[name]


def test_the_same_call_gives_the_same_figures_and_leaves_the_run_alone(figures, trained, snapshot):
    before = snapshot(trained)
    assert figures() == figures()
    assert snapshot(trained) == before


def test_more_importance_samples_tighten_the_bound(figures):
    one, many = figures(k=1), figures(k=300)
    assert one["nll"]["mean"] == pytest.approx(-one["elbo"]["mean"])
    assert many["nll"]["mean"] < one["nll"]["mean"]


def test_every_split_can_be_evaluated(figures):
    counts = {s: figures("--split", s)["images"] for s in ("train", "validation", "test")}
    assert counts == {"train": 24, "validation": 8, "test": 6}


def test_the_last_weights_can_be_evaluated(figures):
    assert figures("--weights", "last")["weights"] == "last"


def test_without_json_a_table_with_standard_errors_is_printed(cli, trained):
    done = cli("evaluate", trained, "-k", 4, "--device", "cpu")
    assert (done.code, done.err) == (0, "")
    assert "6 images of the test data, binarization dynamic" in done.out
    assert "NLL, 4 importance samples" in done.out
    assert done.out.count("±") == 6  # the heading and five rows


def test_data_that_moved_is_found_by_its_root(cli, tiny, grey_file, here):
    data = here / "old"
    data.mkdir()
    shutil.copy(grey_file, data / "x.npz")
    for run, words in {
        "absolute": ("--dataset.path", data / "x.npz"),
        "rooted": ("--dataset.path", "x.npz", "--data-root", data),
    }.items():
        done = cli(
            "train", *tiny, "--no-tensorboard", "--dataset", "file", *words, "--run-dir", run
        )
        assert done.code == 0, done.err
    data.rename(here / "new")
    for run in ("absolute", "rooted"):
        done = cli("evaluate", run, "-k", 2, "--json")
        assert done.code == 3
        assert "old/x.npz is no file: check --dataset.path and --data-root" in done.err
        done = cli("evaluate", run, "-k", 2, "--json", "--data-root", "new")
        assert done.code == 0, done.err
        assert json.loads(done.out)["images"] == 6
