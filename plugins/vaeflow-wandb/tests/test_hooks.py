"""Which calls of wandb each hook makes; tests/partners/test_wandb.py has the real one."""

import json
import sys
from unittest.mock import MagicMock

import pytest
from vaeflow_wandb import hooks

from vaeflow.testing import checks


@pytest.fixture
def wandb(monkeypatch):
    module = MagicMock()
    monkeypatch.setitem(sys.modules, "wandb", module)
    for name in ("RUN_ID", "NAME", "LOG_MODEL"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("WANDB_PROJECT", "flows")
    return module


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "environment.json").write_text(json.dumps({"run_id": "e96c"}))
    (tmp_path / "checkpoints/step-00000009").mkdir(parents=True)
    (tmp_path / "checkpoints/step-00000026").mkdir(parents=True)
    return tmp_path


def test_a_plugin_that_is_only_installed_does_not_watch(wandb, run_dir, monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT")
    assert hooks.vaeflow_train_start(run_dir, {}) is False
    assert not wandb.mock_calls


@pytest.mark.parametrize("asked", [None, "false", "end"])
def test_a_training_is_told(wandb, run_dir, monkeypatch, asked):
    if asked:
        monkeypatch.setenv("WANDB_LOG_MODEL", asked)
    run = wandb.init.return_value
    config = {"lr": 0.1, "posterior": {"name": "planar", "steps": 4}, "condition": []}
    assert hooks.vaeflow_train_start(run_dir, config) is None
    assert wandb.init.call_args.kwargs["id"] == "e96c"
    (told,) = run.config.update.call_args.args
    assert told == {
        "lr": 0.1, "posterior.name": "planar", "posterior.steps": 4, "condition": [],
    }  # fmt: skip
    hooks.vaeflow_epoch_end(run_dir, {"epoch": 1, "step": 13})
    run.log.assert_called_with({"epoch": 1, "step": 13}, step=13)
    hooks.vaeflow_picture(run_dir, "samples", 13, "picture")
    run.log.assert_called_with({"samples": wandb.Image.return_value}, step=13)
    summary = {"split": "test", "nll": {"mean": 81.0, "standard_error": 0.2}}
    hooks.vaeflow_train_end(run_dir, "completed", summary)
    run.summary.update.assert_called_with(
        {"status": "completed", "test/nll": 81.0, "test/nll_standard_error": 0.2}
    )
    files = wandb.Artifact.return_value
    files.add_file.assert_called_once_with(str(run_dir / "environment.json"))
    assert [call.args for call in files.add_dir.call_args_list] == [
        (str(run_dir / "checkpoints/step-00000026"),)
    ] * (asked == "end")
    run.finish.assert_called_once_with(exit_code=0)


@pytest.mark.parametrize("check", checks("package"), ids=lambda check: check.name)
def test_package(check):
    check("vaeflow-wandb")
