"""The benchmark beside published figures: its command lines, its tables and its interruptions."""

import json
import math
import shlex
import signal
import sys
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from vaeflow.benchmark import engines
from vaeflow.benchmark.grid import Grid
from vaeflow.config.flat import flatten
from vaeflow.config.layers import Layers
from vaeflow.data.splits import Form
from vaeflow.plugins.loading import load_plugins
from vaeflow.runs.build import build_model

AUTHORS = {  # the defaults of their code, and the optimizer that it makes
    "latent": 64, "batch_size": 100, "optimizer": "adamax", "lr": 0.0005, "eps": 1e-7,
    "epochs": 2000, "early_stopping": 100, "objective.warmup": 100,
}  # fmt: skip


def cell(script, *elbos, of=3, samples=5000, **settings):
    return {
        "of": of,
        "K": samples,
        "settings": {**script.RECIPE, **settings} if elbos else {},
        "runs": [
            {"negative ELBO": e, "NLL": e - 4, "epochs": 400 + i, "best epoch": 300, "hours": 2.0}
            for i, e in enumerate(elbos)
        ],
    }


def rows(text, dataset):
    """Return name -> cells of a data set's table."""
    section = text.split(f"## {dataset}, in ")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return {r[0].strip(): [x.strip() for x in r[1:]] for r in (x[2:-2].split("|") for x in lines)}


@pytest.fixture
def grids(cli, script, monkeypatch, tmp_path):
    """Read each line as `vaeflow benchmark` does; no run takes place."""
    monkeypatch.setattr(engines, "local", lambda tasks, jobs, stop: list(tasks) and ())

    def read(dataset, posterior, **how):
        line = script.command(dataset, posterior, **{"runs": 3, "samples": None, **how})
        out = tmp_path / dataset / posterior
        done = cli("benchmark", *shlex.split(line), "--out", out)
        assert "no run is finished" in done.err, done.err
        return Grid.read(out)

    return read


def test_every_cell_is_three_runs_of_the_recipe(script, grids):
    for dataset, data in script.DATASETS.items():
        for posterior in script.POSTERIORS:
            grid = grids(dataset, posterior, epochs=2000)
            assert grid.way == ("q", data.samples, None)
            configs = [one.config for one in grid.cells]
            varied = {c["dataset"]["seed"] if data.splits else c["seed"] for c in configs}
            assert varied == set(data.splits or range(3))
            for config in configs:
                flat = flatten(config)
                assert {key: flat[key] for key in AUTHORS} == AUTHORS == script.RECIPE


def test_a_smaller_attempt_has_a_shorter_warm_up(grids):
    grid = grids("freyfaces", "planar", epochs=30, runs=2, samples=10)
    assert grid.way == ("q", 10, None)
    assert [c.config["dataset"]["seed"] for c in grid.cells] == [123, 321]
    assert {(c.config["epochs"], c.config["objective"]["warmup"]) for c in grid.cells} == {(30, 15)}


# Weights and biases of the layers that the features, 256 and a one, or z pass through for a map.
PER_MAP = {
    "VAE": 0,
    "planar": 257 * (2 * 64 + 1),
    "IAF": 65 * 1280 + 1281 * 1280 + 1281 * 2 * 64 + 256 * 1280,
    "O-SNF": 257 * (32 * 32 + 2 * 32 + 32 * 64),
    "H-SNF": 257 * (64 * 64 + 2 * 64 + 8 * 64),
    "T-SNF": 257 * (64 * 64 + 2 * 64),
}


@pytest.mark.parametrize("posterior", PER_MAP)
def test_models_have_the_size_of_the_authors_network_and_of_16_maps(grids, posterior):
    config = grids("binarized-mnist", posterior, epochs=1, runs=1).cells[0].config
    layers, plugins = Layers(), load_plugins(quiet=True)
    layers.add(config, "the grid")
    model = build_model(layers.resolve(plugins), Form((1, 28, 28)))
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters == 3_067_105 + 16 * PER_MAP[posterior]


def test_ours_stands_beside_theirs_and_other_cells_are_empty(script):
    cells = {
        ("binarized-mnist", "VAE"): cell(script, 86.0, 87.0, 88.0),
        ("binarized-mnist", "IAF"): cell(script),
        ("mnist", "VAE"): cell(script, 85.0),
    }
    text = script.report(cells, ["freyfaces", "mnist"])
    found = rows(text, "binarized-mnist")
    assert found["VAE"] == [
        "87.00 ± 1.00", "86.55 ± 0.06", "83.00 ± 1.00", "3 of 3", "400, 401, 402", "300, 300, 300",
        "2.00",
    ]  # fmt: skip
    assert found["IAF"] == ["", "84.20 ± 0.17", "", "0 of 3", "", "", ""]
    assert found["planar"] == ["", "86.06 ± 0.31", "", "", "", "", ""]
    assert rows(text, "mnist")["VAE"][:3] == ["85.00", "", "81.00"]
    assert text.count("not at hand") == 1, "MNIST was at hand when it was trained on"


def test_no_figure_is_given_to_one_of_the_three_sylvester_flows(script):
    text = script.report({})
    for dataset in script.DATASETS:
        found = rows(text, dataset)
        assert [*found][:7] == ["", "VAE", "planar", "IAF", "O-SNF", "H-SNF", "T-SNF"]
        for name in ("O-SNF", "H-SNF", "T-SNF"):
            assert not any(found[name])
        assert (script.SYLVESTER in found) == (dataset != "mnist")


def test_settings_below_the_recipe_are_named(script):
    short = {"epochs": 30, "objective.warmup": 15.0}
    cells = {
        ("mnist", "VAE"): cell(script, 1.0, 2.0, 3.0),
        ("mnist", "IAF"): cell(script, 1.0, 2.0, 3.0, **short),
        ("mnist", "planar"): cell(script, 1.0, samples=50, **short),
        ("caltech101-silhouettes", "VAE"): cell(script, 1.0, 2.0, 3.0, samples=2000),
        ("omniglot", "VAE"): cell(script),
    }
    assert script.less(cells) == [
        "epochs 30 in place of 2000: IAF on mnist, planar on mnist.",
        "objective.warmup 15 in place of 100: IAF on mnist, planar on mnist.",
        "K 50 in place of 5000: planar on mnist.",
        "runs 1 in place of 3: planar on mnist.",
    ]
    assert "- K 50 in place of 5000: planar on mnist.\n" in script.report(cells)


@pytest.fixture
def small(cli, script, monkeypatch, tmp_path):
    """The script on the digits, with small networks, in this process; faces are not at hand."""
    digits = script.DATASETS["mnist"]._replace(words="--dataset digits")
    faces = script.DATASETS["freyfaces"]
    monkeypatch.setattr(script, "DATASETS", {"digits": digits, "freyfaces": faces})
    monkeypatch.setattr(script, "POSTERIORS", {"VAE": "", "planar": "--posterior planar"})
    monkeypatch.setattr(script, "PARTS", "--encoder.hidden 8 --decoder.hidden 8")
    monkeypatch.setattr(sys.modules["shared.common"], "RESULTS", tmp_path / "results")
    monkeypatch.setenv("VAEFLOW_DATA", str(tmp_path))
    launched = []

    def launch(words, out, stop):
        launched.append(words[0])
        done = cli(*words)
        out.write(done.out + done.err)
        out.flush()
        return done.code

    def serial(tasks, jobs, stop):
        for task in tasks:
            yield engines.run_one(task, stop)

    monkeypatch.setattr(script, "launch", launch)
    monkeypatch.setattr(engines, "launch", launch)
    monkeypatch.setattr(engines, "local", serial)

    def run(*more):
        launched.clear()
        words = ["--epochs", "1", "--runs", "2", "-k", "3", "--work", str(tmp_path / "work"), *more]
        done = CliRunner().invoke(script.main, words, catch_exceptions=False)
        text = (tmp_path / "results/published.md").read_text(encoding="utf-8")
        figures = json.loads((tmp_path / "results/published.json").read_text(encoding="utf-8"))
        return done, text, figures, [*launched]

    return run


def test_cells_are_run_in_turn_and_a_missing_data_set_costs_a_line(small, script, tmp_path):
    done, text, figures, launched = small("--posterior", "VAE")
    assert done.exit_code == 0
    assert launched == ["benchmark", *["train", "evaluate"] * 2]
    assert "freyfaces: " in done.output
    assert [*figures["cells"]] == ["VAE on digits"]
    values = [run["negative ELBO"] for run in figures["cells"]["VAE on digits"]["runs"]]
    assert rows(text, "digits")["VAE"][0].startswith(f"{sum(values) / 2:.2f} ± ")
    assert not any(rows(text, "digits")["planar"])
    assert "Its files were not at hand." in text
    assert "- epochs 1 in place of 2000: VAE on digits.\n" in text
    done, text, _, launched = small("--posterior", "planar")
    assert launched == ["benchmark", *["train", "evaluate"] * 2]
    assert all(rows(text, "digits")[name][0] for name in ("VAE", "planar"))
    assert small()[-1] == ["benchmark", "benchmark"], "what is done is done"
    place = tmp_path / "work/digits/VAE"
    nats, bits = (script.read(place, bits=b)["runs"][0]["negative ELBO"] for b in (False, True))
    assert bits == pytest.approx(nats / 64 / math.log(2))


@pytest.mark.parametrize(("by", "code"), [("Ctrl-C", 130), ("--minutes", 0)])
def test_a_stop_ends_with_the_table_of_finished_cells(small, script, monkeypatch, by, code):
    small("--posterior", "VAE")
    begun, now = [], [0.0]

    def launch(words, out, stop):
        begun.append(words)
        if by == "Ctrl-C":
            signal.raise_signal(signal.SIGINT)
        else:
            now[0] += 540
        assert stop()
        return 130

    monkeypatch.setattr(script, "launch", launch)
    monkeypatch.setattr(script, "time", SimpleNamespace(monotonic=lambda: now[0]))
    done, text, _, _ = small("--minutes", "9")
    assert (done.exit_code, len(begun)) == (code, 1)
    assert "failed: " not in done.output
    assert "the same command goes on" in done.output
    assert rows(text, "digits")["VAE"][0]
    assert not any(rows(text, "digits")["planar"])


def test_a_cell_that_fails_says_why_and_the_others_go_on(small, script, monkeypatch):
    words = {"VAE": "--posterior planar --posterior.steps -1", "planar": "--posterior planar"}
    monkeypatch.setattr(script, "POSTERIORS", words)
    done, text, _, launched = small()
    assert done.exit_code == 1
    assert "failed: " in done.output
    assert "steps" in done.output.split("failed: ")[1].splitlines()[0]
    assert launched == ["benchmark", "benchmark", *["train", "evaluate"] * 2]
    assert rows(text, "digits")["planar"][0]
