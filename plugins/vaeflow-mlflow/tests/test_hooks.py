"""Which calls of MLflow each hook makes; tests/partners/test_mlflow.py has the real one."""

import json
import sys
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from vaeflow_mlflow import hooks

from vaeflow.testing import checks


def told(name, value, *more):
    return SimpleNamespace(name=name, value=value, more=more)


@pytest.fixture
def client(monkeypatch):
    """MLflow's client, whose experiment has no run yet."""
    client = MagicMock()
    for name, module in (
        ("mlflow", SimpleNamespace(MlflowClient=lambda: client)),
        ("mlflow.entities", SimpleNamespace(Param=told, Metric=told)),
        ("mlflow.exceptions", SimpleNamespace(MlflowException=KeyError)),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "flows")
    monkeypatch.delenv("VAEFLOW_MLFLOW_LOG_MODEL", raising=False)
    client.search_runs.return_value = []
    data = SimpleNamespace(params={}, metrics={})
    client.create_run.return_value = SimpleNamespace(info=SimpleNamespace(run_id="7"), data=data)
    return client


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "environment.json").write_text(json.dumps({"run_id": "e96c"}))
    (tmp_path / "checkpoints/step-00000026").mkdir(parents=True)
    return tmp_path


def test_a_plugin_that_is_only_installed_does_not_watch(client, run_dir, monkeypatch):
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert hooks.vaeflow_train_start(run_dir, {}) is False
    assert not client.mock_calls


@pytest.mark.parametrize("asked", [False, True])
def test_a_training_is_told(client, run_dir, monkeypatch, asked):
    if asked:
        monkeypatch.setenv("VAEFLOW_MLFLOW_LOG_MODEL", "1")
    config = {"lr": 0.1, "posterior": {"name": "planar", "steps": 4}, "condition": []}
    config |= {"prior": {f"option{i}": "x" * 9999 for i in range(101)}}
    assert hooks.vaeflow_train_start(run_dir, config) is None
    batches = [call.kwargs["params"] for call in client.log_batch.call_args_list]
    params = {p.name: p.value for batch in batches for p in batch}
    assert params["posterior.steps"] == "4"
    assert (params["lr"], params["condition"]) == ("0.1", "[]")
    assert (len(params), max(map(len, batches))) == (105, 100)
    assert max(map(len, params.values())) == 6000

    hooks.vaeflow_epoch_end(run_dir, {"epoch": 1, "step": 13, "lost": None})
    metrics = client.log_batch.call_args.kwargs["metrics"]
    assert [(m.name, m.value, m.more[1]) for m in metrics] == [("epoch", 1, 13), ("step", 13, 13)]
    hooks.vaeflow_picture(run_dir, "samples", 13, "picture")
    client.log_image.assert_called_once_with("7", "picture", key="samples", step=13)

    hooks.vaeflow_train_end(run_dir, "failed", {"nll": {"mean": 81.0, "standard_error": 0.2}})
    metrics = client.log_batch.call_args.kwargs["metrics"]
    assert {m.name: m.value for m in metrics} == {"test/nll": 81.0, "test/nll_standard_error": 0.2}
    client.log_artifact.assert_called_once_with("7", str(run_dir / "environment.json"))
    assert client.log_artifacts.call_count == asked
    client.set_terminated.assert_called_once_with("7", "FAILED")


def test_two_runs_that_begin_at_once_share_the_experiment(client, run_dir):
    client.create_experiment.side_effect = KeyError
    client.get_experiment_by_name.return_value = SimpleNamespace(experiment_id="3")
    hooks.vaeflow_train_start(run_dir, {})
    assert client.create_run.call_args.args == ("3",)


@pytest.mark.parametrize("check", checks("package"), ids=lambda check: check.name)
def test_package(check):
    check("vaeflow-mlflow")
