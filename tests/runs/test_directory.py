"""A run directory: its creation, its files and their errors."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch

import vaeflow
from vaeflow.errors import CheckpointError, ConfigError, PluginError, StorageError
from vaeflow.plugins.loading import load_plugins
from vaeflow.reading import unsealed
from vaeflow.runs.directory import Run
from vaeflow.runs.paths import new_path

FACTS = {"data_shape": (4, 4), "threads": 1}


def test_a_new_run_holds_configuration_and_environment(tmp_path, plan):
    run = Run.create(tmp_path / "deep" / "run", plan, FACTS)
    again = Run.open(run.path)
    assert again.plan(load_plugins()).config == plan.config
    environment = again.environment
    assert environment["parts"]["posterior"] == {
        "name": "vaeflow/planar",
        "distribution": "vaeflow",
        "version": vaeflow.__version__,
    }
    assert environment["torch"] == torch.__version__
    assert environment["data_shape"] == [4, 4]
    assert (again.status, again.summary, again.metrics) == ({}, {}, [])


@pytest.mark.parametrize("kind", ["directory", "full directory", "file", "dangling link"])
def test_an_existing_path_is_refused(tmp_path, plan, kind, snapshot, one_sentence):
    path = tmp_path / "run"
    if kind == "file":
        path.write_text("mine")
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "nowhere")
    else:
        path.mkdir()
        if kind == "full directory":
            (path / "config.toml").write_text("mine")
    before = snapshot(tmp_path)
    with pytest.raises(ConfigError) as caught:
        Run.create(path, plan, FACTS)
    one_sentence(str(caught.value))
    assert f"--run-dir {path}: it exists, and nothing is overwritten" in str(caught.value)
    assert "choose another, or continue it with `vaeflow resume" in str(caught.value)
    assert snapshot(tmp_path) == before


def test_a_run_below_a_file_is_refused(tmp_path, plan, one_sentence):
    (tmp_path / "file").touch()
    with pytest.raises(
        StorageError, match=r"cannot be written \(ENOTDIR: Not a directory"
    ) as caught:
        Run.create(tmp_path / "file" / "run", plan, FACTS)
    one_sentence(str(caught.value))


@pytest.mark.parametrize("failing", ["write", "replace", "mkdir", "rename", "fsync"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_creation_leaves_no_directory(tmp_path, plan, failing, error, monkeypatch):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(os, failing, refuse)
    expected = StorageError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        Run.create(tmp_path / "run", plan, FACTS)
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())
    if expected is StorageError:
        assert "cannot be written (ENOSPC: No space left on device" in str(caught.value)


def test_a_name_holds_time_parts_and_seed(plan, tmp_path):
    path = new_path(tmp_path, plan.config)
    assert path.parent == tmp_path
    assert re.fullmatch(r"\d{8}-\d{6}-planar-digits-s7", path.name)


def test_status_and_summary_are_replaced_atomically(tmp_path, plan, monkeypatch):
    run = Run.create(tmp_path / "run", plan, FACTS)
    run.set_status("running")
    run.set_status("completed", epoch=3, step=40)
    run.set_summary({"elbo": 1.5})
    assert run.status == {"state": "completed", "epoch": 3, "step": 40}
    assert run.summary == {"elbo": 1.5}

    def torn(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", torn)
    with pytest.raises(StorageError, match=r"status\.json cannot be written \(ENOSPC: No space"):
        run.set_status("failed")
    assert run.status["state"] == "completed"


def test_a_finished_run_holds_status_metrics_and_facts(trained):
    run = Run.open(trained)
    assert run.status == {"state": "completed", "epoch": 2, "step": 6}
    assert [record["epoch"] for record in run.metrics] == [1, 2]
    assert run.checkpoint().step == 6
    environment = run.environment
    assert environment["data_sizes"] == {"train": 24, "validation": 8, "test": 6}
    assert environment["threads"] == 1
    assert len(environment["data_sha256"]) == 64


@pytest.mark.parametrize("kind", ["missing", "empty directory", "file"])
def test_open_refuses_other_paths(tmp_path, kind, one_sentence):
    path = tmp_path / "x"
    if kind == "empty directory":
        path.mkdir()
    elif kind == "file":
        path.touch()
    with pytest.raises(CheckpointError, match="is no run directory") as caught:
        Run.open(path)
    one_sentence(str(caught.value))
    assert "give the directory that `vaeflow train` printed" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("environment.json", None, "lacks the run's parts or its data's shape: restore"),
        ("environment.json", "{}", "lacks the run's parts or its data's shape: restore"),
        ("environment.json", "[]", "cannot be read (it holds no JSON object): restore the file"),
        ("environment.json", "{", "cannot be read (Expecting"),
        ("status.json", "3", "cannot be read (it holds no JSON object): restore the file"),
        ("status.json", "\x00", "cannot be read ("),
        ("summary.json", '"x"', "cannot be read (it holds no JSON object): restore the file"),
    ],
)
def test_a_damaged_file_is_named(run_copy, name, content, told, one_sentence):
    file = run_copy / name
    file.unlink()
    if content is not None:
        file.write_text(content)
    run = Run.open(run_copy)
    with pytest.raises(CheckpointError) as caught:
        getattr(run, name.removesuffix(".json"))
    one_sentence(str(caught.value))
    assert str(caught.value).startswith(f"{file} {told}")


def test_metrics_skip_a_torn_last_line(run_copy):
    with open(run_copy / "metrics.jsonl", "a") as f:
        f.write('{"epoch": 3, "st')
    assert [record["epoch"] for record in Run.open(run_copy).metrics] == [1, 2]


def run_that_needs(run_copy: Path, qualified: str) -> Run:
    """Let the run need the posterior "distribution/name"."""
    file = run_copy / "environment.json"
    environment = unsealed(json.loads(file.read_text()))
    environment["parts"]["posterior"] = {
        "name": qualified,
        "distribution": qualified.partition("/")[0],
        "version": "1.2",
    }
    file.write_text(json.dumps(environment))
    return Run.open(run_copy)


def test_a_missing_distribution_is_named_with_pip_install(run_copy, one_sentence):
    with pytest.raises(PluginError) as caught:
        run_that_needs(run_copy, "vaeflow-twist/twist").plan(load_plugins())
    one_sentence(str(caught.value))
    assert "needs posterior 'vaeflow-twist/twist' of vaeflow-twist 1.2" in str(caught.value)
    assert "not installed: pip install vaeflow-twist" in str(caught.value)


def test_a_failed_distribution_is_not_called_missing(run_copy, plugin, one_sentence):
    plugin("vaeflow-twist", "import no_such_module")
    with pytest.raises(PluginError) as caught:
        run_that_needs(run_copy, "vaeflow-twist/twist").plan(load_plugins())
    one_sentence(str(caught.value))
    assert "failed to load (ModuleNotFoundError" in str(caught.value)
    assert "`vaeflow plugins info vaeflow-twist` says where" in str(caught.value)
    assert "pip install" not in str(caught.value)


def test_a_broken_configuration_is_explained(run_copy, one_sentence):
    file = run_copy / "config.toml"
    text = file.read_text()
    file.write_text(text.replace("latent = 3", "latent = -3"))
    with pytest.raises(ConfigError, match=r"--latent: got -3") as caught:
        Run.open(run_copy).plan(load_plugins())
    one_sentence(str(caught.value))
    file.write_text(text.replace("latent = 3", "latents = 3"))
    with pytest.raises(ConfigError, match=r"config\.toml: unknown setting 'latents'"):
        Run.open(run_copy).plan(load_plugins())


def test_no_file_of_a_run_contains_its_path(trained):
    for file in trained.rglob("*"):
        if file.is_file():
            assert str(trained).encode() not in file.read_bytes(), file.name
