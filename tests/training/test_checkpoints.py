"""Checkpoints are whole or not there; what is damaged is told, never loaded."""

import errno
import json
import os
import random
import shutil

import pytest
import torch

from vaeflow.errors import CheckpointError, StorageError
from vaeflow.training.checkpoints import CheckpointStore, read

TENSORS = {"model": {"w": torch.arange(6.0), "b": torch.ones(2)}, "loop": {"t": torch.zeros(3)}}


def save(store, *steps):
    for step in steps:
        path = store.save(step, TENSORS, {"progress": {"step": step}})
    return path


def test_a_checkpoint_is_read_as_it_was_saved(tmp_path):
    store = CheckpointStore(tmp_path / "c")
    assert store.latest() is None
    save(store, 5)
    found = store.latest()
    assert found.step == 5
    assert found.state == {"progress": {"step": 5}}
    assert torch.equal(found.tensors["model"]["w"], TENSORS["model"]["w"])


def test_the_newest_checkpoints_stay_and_other_files_are_left_alone(tmp_path):
    store = CheckpointStore(tmp_path / "c", keep=2)
    save(store, 1)
    mine = tmp_path / "c" / "step-100-mine"
    mine.mkdir()
    (tmp_path / "c" / ".tmp-step-00000009").mkdir()
    save(store, 2, 3, 4)
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == [
        "step-00000003",
        "step-00000004",
        "step-100-mine",
    ]


def test_saving_the_same_step_again_replaces_it(tmp_path):
    store = CheckpointStore(tmp_path / "c")
    save(store, 7, 7)
    assert store.latest().step == 7


def every_file(path):
    return sorted(p for p in path.iterdir() if p.is_file())


def test_any_flipped_bit_is_detected(tmp_path):
    path = save(CheckpointStore(tmp_path / "c"), 1)
    draw = random.Random(0)
    for file in every_file(path):
        content = file.read_bytes()
        if file.name == "manifest.json":
            continue  # its own damage is the next test
        for _ in range(20):
            bit = draw.randrange(8 * len(content))
            broken = bytearray(content)
            broken[bit // 8] ^= 1 << bit % 8
            file.write_bytes(broken)
            with pytest.raises(CheckpointError, match=file.name):
                read(path)
        file.write_bytes(content)
    read(path)


@pytest.mark.parametrize("damage", ["truncate", "delete", "zero", "append"])
def test_damaged_files_are_named(tmp_path, damage):
    for file in every_file(save(CheckpointStore(tmp_path / "c"), 1)):
        copy = tmp_path / "copy"
        shutil.copytree(file.parent, copy)
        victim = copy / file.name
        content = victim.read_bytes()
        if damage == "delete":
            victim.unlink()
        else:
            changed = {
                "truncate": content[: len(content) // 2],
                "zero": bytes(len(content)),
                "append": content + b"x",
            }
            victim.write_bytes(changed[damage])
        with pytest.raises(CheckpointError) as caught:
            read(copy)
        assert str(copy) in str(caught.value)
        shutil.rmtree(copy)


def test_a_damaged_newest_falls_back_with_a_warning(tmp_path, caplog):
    store = CheckpointStore(tmp_path / "c")
    path = save(store, 1, 2)
    (path / "model.safetensors").write_bytes(b"")
    assert store.latest().step == 1
    assert "step-00000002" in caplog.text
    (tmp_path / "c" / "step-00000001" / "state.json").unlink()
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        store.latest()


def test_a_newer_format_asks_for_an_update(tmp_path):
    path = save(CheckpointStore(tmp_path / "c"), 1)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["format"] = 99
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"format 99.*update vaeflow"):
        read(path)


def test_a_manifest_cannot_name_a_file_outside(tmp_path):
    path = save(CheckpointStore(tmp_path / "c"), 1)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["sha256"]["../../secret"] = "0"
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="outside itself"):
        read(path)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
def test_a_refused_write_is_an_error_and_older_checkpoints_stay(tmp_path, monkeypatch, code):
    store = CheckpointStore(tmp_path / "c")
    save(store, 1)

    def refuse(descriptor):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(StorageError, match=os.strerror(code)):
            save(store, 2)
    assert store.latest().step == 1
