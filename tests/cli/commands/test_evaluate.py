"""`vaeflow evaluate`: repeatable figures, stored beside an unchanged run."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch

from vaeflow.runs.directory import Run
from vaeflow.version import __version__


@pytest.fixture
def figures(cli, trained):
    def evaluate(*words, run=trained, k=3):
        done = cli("evaluate", run, "-k", k, "--json", *words)
        assert (done.code, done.err) == (0, ""), done.err
        return json.loads(done.out)

    return evaluate


def test_json_names_the_data_and_the_weights(figures, trained):
    found = figures("--importance-samples", 5)
    stated = {k: v for k, v in found.items() if not isinstance(v, dict)}
    assert stated.pop("run_id") == Run(trained).id
    for name in ("images_sha256", "weights_sha256", "config_sha256"):
        assert len(stated.pop(name)) == 64
    kinds = [finding["kind"] for finding in stated.pop("findings")]
    assert kinds == ["pareto-k", "nll-draws", "active-units", "information-limited"]
    epoch = json.loads((trained / "summary.json").read_text())["best_epoch"]
    assert stated == {
        "run": str(trained),
        "dataset": "vaeflow/file",
        "split": "test",
        "binarization": "dynamic",
        "dequantize": None,
        "weights": "best",
        "epoch": epoch,
        "step": 3 * epoch,
        "seed": 0,
        "images": 6,
        "samples": 5,
        "proposal": "laplace",
        "tolerance": 0.05,
        "max_draws": 10_000,
        "unsettled": [],
        "fell_back": "",
        "referee": None,
        "vaeflow": __version__,
        "torch": torch.__version__,
        "device": "cpu",
    }
    for name in ("elbo", "log_px", "kl", "nll", "under_q", "bits_per_dimension", "squared_error"):
        assert set(found[name]) == {"mean", "standard_error", "monte_carlo_error"}
        assert found[name]["monte_carlo_error"] > 0
    assert 1 < found["effective_sample_size"]["mean"] <= found["draws"]["mean"]
    code = found["code"]
    parts = code["mutual_information"]["mean"] + code["marginal_kl"]["mean"]
    assert parts == pytest.approx(code["kl"]["mean"])
    assert (code["images"], code["latent"], code["unknown"]) == (6, 3, None)


def test_the_figures_equal_the_summary_of_the_training(figures, trained):
    summary = json.loads((trained / "summary.json").read_text())
    found = figures()
    for name in ("elbo", "log_px", "kl", "nll"):
        assert found[name] == summary[name]


def test_a_repeated_call_gives_equal_figures_and_keeps_the_run(figures, trained, snapshot):
    def other_files():
        return {k: v for k, v in snapshot(trained).items() if not k.startswith("evaluations")}

    before = other_files()
    first = figures("--again")
    assert figures("--again") == first
    chunked = figures("--again", "--chunk", 1)  # which rounds differently
    for name in ("elbo", "log_px", "kl", "nll", "squared_error", "effective_sample_size"):
        for kind in ("mean", "standard_error"):
            assert chunked[name][kind] == pytest.approx(first[name][kind], rel=1e-5)
    assert other_files() == before


def test_more_importance_samples_tighten_the_bound(figures):
    one, many = figures(k=1), figures(k=300)
    assert one["under_q"]["mean"] == pytest.approx(-one["elbo"]["mean"])
    assert many["under_q"]["mean"] < one["under_q"]["mean"]


def test_every_split_can_be_evaluated(figures):
    counts = {s: figures("--split", s)["images"] for s in ("train", "validation", "test")}
    assert counts == {"train": 24, "validation": 8, "test": 6}


def test_the_last_weights_can_be_evaluated(figures):
    assert figures("--weights", "last")["weights"] == "last"


def test_the_table_shows_standard_errors(cli, trained):
    done = cli("evaluate", trained, "-k", 40, "--device", "cpu", "--again")
    assert (done.code, done.err) == (0, "")
    assert "6 images of the test data, binarization dynamic" in done.out
    rows = {
        row[1].strip(): row[2:4]
        for line in done.out.splitlines()
        if len(row := line.split("│")) > 3
    }
    assert list(rows) == [
        "ELBO",
        "log p(x|z)",
        "− KL(q‖p)",
        "NLL, proposal laplace",
        "bits per dimension",
        "bound under q, K = 40",
        "effective sample size",
        "reconstruction, squared error",
        "I(x; z), from below",
        "KL(q(z)‖p), from above",
    ]
    for name, (mean, error) in rows.items():
        assert "±" in mean
        known = name not in (
            "effective sample size",
            "I(x; z), from below",
            "KL(q(z)‖p), from above",
        )
        assert bool(error.strip()) == known, name
    k, draws, units, information = done.out.splitlines()[
        -4:
    ]  # a line each, so that a log can be searched
    assert k.startswith("Pareto-k̂ of the weights ")
    assert k.endswith("% of the examples")
    assert re.fullmatch(
        r"the NLL takes [\d,]+ draws an example, which leave an error of 0.0\d+ nats \(median\)",
        draws,
    )
    assert re.fullmatch(
        r"active units \d of 3, and \d undecided from 6 examples: more examples would tell", units
    )
    assert information.startswith(
        "I(x; z) and KL(q(z)‖p) are estimated from 6 examples, and so I(x; z)"
    )


def test_a_stored_evaluation_is_shown_at_once(cli, trained):
    words = ("evaluate", trained, "-k", 4)
    first, again = cli(*words, "--again"), cli(*words)
    told, rest = again.out.split("\n", 1)
    assert told.startswith(f"as kept in {trained}/evaluations/test-laplace-k4-best.safetensors")
    assert rest == first.out


def test_limit_takes_the_first_images(figures):
    found = figures("--limit", 2)
    assert (found["images"], found["code"]["images"]) == (2, 2)
    assert figures("--limit", 6)["nll"] == figures()["nll"]


def test_ctrl_c_says_that_the_same_command_continues(cli, run_copy, monkeypatch):
    def stop(*words, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("vaeflow.runs.evaluation.describe_latent_code", stop)
    done = cli("evaluate", run_copy, "-k", 6, "--json")
    assert done.code == 130
    assert done.err == "Interrupted after 6 of 6 images; the same command goes on there.\n"
    monkeypatch.undo()
    assert json.loads(cli("evaluate", run_copy, "-k", 6, "--json").out)["images"] == 6


def test_a_terminal_shows_a_bar_with_the_time_left(cli, trained, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    done = cli("evaluate", trained, "-k", 5, "--again", terminal=True)
    assert done.code == 0, done.err
    assert "6/6 test images" in done.out
    assert "6/6 images of the latent code" in done.out
    assert "0:00:00" in done.out
    assert done.out.count("\x1b[?25l") == done.out.count("\x1b[?25h") > 0  # the cursor is back


def test_data_root_finds_moved_data(cli, tiny, grey_file, here):
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


def test_the_referee_anneals_images_that_the_draws_leave_unsettled(figures):
    few = ("--max-draws", 40, "--tolerance", 1e-3, "--limit", 3, "--again")
    found = figures(*few, "--referee", 2)
    assert found["unsettled"] == [0, 1, 2]
    told = found["referee"]
    assert told["images"] == [0, 1]
    for ours, error, annealed, noise in zip(
        *(told[by][of] for by in ("proposal", "annealed") for of in ("values", "errors")),
        strict=True,
    ):
        assert abs(ours - annealed) < 4 * (error**2 + noise**2) ** 0.5 + 0.02
    (finding,) = (f for f in found["findings"] if f["kind"] == "referee")
    assert finding["sentence"].startswith("annealing of 2 unsettled examples gives an NLL of ")
    assert figures(*few)["referee"] is None
