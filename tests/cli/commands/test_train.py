"""`vaeflow train`: its files, its output and its exit codes."""

from __future__ import annotations

import json
import math
import signal
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TERMS = ("elbo", "loss", "log_px", "log_pz", "log_q0", "log_det", "kl")
SETTINGS = ("beta", "lr", "grad_norm", "images_per_second", "active_units", "undecided_units")
NAMES = [f"{split}/{term}" for split in ("train", "validation") for term in TERMS]


@pytest.fixture
def train(cli, tiny, grey_file, here):
    """Train on the small file in an empty working directory, without TensorBoard."""

    def run(*words):
        data = ("--dataset", "file", "--dataset.path", grey_file)
        return cli("train", *tiny, "--no-tensorboard", *data, *words)

    return run


def records(run: Path) -> list[dict]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "sha256"} for line in lines]


def read(run: Path, name: str) -> dict:
    found = json.loads((run / name).read_text())
    found.pop("sha256", None)
    return found


def test_train_fills_a_run_directory_and_prints_its_figures(train, here):
    done = train("--posterior", "planar")
    assert (done.code, done.err) == (0, "")
    (run,) = (here / "runs").iterdir()
    assert run.name.endswith("-planar-file-s0")
    assert sorted(p.name for p in run.iterdir()) == [
        "checkpoints",
        "config.toml",
        "environment.json",
        "lock",
        "metrics.jsonl",
        "status.json",
        "summary.json",
    ]
    assert read(run, "status.json") == {"state": "completed", "epoch": 1, "step": 3}
    (checkpoint,) = (run / "checkpoints").iterdir()
    assert checkpoint.name == "step-00000003"
    lines = done.out.splitlines()
    assert "posterior planar" in lines[0]
    assert lines[1] == "24 / 8 / 6 train / validation / test examples, binarization dynamic"
    path = run.relative_to(here)
    assert lines[2].startswith("dynamic: each level is drawn as 0 or 1 at each visit; --likelihood")
    assert lines[3] == f"run directory {path}"
    assert lines[4].startswith("epoch 1/1  loss ")
    table = [line for line in lines if "│" in line]
    assert [row.split("│")[1].strip() for row in table] == [
        "ELBO",
        "log p(x|z)",
        "− KL(q‖p)",
        "NLL, proposal laplace",
        "bits per dimension",
        "bound under q, K = 3",
    ]
    assert all("±" in row for row in table)
    assert lines[lines.index("Next:") + 1 :] == [
        f"  vaeflow evaluate {path}",
        f"  vaeflow sample {path} -n 64 --out samples.png",
        f"  vaeflow reconstruct {path} --out reconstructions.png",
    ]


def test_suggested_commands_quote_the_path(train):
    done = train("--run-dir", "my run")
    assert done.code == 0
    assert "vaeflow evaluate 'my run'\n" in done.out


def test_the_summary_names_its_data_and_weights(trained):
    summary = read(trained, "summary.json")
    stated = {k: summary[k] for k in ("dataset", "split", "binarization", "weights", "images")}
    assert stated == {
        "dataset": "vaeflow/file",
        "split": "test",
        "binarization": "dynamic",
        "weights": "best",
        "images": 6,
    }
    assert summary["samples"] == 3
    for name in ("elbo", "log_px", "kl", "nll"):
        assert math.isfinite(summary[name]["mean"])
        assert summary[name]["standard_error"] > 0
    assert summary["elbo"]["mean"] == pytest.approx(
        summary["log_px"]["mean"] - summary["kl"]["mean"]
    )
    assert -summary["nll"]["mean"] >= summary["elbo"]["mean"]  # Jensen
    assert summary["best_epoch"] in (1, 2)


def test_metrics_are_complete_and_consistent(trained):
    assert [(r["epoch"], r["step"]) for r in records(trained)] == [(1, 3), (2, 6)]
    for r in records(trained):
        assert set(r) == {"epoch", "step", "seconds", *SETTINGS, *NAMES}
        assert all(math.isfinite(value) for value in r.values())
        for split in ("train", "validation"):
            kl = r[f"{split}/log_q0"] - r[f"{split}/log_det"] - r[f"{split}/log_pz"]
            assert r[f"{split}/kl"] == pytest.approx(kl)
            assert r[f"{split}/elbo"] == pytest.approx(r[f"{split}/log_px"] - kl)
            # At β = 1 under a likelihood whose log p(x|z) is at most 0.
            assert r[f"{split}/loss"] == pytest.approx(-r[f"{split}/elbo"])
        assert (r["beta"], r["lr"]) == (1, 1e-3)
        assert r["grad_norm"] > 0
        assert r["images_per_second"] > 0
        assert 0 <= r["active_units"] <= r["active_units"] + r["undecided_units"] <= 3


def test_vectors_train_without_pictures(cli, tiny, here):
    np.save("vectors.npy", np.random.RandomState(0).randn(30, 5))
    done = cli(
        "train", *tiny, "--dataset", "file", "--dataset.path", "vectors.npy", "--likelihood",
        "gaussian", "--run-dir", "run",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    board = EventAccumulator("run/validation")
    board.Reload()
    assert board.Tags()["images"] == []
    assert "bound/elbo" in board.Tags()["scalars"]
    assert read(here / "run", "summary.json")["binarization"] == "none"


def test_signals_and_data_around_0_are_drawn(cli, tiny, here):
    x = {"signals": np.linspace(-1, 1, 30 * 20).reshape(30, 20)}
    x["pictures"] = x["signals"].reshape(30, 1, 4, 5)
    for name, values in x.items():
        np.save(f"{name}.npy", values)
        done = cli(
            "train", *tiny, "--dataset", "file", "--dataset.path", f"{name}.npy", "--likelihood",
            "gaussian", "--run-dir", name,
        )  # fmt: skip
        assert (done.code, done.err) == (0, "")
        assert f"  vaeflow sample {name} -n 64 --out samples.png" in done.out.splitlines()
        board = EventAccumulator(f"{name}/validation")
        board.Reload()
        assert board.Tags()["images"] == ["pictures/reconstructions", "pictures/samples"]
        done = cli("reconstruct", name, "--out", f"{name}.png", "-n", 2)
        assert done.code == 0
    cli("reconstruct", "pictures", "--out", "x.npz", "-n", 2)
    with np.load("x.npz") as found, Image.open("pictures.png") as picture:
        factor = picture.height // (4 + 2)
        tile = np.asarray(picture)[::factor, ::factor][1:5, 1:6]
        assert np.array_equal(tile, ((found["images"][0, 0] + 1) / 2 * 255).round())


def test_a_collapsed_posterior_is_told_with_what_helps(train, monkeypatch):
    for least, collapsed in ((-1e9, False), (1e9, True)):
        monkeypatch.setattr("vaeflow.evaluation.bounds._COLLAPSED", least)
        told = [line for line in train().out.splitlines() if "collapsed" in line]
        assert len(told) == collapsed
    assert told[0].startswith("KL(q‖p) is ")
    assert "--objective.warmup 10" in told[0]
    assert "--objective elbo --objective.free-bits 2" in told[0]


def test_the_loss_leaves_out_the_constant_of_a_fixed_scale(cli, tiny, here):
    # As papers print it: the scaled squared error plus the KL.
    np.save("vectors.npy", np.random.RandomState(0).randn(30, 5))
    done = cli(
        "train", *tiny, "--no-tensorboard", "--dataset", "file", "--dataset.path", "vectors.npy",
        "--likelihood", "gaussian", "--likelihood.sigma", 0.5, "--run-dir", "run",
    )  # fmt: skip
    assert done.code == 0
    (record,) = records(here / "run")
    constant = -5 * math.log(0.5 * math.sqrt(2 * math.pi))
    assert record["train/loss"] == pytest.approx(constant - record["train/elbo"], rel=1e-6)


def test_the_seed_decides_the_numbers(train, here):
    def numbers(run):
        timed = ("seconds", "images_per_second")
        return [{k: v for k, v in r.items() if k not in timed} for r in records(here / run)]

    for run, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert train("--seed", seed, "--run-dir", run).code == 0
    assert numbers("a") == numbers("b")
    assert numbers("a") != numbers("c")


def test_an_existing_directory_is_refused_before_any_work(train, here, snapshot):
    (here / "run").mkdir()
    (here / "run" / "mine.txt").write_text("mine")
    before = snapshot(here)
    done = train("--run-dir", "run", "--dataset.path", "none.npz")
    assert done.code == 2
    assert "--run-dir run: it exists, and nothing is overwritten" in done.err
    assert snapshot(here) == before


def test_figures_of_a_single_image_are_valid_json(cli, tiny, here):
    np.save("three.npy", np.random.RandomState(0).rand(3, 4, 4))
    data = ("--dataset", "file", "--dataset.path", "three.npy")
    assert cli("train", *tiny, "--no-tensorboard", *data, "--run-dir", "run").code == 0

    def strict(text):
        return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    assert strict((here / "run" / "summary.json").read_text())["images"] == 1
    assert strict(cli("evaluate", "run", "-k", 2, "--json").out)["images"] == 1


def test_runs_of_one_second_get_separate_directories(train, here, monkeypatch):
    monkeypatch.setattr("vaeflow.runs.paths.time.strftime", lambda form: "20261122-153000")
    for _ in range(3):
        done = train()
        assert done.code == 0, done.err
    assert len(list((here / "runs").iterdir())) == 3


def test_print_config_prints_toml_and_creates_nothing(train, here):
    done = train("--posterior", "iaf", "--posterior.steps", 3, "--print-config")
    assert (done.code, done.err) == (0, "")
    assert tomllib.loads(done.out)["posterior"]["steps"] == 3
    assert not list(here.iterdir())
    (here / "printed.toml").write_text(done.out)
    again = train("--config", "printed.toml", "--print-config")
    assert again.out == done.out


def test_flags_override_the_file_and_the_file_the_recipe(cli, here):
    (here / "recipe.toml").write_text(
        'epochs = 1\nlr = 0.1\nlatent = 7\n[posterior]\nname = "planar"\nsteps = 2\n'
    )
    (here / "mine.toml").write_text("lr = 0.2\nlatent = 8\n[posterior]\nsteps = 3\n")
    done = cli(
        "train", "--print-config", "--config", "mine.toml", "--recipe", "recipe.toml",
        "--set", "latent=9", "--set", "encoder.hidden=8,4", "--batch-size=17",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    printed = tomllib.loads(done.out)
    assert {k: printed[k] for k in ("epochs", "lr", "latent", "batch_size")} == {
        "epochs": 1,
        "lr": 0.2,
        "latent": 9,
        "batch_size": 17,
    }
    assert printed["posterior"] == {**printed["posterior"], "name": "vaeflow/planar", "steps": 3}
    assert printed["encoder"]["hidden"] == [8, 4]


def test_a_note_names_the_options_that_a_new_part_drops(cli, here):
    (here / "recipe.toml").write_text('[posterior]\nname = "planar"\nsteps = 2\n')
    words = ("train", "--print-config", "--recipe", "recipe.toml", "--posterior", "identity")
    done = cli(*words)
    assert done.code == 0
    assert done.err.startswith("Note: posterior 'identity' (the command line) replaces 'planar'")
    assert "steps are dropped" in done.err
    assert tomllib.loads(done.out)["posterior"]["name"] == "vaeflow/identity"


def test_flags_accept_both_spellings_and_booleans(cli, here):
    done = cli(
        "train", "--print-config", "--posterior=planar", "--posterior.steps=5", "--no-tensorboard",
        "--likelihood.grey", "true", "--clip", "none",
    )  # fmt: skip
    printed = tomllib.loads(done.out)
    assert printed["posterior"]["steps"] == 5
    assert printed["tensorboard"] is False
    assert printed["likelihood"]["grey"] is True
    assert "clip" not in printed


def test_help_explains_the_options_of_the_named_parts(cli, here):
    text = " ".join(cli("train", "--help").out.split())
    assert "--posterior NAME" in text
    assert "--latent INTEGER size of z [integer > 0; default: 20]" in text
    assert "--posterior.steps" not in text
    assert "vaeflow train --posterior planar --help" in text
    done = cli("train", "--posterior", "planar", "--encoder=mlp", "--help")
    text = " ".join(done.out.split())
    assert done.code == 0
    assert "Options of posterior planar" in text
    assert "--posterior.steps INTEGER" in text
    assert "--encoder.hidden LIST" in text
    done = cli("train", "--posterior", "planr", "--help")
    assert done.code == 2
    assert "did you mean 'planar'?" in done.err
    assert not list(here.iterdir())


def test_a_diverging_training_fails_and_stores_its_status(train, here):
    done = train("--lr", "1e30", "--run-dir", "run")
    assert done.code == 5
    assert done.err.count("Error: ") == 1
    assert "lower --lr (it is 1e+30)" in done.err
    status = read(here / "run", "status.json")
    assert (status["state"], status["exit_code"]) == ("failed", 5)
    assert "not finite" in status["error"]
    assert not (here / "run" / "summary.json").exists()


def test_debug_raises_the_error(train):
    from vaeflow.errors import ConfigError

    for words in (("--debug", "--epochs", 0), ("--epochs", 0, "--debug")):
        with pytest.raises(ConfigError, match="--epochs: got 0"):
            train(*words)


PART = """
import torch
from vaeflow.reading import unsealed
from vaeflow import hookimpl
from vaeflow.parts import Posterior

class Narrow(Posterior):
    \"\"\"A Gaussian of one width.

    Options:
        width: its standard deviation.
    \"\"\"

    def __init__(self, latent, features, *, width: float = 0.5):
        super().__init__(latent, features)
        {init}
        self.mean = torch.nn.Linear(features, latent)
        self.width = width

    def forward(self, h):
        {forward}
        return torch.distributions.Independent(
            torch.distributions.Normal(self.mean(h), self.width), 1
        )

@hookimpl
def vaeflow_register_posteriors(register):
    register("narrow", {target})
"""


def part(init: str = "", forward: str = "", target: str = "Narrow") -> str:
    return PART.format(init=init, forward=forward, target=target)


def test_a_plugins_posterior_trains_with_its_own_options(train, cli, here, plugin):
    plugin("vaeflow-narrow", part())
    done = train("--posterior", "narrow", "--posterior.width", 0.25, "--run-dir", "run")
    assert (done.code, done.err) == (0, "")
    kept = tomllib.loads((here / "run" / "config.toml").read_text())["posterior"]
    assert kept == {"name": "vaeflow-narrow/narrow", "width": 0.25}
    assert cli("evaluate", "run", "-k", 2).code == 0
    text = " ".join(cli("train", "--posterior", "narrow", "--help").out.split())
    assert "--posterior.width NUMBER its standard deviation. [number; default: 0.5]" in text


@pytest.mark.parametrize(
    ("code", "name", "told"),
    [
        (part(target="'no_such_module:Narrow'"), "narrow", ["cannot be imported", "reinstall"]),
        (part(target="dict"), "narrow", ["a subclass of vaeflow.parts.Posterior"]),
        (part(init="raise RuntimeError('no luck')"), "narrow", ["cannot be built", "no luck"]),
        (part(forward="return h.no_such"), "narrow", ["failed on a first batch", "no_such"]),
        (
            part(forward="h = h[:1]"),
            "narrow",
            ["batch (1,)", "batch (B,) = (2,)", "is expected"],
        ),
        (
            "raise ImportError('gone')",
            "vaeflow-narrow/narrow",
            ["ImportError: gone", "says where"],
        ),
    ],
    ids=["import", "class", "init", "forward", "shape", "plugin"],
)
def test_a_broken_part_is_named_and_nothing_is_created(
    train, here, plugin, code, name, told, one_sentence
):
    plugin("vaeflow-narrow", code)
    done = train("--posterior", name)
    assert done.code == 6
    *warnings, error = done.err.splitlines()
    assert all(w.startswith("Warning: plugin vaeflow-narrow 1.0 failed") for w in warnings)
    message = error.removeprefix("Error: ")
    one_sentence(message)
    for words in told:
        assert words in message
    assert "vaeflow-narrow 1.0" in message
    assert not list(here.iterdir())


def test_a_failed_plugin_leaves_other_parts_usable(train, plugin):
    plugin("vaeflow-narrow", "raise ImportError('gone')")
    assert train("--posterior", "planar").code == 0
    done = train("--posterior", "narrow")
    assert done.code == 2
    assert "unknown posterior" in done.err
    assert "should a plugin bring it, vaeflow-narrow 1.0 failed to load (ImportErr" in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_training_and_resume_continues(train, cli, here, plugin, number):
    plugin(
        "vaeflow-stop",
        f"""
        import os
        from vaeflow import hookimpl

        @hookimpl
        def vaeflow_epoch_end(record):
            if record["epoch"] == 1:
                os.kill(os.getpid(), {int(number)})
        """,
    )
    before = signal.getsignal(number)
    done = train("--epochs", 3, "--run-dir", "run")
    assert done.code == 128 + number
    assert "Interrupted after step 3; go on with: vaeflow resume run" in done.err
    stopped = {"state": "interrupted", "exit_code": 128 + number, "epoch": 1, "step": 3}
    assert read(here / "run", "status.json") == stopped
    assert signal.getsignal(number) is before
    assert not (here / "run" / "summary.json").exists()
    done = cli("resume", "run")
    assert done.code == 0, done.err
    assert read(here / "run", "status.json") == {"state": "completed", "epoch": 3, "step": 9}
    assert [r["epoch"] for r in records(here / "run")] == [1, 2, 3]
    assert (here / "run" / "summary.json").exists()
