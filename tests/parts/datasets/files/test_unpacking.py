"""Unpacking within a limit, and the reasons that libraries give."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest

from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.unpacking import decompressed, reason


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_is_read_up_to_the_limit_and_not_beyond(tmp_path, pack, one_sentence):
    file = tmp_path / "x"
    content = bytes(range(256)) * 8_000  # more than is read at once
    file.write_bytes(pack(content))
    assert decompressed(file, limit=len(content)) == content
    with pytest.raises(DataError) as caught:
        decompressed(file, limit=len(content) - 1)
    one_sentence(str(caught.value))
    assert str(caught.value) == (
        f"{file} unpacks to more than 2,047,999 bytes: it is no file of this set"
    )


def test_memory_grows_with_the_file_and_not_with_the_limit(tmp_path):
    bomb, small = tmp_path / "bomb.gz", tmp_path / "small"
    bomb.write_bytes(gzip.compress(bytes(50_000_000)))
    small.write_bytes(b"x")
    tracemalloc.start()
    with pytest.raises(DataError):
        decompressed(bomb, limit=1000)
    assert decompressed(small, limit=1 << 40) == b"x"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("it is wrong. Try again."), "it is wrong"),
        (ValueError("two\n  lines"), "two lines"),
        (KeyError(), "KeyError"),
        (OSError("file 1.5 is bad."), "file 1.5 is bad"),
    ],
)
def test_the_first_sentence_of_an_error_is_quoted(error, told):
    assert reason(error) == told
