"""Files replaced in one motion, and the error of a file system that refuses."""

import errno
import os
import re

import pytest

from vaeflow import storage
from vaeflow.errors import StorageError
from vaeflow.storage import append_to_file, write_file, writing


def full(*args, **kwargs):
    raise OSError(28, "No space left on device")


def test_text_is_written_as_utf_8_and_the_folder_made(tmp_path):
    write_file(tmp_path / "a" / "b" / "x", "σ\n")
    assert (tmp_path / "a" / "b" / "x").read_bytes() == "σ\n".encode()
    write_file(tmp_path / "a" / "b" / "x", b"\0")
    assert (tmp_path / "a" / "b" / "x").read_bytes() == b"\0"


def test_a_missing_folder_stays_missing_on_request(tmp_path):
    with pytest.raises(StorageError, match=r"x cannot be written \(ENOENT: No such file"):
        write_file(tmp_path / "gone" / "x", "", make_folder=False)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file_and_no_half_of_the_new_one(tmp_path, monkeypatch):
    write_file(tmp_path / "x", "old")
    monkeypatch.setattr(os, "replace", full)
    told = (
        rf"^{re.escape(str(tmp_path))}/x cannot be written \(ENOSPC: No space left on device; "
        r"3 bytes are needed, [1-9]\d* bytes are free\): check the path"
    )
    with pytest.raises(StorageError, match=told):
        write_file(tmp_path / "x", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "old"


def test_a_refusal_names_the_target_the_reason_and_the_cure():
    with pytest.raises(StorageError) as refused, writing("the map", "fold it"):
        full()
    assert str(refused.value) == (
        "the map cannot be written (ENOSPC: No space left on device): fold it"
    )


@pytest.mark.parametrize("name", [None, 3, b"x"])
def test_a_refusal_of_an_open_file_names_the_target(tmp_path, name):
    told = r"^the map cannot be written \(EIO: Input/output error\): fold it$"
    with pytest.raises(StorageError, match=told), writing("the map", "fold it"):
        raise OSError(errno.EIO, os.strerror(errno.EIO), name)


def test_a_refusal_without_a_number_is_told_in_its_own_words():
    with pytest.raises(StorageError, match=r"\(cannot write mode F as PNG\)"), writing("x"):
        raise OSError("cannot write mode F as PNG")


def test_what_is_written_replaces_a_link_and_does_not_follow_it(tmp_path):
    (tmp_path / "mine").write_text("mine")
    for name in ("file", "rows"):
        (tmp_path / name).symlink_to(tmp_path / "mine")
    write_file(tmp_path / "file", "new")
    with pytest.raises(StorageError, match="ELOOP"):
        append_to_file(tmp_path / "rows", "row", "remove it")
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "file").read_text() == "new"
    assert not (tmp_path / "file").is_symlink()


def test_a_temporary_name_is_new(tmp_path, monkeypatch):
    """One that is there already, a link as well, is not written through."""
    (tmp_path / "mine").write_text("mine")
    monkeypatch.setattr(storage, "temporary_name", lambda path: path.with_name("taken"))
    (tmp_path / "taken").symlink_to(tmp_path / "mine")
    with pytest.raises(StorageError, match="EEXIST"):
        write_file(tmp_path / "x", "new")
    assert (tmp_path / "mine").read_text() == "mine"


def test_leftovers_of_a_killed_process_are_swept_and_nothing_else(tmp_path):
    left = storage.temporary_name(tmp_path / "status.json")
    for path in (left, tmp_path / ".tmp-mine", tmp_path / "status.json"):
        path.touch()
    storage.sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".tmp-mine", "status.json"]


def test_rows_are_added_at_the_end(tmp_path):
    for row in ("a\n", "σ\n"):
        append_to_file(tmp_path / "rows", row, "remove it")
    assert (tmp_path / "rows").read_text("utf-8") == "a\nσ\n"


def test_a_guard_is_asked_before_every_write_below_its_folder(tmp_path):
    def refuse():
        raise StorageError("not now")

    with storage.guarded(tmp_path / "run", refuse):
        for act in (
            lambda: write_file(tmp_path / "run" / "x", ""),
            lambda: append_to_file(tmp_path / "run" / "x", "", "remove it"),
            lambda: storage.ensure_folder(tmp_path / "run" / "a" / "b"),
        ):
            with pytest.raises(StorageError, match="not now"):
                act()
        write_file(tmp_path / "runs", "")
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]
    write_file(tmp_path / "run" / "x", "")
