"""A run directory: made once, locked while it is written, readable wherever it lies."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import vaeflow
from vaeflow.config.layers import Layers, Plan
from vaeflow.errors import CheckpointError, ConfigError, PluginError, RunLockedError, StorageError
from vaeflow.plugins.loading import load_plugins
from vaeflow.runs.directory import Run, new_path

FACTS = {"data_shape": (4, 4), "threads": 1}


@pytest.fixture
def plan() -> Plan:
    layers = Layers()
    layers.add({"posterior": {"name": "planar", "steps": 3}, "seed": 7}, "test")
    return layers.resolve(load_plugins())


def test_a_new_run_holds_its_configuration_and_its_environment(tmp_path, plan):
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
def test_nothing_that_exists_becomes_a_run(tmp_path, plan, kind, snapshot, one_sentence):
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
    with pytest.raises(StorageError, match=r"cannot be written \(Not a directory\)") as caught:
        Run.create(tmp_path / "file" / "run", plan, FACTS)
    one_sentence(str(caught.value))


@pytest.mark.parametrize("failing", ["write_bytes", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_run_that_cannot_be_begun_leaves_no_directory(
    tmp_path, plan, failing, error, monkeypatch
):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(Path, failing, refuse)
    expected = StorageError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        Run.create(tmp_path / "run", plan, FACTS)
    assert not (tmp_path / "run").exists()
    if expected is StorageError:
        assert "(No space left on device): check the path, its permissions and the free" in str(
            caught.value
        )


def test_a_name_tells_when_and_what(plan, tmp_path):
    path = new_path(tmp_path, plan.config)
    assert path.parent == tmp_path
    assert re.fullmatch(r"\d{8}-\d{6}-planar-digits-s7", path.name)


# Stands for another vaeflow on the same run, without the seconds that torch takes to import.
_HOLDER = """
import fcntl, sys
f = open(sys.argv[1], "a+")
fcntl.lockf(f, fcntl.LOCK_EX)
f.truncate(0)
f.write("pid 4711 on elsewhere\\n")
f.flush()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_is_gone_however_it_ended(
    tmp_path, plan, one_sentence
):
    run = Run.create(tmp_path / "run", plan, FACTS)
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(run.path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunLockedError) as caught, run.locked():
            pytest.fail("the lock was given twice")
        one_sentence(str(caught.value))
        assert "another process (pid 4711 on elsewhere): wait for it or stop" in str(caught.value)
    finally:
        holder.kill()
        holder.communicate()
    with run.locked():
        assert (run.path / "lock").read_text().startswith(f"pid {os.getpid()} on ")


def test_a_lock_that_the_file_system_refuses(tmp_path, plan, monkeypatch, one_sentence):
    run = Run.create(tmp_path / "run", plan, FACTS)

    def refuse(*args):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.lockf", refuse)
    with pytest.raises(StorageError, match=r"cannot be locked \(No locks available\)") as caught:
        run.locked().__enter__()
    one_sentence(str(caught.value))
    shutil.rmtree(run.path)
    with pytest.raises(StorageError, match=r"lock cannot be written \(No such file"):
        run.locked().__enter__()


def test_status_and_summary_are_replaced_in_one_motion(tmp_path, plan, monkeypatch):
    run = Run.create(tmp_path / "run", plan, FACTS)
    run.set_status("running")
    run.set_status("completed", epoch=3, step=40)
    run.set_summary({"elbo": 1.5})
    assert run.status == {"state": "completed", "epoch": 3, "step": 40}
    assert run.summary == {"elbo": 1.5}

    def torn(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", torn)
    with pytest.raises(StorageError, match=r"status\.json cannot be written \(No space left"):
        run.set_status("failed")
    assert run.status["state"] == "completed"


def test_a_finished_run_tells_what_it_did(trained):
    run = Run.open(trained)
    assert run.status == {"state": "completed", "epoch": 2, "step": 6}
    assert [record["epoch"] for record in run.metrics] == [1, 2]
    assert run.checkpoint().step == 6
    environment = run.environment
    assert environment["data_sizes"] == {"train": 24, "validation": 8, "test": 6}
    assert environment["threads"] == 1
    assert len(environment["data_sha256"]) == 64


@pytest.mark.parametrize("kind", ["missing", "empty directory", "file"])
def test_what_is_no_run_is_not_opened(tmp_path, kind, one_sentence):
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
        ("environment.json", "[]", "holds no JSON object: restore the file"),
        ("environment.json", "{", "cannot be read (Expecting"),
        ("status.json", "3", "holds no JSON object: restore the file"),
        ("status.json", "\x00", "cannot be read ("),
        ("summary.json", '"x"', "holds no JSON object: restore the file"),
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


def test_a_torn_last_line_of_the_metrics_is_left_out(run_copy):
    with open(run_copy / "metrics.jsonl", "a") as f:
        f.write('{"epoch": 3, "st')
    assert [record["epoch"] for record in Run.open(run_copy).metrics] == [1, 2]


def needing(run_copy: Path, qualified: str) -> Run:
    """Let the run need the posterior "distribution/name"."""
    file = run_copy / "environment.json"
    environment = json.loads(file.read_text())
    environment["parts"]["posterior"] = {
        "name": qualified,
        "distribution": qualified.partition("/")[0],
        "version": "1.2",
    }
    file.write_text(json.dumps(environment))
    return Run.open(run_copy)


def test_a_missing_distribution_is_named_with_its_installation(run_copy, one_sentence):
    with pytest.raises(PluginError) as caught:
        needing(run_copy, "vaeflow-twist/twist").plan(load_plugins())
    one_sentence(str(caught.value))
    assert "needs posterior 'vaeflow-twist/twist' of vaeflow-twist 1.2" in str(caught.value)
    assert "not installed: pip install vaeflow-twist" in str(caught.value)


def test_a_distribution_that_is_there_but_fails_is_not_to_be_installed(
    run_copy, plugin, one_sentence
):
    plugin("vaeflow-twist", "import no_such_module")
    with pytest.raises(PluginError) as caught:
        needing(run_copy, "vaeflow-twist/twist").plan(load_plugins())
    one_sentence(str(caught.value))
    assert "failed to load (ModuleNotFoundError" in str(caught.value)
    assert "`vaeflow plugins info vaeflow-twist` says where" in str(caught.value)
    assert "pip install" not in str(caught.value)


def test_a_configuration_that_was_broken_by_hand(run_copy, one_sentence):
    file = run_copy / "config.toml"
    text = file.read_text()
    file.write_text(text.replace("latent = 3", "latent = -3"))
    with pytest.raises(ConfigError, match=r"--latent: got -3") as caught:
        Run.open(run_copy).plan(load_plugins())
    one_sentence(str(caught.value))
    file.write_text(text.replace("latent = 3", "latents = 3"))
    with pytest.raises(ConfigError, match=r"config\.toml: unknown setting 'latents'"):
        Run.open(run_copy).plan(load_plugins())


def weights(path: Path) -> dict[str, torch.Tensor]:
    return vaeflow.load(path).state_dict()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_loads_wherever_it_was_moved(trained, run_copy, tmp_path, monkeypatch):
    before = weights(trained)
    moved = tmp_path / "a folder ünïcode" / "renamed run"
    moved.parent.mkdir()
    run_copy.rename(moved)
    assert equal(weights(moved), before)
    monkeypatch.chdir(moved)
    assert equal(weights(Path(".")), before)
    link = tmp_path / "link"
    link.symlink_to(moved)
    assert equal(weights(link), before)


def test_no_file_of_a_run_names_the_place_where_it_lies(trained):
    for file in trained.rglob("*"):
        if file.is_file():
            assert str(trained).encode() not in file.read_bytes(), file.name


def test_a_read_only_run_is_read_without_a_trace(run_copy, snapshot, monkeypatch):
    for path in [run_copy, *run_copy.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = snapshot(run_copy)

    def refuse(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    # The mode says nothing to root, whose tests are run in containers.
    for owner, name in (
        (Path, "write_text"), (Path, "mkdir"), (os, "replace"), (os, "rename"), (os, "mkdir"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, refuse)
    run = Run.open(run_copy)
    assert run.plan(load_plugins()).config.latent == 3
    assert run.status["state"] == "completed"
    assert len(run.metrics) == 2
    assert weights(run_copy)
    assert snapshot(run_copy) == before
    monkeypatch.undo()
    for path in [run_copy, *run_copy.rglob("*")]:
        path.chmod(0o755)


def test_the_best_and_the_last_weights_differ_only_if_an_earlier_epoch_was_best(trained):
    best = vaeflow.load(trained, weights="best").state_dict()
    last = vaeflow.load(trained, weights="last").state_dict()
    records = Run.open(trained).metrics
    earlier = records[0]["validation/elbo"] > records[1]["validation/elbo"]
    assert equal(best, last) is not earlier
