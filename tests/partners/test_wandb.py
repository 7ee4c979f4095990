"""Trainings on Weights & Biases, offline, read back from the file that `wandb sync` would send."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import pytest

from vaeflow.config.files import read_toml
from vaeflow.config.flat import flatten

HOOKS = Path(__file__).parents[2] / "plugins/vaeflow-wandb/vaeflow_wandb/hooks.py"


@pytest.fixture
def train(cli, tiny, grey_file, here, monkeypatch):
    """Train in `run`, with this plugin alone, or go on there."""
    for name in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(here))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_PROJECT", "flows")
    plugins = ("--no-plugins", "--plugin", HOOKS)

    def run(*words, resume=False):
        if resume:
            return cli(*plugins, "resume", "run", *words)
        data = ("--dataset", "file", "--dataset.path", grey_file, "--run-dir", "run")
        return cli(*plugins, "train", *tiny, *data, "--no-tensorboard", *words)

    yield run
    _end_wandb()


def _end_wandb():
    """Let W&B write all that it was told, and read its variables anew."""
    if sys.modules.get("wandb"):
        sys.modules["wandb"].teardown()


def records(path):
    """Yield the records of W&B's file, which is a log in LevelDB's format."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", content[at : at + 7])
        whole += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # the whole of a record, or its last piece
            record = Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def values(items):
    """Return "name" -> value of the items of a record; a picture is a table in itself."""
    found = {}
    for item in items:
        *tables, name = item.nested_key or [item.key]
        inner = found
        for table in tables:
            inner = inner.setdefault(table, {})
        inner[name] = json.loads(item.value_json)
    return found


@pytest.fixture
def told(here):
    """Read all that W&B was told of each run, in their order."""

    def read():
        _end_wandb()
        runs = []
        for path in sorted(
            here.glob("wandb/offline-run-*/*.wandb"), key=lambda p: p.stat().st_ctime
        ):
            run = {"files": path.parent / "files", "history": [], "summary": {}, "artifacts": []}
            for record in records(path):
                match record.WhichOneof("record_type"):
                    case "run":
                        run |= {"id": record.run.run_id, "name": record.run.display_name}
                        run |= {"project": record.run.project}
                    case "config":
                        run["config"] = values(record.config.update)
                    case "history":
                        run["history"].append(values(record.history.item))
                    case "summary":
                        run["summary"] |= values(record.summary.update)
                    case "artifact":
                        run["artifacts"] += [c.path for c in record.artifact.manifest.contents]
                    case "exit":
                        run["exit"] = record.exit.exit_code
            runs.append(run)
        return runs

    return read


def test_a_training_is_told_whole(train, told, here, monkeypatch):
    monkeypatch.setenv("WANDB_LOG_MODEL", "end")
    done = train("--epochs", 2, "--seed", 4, "--posterior", "planar")
    assert done.code == 0, done.err
    (run,) = told()
    assert (run["project"], run["name"], run["exit"]) == ("flows", "run", 0)
    wanted = flatten(read_toml(Path("run/config.toml")))
    assert {k: v for k, v in run["config"].items() if k != "_wandb"} == wanted
    assert (wanted["posterior.name"], wanted["seed"]) == ("vaeflow/planar", 4)

    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert len(run["history"]) == len(lines) == 2
    for seen, line in zip(run["history"], lines, strict=True):
        del line["sha256"]
        assert {name: seen.get(name) for name in line} == line
        assert seen["_step"] == line["step"]
    first, second = run["history"]
    assert not {"samples", "reconstructions"} & second.keys()
    # 64 samples of 4×4, as TensorBoard shows them
    shape = [first["samples"][key] for key in ("width", "height")]
    assert shape == [528, 528]
    assert (run["files"] / first["samples"]["path"]).is_file()

    summary = json.loads(Path("run/summary.json").read_text())
    for name in ("nll", "elbo", "under_q", "kl"):
        assert run["summary"][f"test/{name}"] == summary[name]["mean"]
        error = run["summary"][f"test/{name}_standard_error"]
        assert error == summary[name]["standard_error"]
    assert run["summary"]["status"] == "completed"
    newest = next(Path("run/checkpoints").iterdir())
    names = {"config.toml", "environment.json", "metrics.jsonl", "summary.json"}
    names |= {f"checkpoints/{newest.name}/{path.name}" for path in newest.iterdir()}
    assert set(run["artifacts"]) == names


def test_a_resumed_training_goes_on_in_its_run(train, told):
    assert train().code == 0
    assert train("--epochs", 2, resume=True).code == 0
    first, second = told()
    assert first["id"] == second["id"]
    assert [line["epoch"] for line in first["history"]] == [1]
    assert [line["epoch"] for line in second["history"]] == [2]
    assert second["config"]["epochs"] == 2
    assert not any("checkpoints" in path for path in second["artifacts"])  # unasked


STOPS = """
import os, signal
from vaeflow import hookimpl

@hookimpl
def vaeflow_epoch_end(run_dir):
    os.kill(os.getpid(), signal.SIGINT)
"""


def test_failure_and_interruption_are_told(train, told, here):
    assert train("--lr", "1e30").code == 5
    (failed,) = told()
    assert (failed["exit"], failed["summary"]["status"]) == (1, "failed")
    (here / "stops.py").write_text(STOPS)
    assert train("--plugin", "stops.py", "--epochs", 9, "--run-dir", "stopped").code == 130
    stopped = told()[1]
    assert (stopped["exit"], stopped["summary"]["status"]) == (255, "interrupted")
    assert "config.toml" in stopped["artifacts"]


def test_an_agent_of_a_sweep_names_the_run(train, told, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "trial7")
    assert train().code == 0
    assert told()[0]["id"] == "trial7"


def test_nothing_is_told_or_imported_unless_asked(train, here, monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT")
    monkeypatch.setitem(sys.modules, "wandb", None)  # an import would fail
    monkeypatch.setattr("vaeflow.runs.gallery.draw", None)  # a picture too
    done = train()
    assert (done.code, done.err) == (0, "")
    assert not (here / "wandb").exists()
