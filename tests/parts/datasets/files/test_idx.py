"""The IDX format: true files, and files that lie."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.idx import read_idx

VALUES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
HEADER = b"\x00\x00\x08\x03" + struct.pack(">3I", 2, 3, 4)


def zipped(content):
    """The same bytes in every process: no time of day."""
    return gzip.compress(content, mtime=0)


PLAIN = HEADER + VALUES.tobytes()


@pytest.mark.parametrize("content", [PLAIN, zipped(PLAIN), zipped(PLAIN[:9]) + zipped(PLAIN[9:])])
def test_plain_and_gzipped_files_read_the_same(tmp_path, content):
    file = tmp_path / "images"  # the bytes tell the format, not the name
    file.write_bytes(content)
    read = read_idx(file)
    assert read.dtype == np.uint8
    assert np.array_equal(read, VALUES)


def test_an_array_of_one_dimension_is_read(tmp_path):
    file = tmp_path / "labels"
    file.write_bytes(b"\x00\x00\x08\x01" + struct.pack(">I", 3) + bytes([7, 8, 9]))
    assert read_idx(file).tolist() == [7, 8, 9]


@pytest.mark.parametrize(
    ("code", "dtype"), [(8, "u1"), (9, "i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")]
)
def test_numbers_of_every_kind_are_read(tmp_path, code, dtype):
    file = tmp_path / "numbers"
    x = np.arange(-3, 3).astype(dtype).reshape(3, 2)
    file.write_bytes(bytes([0, 0, code, 2]) + struct.pack(">2I", 3, 2) + x.tobytes())
    read = read_idx(file)
    assert read.dtype == np.dtype(dtype)
    assert np.array_equal(read, x)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "starts with nothing, not with an IDX header"),
        (b"\x00\x00\x08", "starts with 000008, not with"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "starts with 89504e47, not with"),
        (b"\x00\x00\x0a" + PLAIN[3:], "starts with 00000a03, not with"),  # no type
        (b"\x00\x00\x0d" + PLAIN[3:], "holds 6 values, but its header says 24"),  # floats
        (PLAIN[:10], "ends within its header"),
        (PLAIN[:-1], "holds 23 values, but its header says 24 (2×3×4)"),
        (PLAIN + b"\x00", "holds 25 values, but its header says 24"),
        (HEADER, "holds 0 values"),
        # a header that promises 2⁹⁶ bytes, which must not be allocated
        (b"\x00\x00\x08\x03" + b"\xff" * 12 + bytes(24), "header says 79,228,162,458,924,105,385"),
        (b"\x00\x00\x08\xff" + b"\xff" * 1020, "holds 0 values, but its header says"),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else "",
)
@pytest.mark.parametrize("pack", [bytes, zipped])
def test_a_file_that_contradicts_its_header_is_refused(tmp_path, content, told, pack, one_sentence):
    file = tmp_path / "images"
    file.write_bytes(pack(content))
    with pytest.raises(DataError) as caught:
        read_idx(file)
    one_sentence(str(caught.value))
    assert str(caught.value).startswith(str(file))
    assert told in str(caught.value)
    assert "fetch the file again" in str(caught.value)


ZIPPED = zipped(PLAIN)


@pytest.mark.parametrize(
    "content",
    [
        ZIPPED[:-9],  # cut off
        ZIPPED[:3],
        ZIPPED[:15] + b"\xff\xff\xff\xff" + ZIPPED[19:],  # damaged
        ZIPPED[:-8] + bytes(4) + ZIPPED[-4:],  # another CRC
        ZIPPED + b"garbage",
    ],
)
def test_a_damaged_gzip_file_is_refused(tmp_path, content, one_sentence):
    file = tmp_path / "images.gz"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"images\.gz cannot be read \(.*: fetch the file again"):
        read_idx(file)


def test_a_missing_file_and_a_folder_are_refused(tmp_path, one_sentence):
    with pytest.raises(DataError, match=r"does not exist: check --data-root or \$VAEFLOW_DATA"):
        read_idx(tmp_path / "none")
    with pytest.raises(DataError, match=r"cannot be read \(.*Is a directory"):
        read_idx(tmp_path)
