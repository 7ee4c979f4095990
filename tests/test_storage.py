"""Files replaced in one motion, and the error of a file system that refuses."""

from pathlib import Path

import pytest

from vaeflow.errors import StorageError
from vaeflow.storage import write_file, writing


def full(*args, **kwargs):
    raise OSError(28, "No space left on device")


def test_text_is_written_as_utf_8_and_the_folder_made(tmp_path):
    write_file(tmp_path / "a" / "b" / "x", "σ\n")
    assert (tmp_path / "a" / "b" / "x").read_bytes() == "σ\n".encode()
    write_file(tmp_path / "a" / "b" / "x", b"\0")
    assert (tmp_path / "a" / "b" / "x").read_bytes() == b"\0"


def test_a_missing_folder_stays_missing_on_request(tmp_path):
    with pytest.raises(StorageError, match=r"x cannot be written \(No such file"):
        write_file(tmp_path / "gone" / "x", "", make_folder=False)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file_and_no_half_of_the_new_one(tmp_path, monkeypatch):
    write_file(tmp_path / "x", "old")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match=r"x cannot be written \(No space left on device\): c"):
        write_file(tmp_path / "x", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "old"


def test_a_refusal_names_the_target_the_reason_and_the_cure():
    with pytest.raises(StorageError) as refused, writing("the map", "fold it"):
        full()
    assert str(refused.value) == "the map cannot be written (No space left on device): fold it"


def test_a_refusal_without_a_number_is_told_in_its_own_words():
    with pytest.raises(StorageError, match=r"\(cannot write mode F as PNG\)"), writing("x"):
        raise OSError("cannot write mode F as PNG")
