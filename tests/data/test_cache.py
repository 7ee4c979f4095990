"""An array is made once for its files, and anew where it or they have changed."""

import errno
import os
import threading

import numpy as np
import pytest

from vaeflow.data import cache as module
from vaeflow.data.cache import Cache
from vaeflow.data.mapped import in_file
from vaeflow.errors import StorageError

WHOLE = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)


@pytest.fixture
def cache(tmp_path):
    file = tmp_path / "source.png"
    file.write_bytes(b"one")
    return Cache(tmp_path / "cache", "the images of photos", ["photos", (2, 2)], (file,))


def make(cache, whole=WHOLE):
    return cache.make((whole[i : i + 4] for i in (0, 4)), whole.shape, whole.dtype)


def kept(cache):
    return sorted(path.name for path in cache.folder.iterdir())


def test_is_made_once_and_mapped_from_then_on(cache, caplog):
    caplog.set_level("INFO", "vaeflow")
    assert cache.find() is None
    made = make(cache)
    assert in_file(made)
    assert np.array_equal(made, WHOLE)
    assert np.array_equal(cache.find(), WHOLE)
    assert in_file(cache.find())
    assert len(kept(cache)) == 1
    assert "the images of photos are kept in" in caplog.text


@pytest.mark.parametrize("change", ["content", "time", "options"])
def test_another_source_has_another_array(cache, change):
    make(cache)
    (file,) = cache.files
    if change == "content":
        file.write_bytes(b"other")
    elif change == "time":
        os.utime(file, (1, 1))
    else:
        cache = Cache(cache.folder, cache.what, ["photos", (3, 3)], cache.files)
    assert cache.find() is None
    assert np.array_equal(make(cache, WHOLE + 1), WHOLE + 1)
    assert len(kept(cache)) == (2 if change == "options" else 1)  # what is stale is removed


@pytest.mark.parametrize("damage", ["bit", "truncated", "empty", "gone"])
def test_a_damaged_array_is_made_anew(cache, damage):
    make(cache)
    (name,) = kept(cache)
    path = cache.folder / name
    content = bytearray(path.read_bytes())
    before = path.stat()
    if damage == "bit":
        content[-1] ^= 1
        path.write_bytes(content)
    elif damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-3] if damage == "truncated" else b"")
        os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))  # as a faulty disk would
    assert cache.find() is None
    assert np.array_equal(make(cache), WHOLE)
    assert np.array_equal(cache.find(), WHOLE)


def test_no_room_is_told_before_anything_is_read(cache, monkeypatch, one_sentence):
    monkeypatch.setattr(module, "free_bytes", lambda folder: 23)

    def parts():
        raise AssertionError("read")
        yield

    with pytest.raises(StorageError) as caught:
        cache.make(parts(), WHOLE.shape, WHOLE.dtype)
    one_sentence(str(caught.value))
    assert "the images of photos take 24 bytes, but" in str(caught.value)
    assert "name another folder by --dataset.cache" in str(caught.value)


def test_a_disk_that_fills_up_is_told_and_keeps_no_half(cache, one_sentence):
    def parts():
        yield WHOLE[:4]
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StorageError) as caught:
        cache.make(parts(), WHOLE.shape, WHOLE.dtype)
    one_sentence(str(caught.value))
    assert kept(cache) == []
    assert cache.find() is None


def test_makers_at_once_leave_one_whole_array(cache):
    meet = threading.Barrier(3)

    def parts():
        yield WHOLE[:4]
        meet.wait(10)
        yield WHOLE[4:]

    def run():
        assert np.array_equal(cache.make(parts(), WHOLE.shape, WHOLE.dtype), WHOLE)
        done.append(True)

    done = []
    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 3
    assert len(kept(cache)) == 1
    assert np.array_equal(cache.find(), WHOLE)


def test_what_a_killed_maker_left_is_removed_once_nobody_writes_it(cache):
    cache.folder.mkdir()
    new, old = (cache.folder / f".tmp-x.npy-{digit * 8}" for digit in "01")
    for path in (new, old):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    make(cache)
    assert new.exists()
    assert not old.exists()


def test_progress_is_told(cache, monkeypatch, caplog):
    caplog.set_level("INFO", "vaeflow")
    monkeypatch.setattr(module, "_TELL", -1.0)
    make(cache)
    assert "the images of photos: 4 of 6 are read" in caplog.text
