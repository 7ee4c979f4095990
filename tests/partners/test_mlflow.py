"""Trainings in MLflow, read back from a local store by MLflow's own client."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaeflow.config.files import read_toml
from vaeflow.config.flat import flatten

# Of SQLAlchemy, to MLflow.
pytestmark = pytest.mark.filterwarnings("ignore:.*loader strategy is deprecated")

HOOKS = Path(__file__).parents[2] / "plugins/vaeflow-mlflow/vaeflow_mlflow/hooks.py"


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """An empty database, whose tables take seconds to make."""
    from mlflow import MlflowClient
    from sqlalchemy import Engine, event

    def hasten(connection, record):
        connection.execute("PRAGMA synchronous=OFF")  # no test loses power

    event.listen(Engine, "connect", hasten)
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    yield path
    event.remove(Engine, "connect", hasten)


@pytest.fixture
def train(cli, tiny, grey_file, here, empty_store, monkeypatch):
    """Train in `run`, with this plugin alone, or go on there."""
    shutil.copy(empty_store, "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "flows")
    plugins = ("--no-plugins", "--plugin", HOOKS)

    def run(*words, resume=False):
        if resume:
            return cli(*plugins, "resume", "run", *words)
        data = ("--dataset", "file", "--dataset.path", grey_file, "--run-dir", "run")
        return cli(*plugins, "train", *tiny, *data, "--no-tensorboard", *words)

    return run


@pytest.fixture
def client(train):
    from mlflow import MlflowClient

    return MlflowClient()


@pytest.fixture
def runs(client):
    """Read all the runs of the experiment, the oldest first."""

    def read():
        experiment = client.get_experiment_by_name("flows")
        found = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
        return list(found)

    return read


def files(client, run, folder=None):
    """Yield the paths of a run's artifacts."""
    for item in client.list_artifacts(run.info.run_id, folder):
        if item.is_dir:
            yield from files(client, run, item.path)
        else:
            yield item.path


def history(client, run, name):
    return [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]


def test_a_training_is_told_whole(train, client, runs, monkeypatch):
    monkeypatch.setenv("VAEFLOW_MLFLOW_LOG_MODEL", "1")
    done = train("--epochs", 2, "--posterior", "planar")
    assert done.code == 0, done.err
    (run,) = runs()
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    wanted = flatten(read_toml(Path("run/config.toml")))
    assert run.data.params == {name: str(value) for name, value in wanted.items()}
    assert run.data.params["posterior.name"] == "vaeflow/planar"

    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    for name in lines[0].keys() - {"sha256"}:
        assert history(client, run, name) == [(line["step"], line[name]) for line in lines]

    summary = json.loads(Path("run/summary.json").read_text())
    for name in ("nll", "elbo", "under_q", "kl"):
        assert run.data.metrics[f"test/{name}"] == summary[name]["mean"]
        error = run.data.metrics[f"test/{name}_standard_error"]
        assert error == summary[name]["standard_error"]

    kept = set(files(client, run))
    newest = next(Path("run/checkpoints").iterdir())
    assert kept >= {"config.toml", "environment.json", "metrics.jsonl", "summary.json"}
    weights = f"checkpoints/{newest.name}/model.safetensors"
    here = client.download_artifacts(run.info.run_id, weights)
    assert Path(here).read_bytes() == Path("run", weights).read_bytes()
    (samples,) = [p for p in kept if p.startswith("images/samples") and p.endswith(".png")]
    assert f"step+{lines[0]['step']}+" in samples
    # 64 samples of 4×4, as TensorBoard shows them
    picture = Image.open(client.download_artifacts(run.info.run_id, samples))
    assert np.asarray(picture).shape[:2] == (528, 528)


def test_a_resumed_training_goes_on_in_its_run(train, client, runs):
    assert train().code == 0
    assert train("--epochs", 2, resume=True).code == 0
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert [value for _, value in history(client, run, "epoch")] == [1, 2]
    assert len(history(client, run, "train/elbo")) == 2
    # A parameter cannot change: the new value is a tag.
    assert (run.data.params["epochs"], run.data.tags["epochs"]) == ("1", "2")
    assert not any(path.startswith("checkpoints") for path in files(client, run))  # unasked


def test_an_epoch_that_is_taken_again_is_told_once(train, client, runs):
    """The training was killed after it told of an epoch, and before it kept a checkpoint."""
    assert train("--epochs", 2).code == 0
    shutil.rmtree("run/checkpoints")
    Path("run/status.json").unlink()
    assert train(resume=True).code == 0
    (run,) = runs()
    assert [value for _, value in history(client, run, "epoch")] == [1, 2]


STOPS = """
import os, signal
from vaeflow import hookimpl

@hookimpl
def vaeflow_epoch_end(run_dir):
    os.kill(os.getpid(), signal.SIGINT)
"""


def test_failure_and_interruption_are_told(train, client, runs, here):
    assert train("--lr", "1e30").code == 5
    (here / "stops.py").write_text(STOPS)
    assert train("--plugin", "stops.py", "--epochs", 9, "--run-dir", "stopped").code == 130
    failed, stopped = runs()
    assert (failed.info.status, stopped.info.status) == ("FAILED", "KILLED")
    assert "config.toml" in files(client, stopped)


def test_either_variable_asks_for_it(train, client, monkeypatch):
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    assert train().code == 0
    assert [run.info.run_name for run in client.search_runs(["0"])] == ["run"]


def test_nothing_is_told_or_imported_unless_asked(train, monkeypatch):
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setitem(sys.modules, "mlflow", None)  # an import would fail
    monkeypatch.setattr("vaeflow.runs.gallery.draw", None)  # a picture too
    done = train()
    assert (done.code, done.err) == (0, "")
    assert not Path("mlruns").exists()
