"""MATLAB files, as scipy writes them: true ones, others, and damaged ones."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.matlab import read_mat, upright

X = np.arange(6, dtype=np.uint8).reshape(2, 3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.mat"


def complaint(path, shapes=None, **options) -> str:
    with pytest.raises(DataError) as caught:
        read_mat(path, shapes or {"x": (2, 3)}, **{"largest": 5, **options})
    return str(caught.value)


@pytest.mark.parametrize("version", ["4", "5"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_numbers_of_every_kind_are_read(path, version, dtype):
    savemat(path, {"x": X.astype(dtype), "y": X.astype(dtype) + 9}, format=version)
    read = read_mat(path, {"x": (2, 3)}, largest=5)
    assert list(read) == ["x"]
    assert np.array_equal(read["x"], X)


@pytest.mark.parametrize("pack", [False, True])
def test_logical_values_and_packed_files_are_read(path, pack):
    savemat(path, {"x": X > 2}, do_compression=pack)
    assert np.array_equal(read_mat(path, {"x": (2, 3)}, largest=1)["x"], X > 2)


def test_a_name_without_a_suffix_is_read(tmp_path):
    savemat(tmp_path / "data", {"x": X}, appendmat=False)
    assert read_mat(tmp_path / "data", {"x": (2, 3)}, largest=5)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"y": X, "z": X}, "holds y, z, but x is needed"),
        ({}, "holds no array, but x is needed"),
        ({"x": X.T}, "x is 3×2 uint8, but 2×3 numbers is needed"),
        ({"x": np.array(["abc", "def"])}, "x is 2×3 char, but 2×3 numbers is needed"),
        ({"x": np.full((2, 3), "abc", object)}, "x is 2×3 cell, but"),
        ({"x": {"a": 1}}, "x is 1×1 struct, but"),
        ({"x": X * 1j}, "x is 2×3 complex double, but"),
        ({"x": X + 1}, "x has values from 1 to 6, but [0, 5] is expected"),
        ({"x": X - 1.0}, "x has values from -1 to 4, but [0, 5]"),
        ({"x": np.where(X == 2, np.nan, X)}, "x has values from nan to nan"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:20],
)
def test_other_arrays_are_refused(path, arrays, told, one_sentence):
    savemat(path, arrays)
    message = complaint(path)
    one_sentence(message)
    assert message.startswith(str(path))
    assert told in message
    assert message.endswith("fetch the file again")


def test_a_kind_of_number_that_is_not_accepted_is_refused(path):
    savemat(path, {"x": X.astype(float)})
    assert "x is 2×3 double, but 2×3 uint8 is needed" in complaint(path, kinds={"uint8"})


def test_a_missing_file_a_folder_and_a_large_file_are_refused(path, tmp_path, one_sentence):
    message = complaint(path)
    one_sentence(message)
    assert message == f"{path} does not exist: check --data-root or $VAEFLOW_DATA"
    assert "cannot be read (" in complaint(tmp_path)
    savemat(path, {"x": X})
    assert "unpacks to more than 100 bytes: it is no file of this set" in complaint(path, limit=100)


def test_a_file_of_version_7_3_is_refused_by_its_version(path):
    # Its header is that of version 5 with another number, before an HDF5 file.
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + struct.pack("<H", 0x0200) + b"IM" * 300)
    assert "is not a readable MATLAB file (it is of version 7.3 or later" in complaint(path)


def test_the_header_is_checked_before_values_are_unpacked(path, monkeypatch):
    savemat(path, {"x": np.zeros((2000, 2000))}, do_compression=True)
    assert path.stat().st_size < 50_000
    monkeypatch.setattr(
        "vaeflow.parts.datasets.files.matlab._numbers", lambda *a: pytest.fail("values were read")
    )
    assert "x is 2000×2000 double" in complaint(path)


def test_no_more_is_unpacked_than_the_shape_needs(path, one_sentence):
    """32 MB of zeros under a header that says six: a peak in memory would be their unpacking."""
    savemat(path, {"x": np.zeros((2000, 2000))}, do_compression=True)
    (size,) = struct.unpack_from("<I", path.read_bytes(), 132)
    raw = bytearray(zlib.decompress(path.read_bytes()[136 : 136 + size]))
    raw[32:40] = struct.pack("<2i", 2, 3)
    packed = zlib.compress(raw)
    head = path.read_bytes()[:128]
    path.write_bytes(head + struct.pack("<2I", 15, len(packed)) + packed)
    tracemalloc.start()
    message = complaint(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    one_sentence(message)
    assert "is not a readable MATLAB file (it holds packed values without their end)" in message
    assert peak < 2_000_000


def test_sizes_that_contradict_each_other_are_refused(path, one_sentence):
    """The size of the values stands in their own tag, too, which may say anything."""
    savemat(path, {"x": np.zeros((2, 3))})
    raw = bytearray(path.read_bytes())
    size = raw.rindex(struct.pack("<2I", 9, 48))  # the tag of six doubles
    for promised in (0, 40, 56, 1 << 20, 0xFFFFFFF0):
        raw[size + 4 : size + 8] = struct.pack("<I", promised)
        path.write_bytes(raw)
        message = complaint(path)
        one_sentence(message)
        assert "is not a readable MATLAB file (it " in message


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_the_other_order_of_bytes_is_read(path, dtype):
    """As workstations with big-endian numbers wrote it; scipy judges the file made here."""
    numbers = np.asfortranarray(X.astype(dtype))
    code, kind = {"uint8": (2, 9), "float64": (9, 6)}[dtype]

    def element(code, data):
        return struct.pack(">2I", code, len(data)) + data + bytes(-len(data) % 8)

    matrix = (
        element(6, struct.pack(">2I", kind, 0))
        + element(5, struct.pack(">2i", 2, 3))
        + struct.pack(">2H", 1, 1) + b"x\0\0\0"  # a small element
        + element(code, numbers.astype(numbers.dtype.newbyteorder(">")).tobytes("F"))
    )  # fmt: skip
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(">H", 0x100) + b"MI"
    path.write_bytes(head + element(14, matrix))
    assert np.array_equal(loadmat(path)["x"], X)
    assert np.array_equal(read_mat(path, {"x": (2, 3)}, largest=5)["x"], X)


def test_version_4_is_read_in_the_other_order_of_bytes_too(path):
    head = struct.pack(">5i", 1000, 2, 3, 0, 2) + b"x\0"
    path.write_bytes(head + X.astype(">f8").tobytes("F"))
    assert np.array_equal(loadmat(path)["x"], X)
    assert np.array_equal(read_mat(path, {"x": (2, 3)}, largest=5)["x"], X)


@pytest.mark.parametrize("array", ["text", np.eye(2) * 1j])
def test_version_4_without_plain_numbers_is_refused(path, array, one_sentence):
    savemat(path, {"x": array}, format="4")
    message = complaint(path)
    one_sentence(message)
    assert "is not a readable MATLAB file (it holds other than plain numbers)" in message


@pytest.mark.parametrize(
    "content", [b"", b"<html>not found</html>", b"\x1f\x8b", bytes(9), b"M" * 200]
)
def test_files_of_other_formats_are_refused(path, content, one_sentence):
    path.write_bytes(content)
    message = complaint(path)
    one_sentence(message)
    assert message.endswith("fetch the file again")


def test_every_truncation_and_damage_is_refused_in_one_sentence(path, one_sentence):
    rng = random.Random(0)
    refused = 0
    for how in ({"do_compression": False}, {"do_compression": True}, {"format": "4"}):
        savemat(path, {"x": X.astype(float), "y": X}, **how)
        whole = path.read_bytes()
        for _ in range(200):
            bad = bytearray(whole)
            for _ in range(rng.choice((1, 3, 9))):
                bad[rng.randrange(len(bad))] = rng.randrange(256)
            if rng.random() < 0.3:
                bad = bad[: rng.randrange(len(bad))]
            path.write_bytes(bad)
            try:
                read_mat(path, {"x": (2, 3)}, largest=5)
            except DataError as error:
                one_sentence(str(error))
                refused += 1
    assert refused > 250  # some changes only change what is not read


def test_a_damaged_packed_array_is_refused(path, one_sentence):
    savemat(path, {"x": X}, do_compression=True)
    path.write_bytes(path.read_bytes()[:-6])
    one_sentence(complaint(path))
    raw = zlib.compress(b"nonsense" * 9)
    path.write_bytes(b" " * 124 + b"\x00\x01IM" + struct.pack("<II", 15, len(raw)) + raw)
    one_sentence(complaint(path))


def test_pictures_stored_by_columns_are_turned_upright():
    picture = np.array([[1, 2, 3], [4, 5, 6]])
    down = picture.ravel(order="F")  # as MATLAB's reshape and x(:) go
    assert np.array_equal(upright(np.stack([down, down + 6]), 2, 3), [picture, picture + 6])
