"""Arrays from .npy and .npz files: how they are split, and every file that cannot be used."""

from __future__ import annotations

import gzip
import random
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torch.distributions import constraints

from vaeflow.data.checks import check_values
from vaeflow.errors import ConfigError, DataError
from vaeflow.parts.datasets.file import File

X = np.random.RandomState(0).rand(40, 3, 2).astype(np.float32)


@pytest.fixture
def save(tmp_path):
    """Write arrays as numpy does and return the path."""

    def write(name: str, *one: np.ndarray, **named: np.ndarray) -> Path:
        path = tmp_path / name
        if name.endswith(".npz"):
            np.savez(path, *one, **named)
        else:
            np.save(path, *one, allow_pickle=True)
        return path

    return write


def complaint(path: Path, **options) -> str:
    with pytest.raises(DataError) as caught:
        File(path=path, **options).load()
    return str(caught.value)


def rows(x: torch.Tensor) -> list[bytes]:
    return [row.numpy().tobytes() for row in x]


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_one_array_is_shuffled_and_split_by_fractions(save, name):
    splits = File(path=save(name, X), validation=0.25, test=0.05).load()
    assert [len(x) for _, x in splits] == [28, 10, 2]
    assert splits.data_shape == (3, 2)
    together = torch.cat([x for _, x in splits])
    assert sorted(rows(together)) == sorted(rows(torch.from_numpy(X)))
    assert rows(together) != rows(torch.from_numpy(X))
    again = File(path=save(name, X), validation=0.25, test=0.05).load()
    assert again.fingerprint() == splits.fingerprint()


def test_every_split_gets_an_example(save):
    splits = File(path=save("x.npy", X[:3])).load()
    assert [len(x) for _, x in splits] == [1, 1, 1]


def test_named_arrays_are_taken_as_they_are(save):
    splits = File(path=save("x.npz", train=X[:30], validation=X[30:35], test=X[35:])).load()
    for name, part in zip(("train", "validation", "test"), (X[:30], X[30:35], X[35:]), strict=True):
        assert torch.equal(dict(splits)[name], torch.from_numpy(part))


@pytest.mark.parametrize(
    "dtype", ["uint8", "int64", "bool", "float16", "float32", "float64", ">f4", ">i2"]
)
def test_numbers_of_every_kind_become_float32_divided_by_the_scale(save, dtype):
    x = (X * 9).astype(dtype)
    splits = File(path=save("x.npz", train=x, validation=x, test=x), scale=4.0).load()
    assert splits.train.dtype == torch.float32
    assert np.array_equal(splits.train.numpy(), x.astype(np.float32) / 4)


def test_fortran_order_is_read_in_the_right_order(save):
    x = np.asfortranarray(X)
    splits = File(path=save("x.npz", train=x, validation=x, test=x)).load()
    assert np.array_equal(splits.train.numpy(), X)


def test_overflow_of_float32_is_left_to_the_check_of_values(save):
    splits = File(path=save("x.npy", np.full((5, 2), 1e300))).load()
    assert torch.isinf(splits.train).all()


def test_the_path_is_found_below_the_data_root(save, tmp_path):
    path = save("x.npy", X)
    assert File(tmp_path, path=Path("x.npy")).load().data_shape == (3, 2)
    # A run holds the absolute path; after a move --data-root tells the new directory.
    moved = tmp_path / "moved"
    moved.mkdir()
    path.rename(moved / "x.npy")
    assert File(moved, path=path).load().data_shape == (3, 2)


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (X[:0], "shape (0, 3, 2), but (examples, values…) with at least one of each"),
        (X[:, :0], "shape (40, 0, 2)"),
        (X[:, 0, 0], "shape (40,)"),
        (np.float32(3), "shape ()"),
        (X[:2], "holds 2 examples, of which 1 go to validation and 1 to the test"),
        (X.astype(np.complex64), "has type complex64, but numbers are needed: store it as"),
        (np.array([["a", "b"]] * 5), "has type <U1"),
        (np.array([[b"a"]] * 5), "has type |S1"),
        (np.array([[np.datetime64("2020-01-01")]] * 5), "has type datetime64"),
        (np.zeros((5, 2), [("a", "f4"), ("b", "f4")]), "has type [('a'"),
    ],
    ids=["empty", "no values", "1-D", "0-D", "few", "complex", "text", "bytes", "dates", "fields"],
)
@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_an_array_that_cannot_be_data_is_refused(save, array, told, name, one_sentence):
    path = save(name, array)
    message = complaint(path)
    one_sentence(message)
    assert message.startswith(str(path))
    assert told in message


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_an_object_array_is_not_unpickled(tmp_path, name, one_sentence):
    canary = tmp_path / "canary"

    class Attack:
        def __reduce__(self):
            return (Path.touch, (canary,))

    path = tmp_path / name
    attack = np.array([[Attack()]] * 4, dtype=object)
    if name == "x.npy":
        np.save(path, attack, allow_pickle=True)
    else:
        np.savez(path, attack)
    message = complaint(path)
    one_sentence(message)
    assert "is not a readable .npy or .npz file of numbers" in message
    assert not canary.exists()


def test_splits_without_training_data_are_refused(save, one_sentence):
    path = save("x.npy", X)
    with pytest.raises(ConfigError, match=r"leave no training data.*below 1") as caught:
        File(path=path, validation=0.6, test=0.6)
    one_sentence(str(caught.value))
    few = save("few.npy", X[:3])
    message = complaint(few, validation=0.9, test=0.09)
    one_sentence(message)
    assert "holds 3 examples, of which 3 go to validation and 1 to the test" in message


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"train": X, "validation": X}, "holds the arrays train, validation: store one array, or"),
        ({"train": X, "validation": X, "test": X, "y": X}, "test, train, validation, y: store"),
        ({"a": X, "b": X}, "the arrays a, b: store one array, or x_train and x_test"),
        ({}, "holds no array: store one array, or x_train and x_test"),
        ({"train": X, "validation": X, "test": X[:, :2]}, "test examples have shape (2, 2)"),
        ({"train": X, "validation": X[:0], "test": X}, "array 'validation' has shape (0, 3, 2)"),
    ],
    ids=["missing", "extra", "others", "none", "shape", "empty"],
)
def test_arrays_with_other_names_are_refused(save, named, told, one_sentence):
    message = complaint(save("x.npz", **named))
    one_sentence(message)
    assert told in message


def npy(array: np.ndarray, shape: str = "") -> bytes:
    """Return a .npy file; `shape` makes its header lie."""
    header = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': {shape}, }}"
    header = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + array.tobytes()


TERABYTES = npy(X[:2], "(1000000, 1000, 1000)")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty"),
        (b"x,y\n1,2\n", "it starts with b'x,y"),
        (b"\x81\x04\x95", "it starts with b'\\x81"),
        (npy(X, "(40, 3, 2)")[:-1], "mmap length is greater"),
        (npy(X, "(40, 3, 2)")[:40], ""),
        (TERABYTES, "mmap length is greater"),
        (npy(X, "(-40, 3, 2)"), ""),
        (npy(X, "__import__('os').abort()"), ""),
        (b"\x93NUMPY\x09\x00", ""),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", ""),
    ],
    ids=range(10),
)
def test_a_damaged_npy_file_is_refused(tmp_path, content, told, one_sentence):
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    message = complaint(path)
    one_sentence(message)
    assert f"{path} is not a readable .npy or .npz file of numbers ({told}" in message
    assert "write it with numpy.save or numpy.savez" in message


def zipped(path: Path, members: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as z:
        for name, content in members.items():
            z.writestr(name, content)
    return path


def test_a_zip_file_without_arrays_is_refused(tmp_path, one_sentence):
    message = complaint(zipped(tmp_path / "x.npz", {"notes.txt": b"hello"}))
    one_sentence(message)
    assert "its member 'notes.txt' is no array" in message


def test_a_header_that_promises_terabytes_allocates_nothing(tmp_path, one_sentence):
    message = complaint(zipped(tmp_path / "x.npz", {"train.npy": TERABYTES}))
    one_sentence(message)
    assert "is not a readable" in message


def test_unpacking_stops_at_the_limit(tmp_path, monkeypatch, one_sentence):
    monkeypatch.setattr("vaeflow.parts.datasets.file._LIMIT", 10_000)
    path = zipped(tmp_path / "x.npz", {"x.npy": npy(np.zeros((100, 50)), "(100, 50)")})
    assert path.stat().st_size < 1_000
    message = complaint(path)
    one_sentence(message)
    assert "unpacks to 40,128 bytes, but at most 10,000 are read: store" in message


def test_every_truncation_and_every_kind_of_damage_is_refused_in_one_sentence(
    tmp_path, one_sentence
):
    rng = random.Random(0)
    whole = {
        "x.npy": npy(X, "(40, 3, 2)"),
        "x.npz": zipped(tmp_path / "whole.npz", {"x.npy": npy(X, "(40, 3, 2)")}).read_bytes(),
    }
    refused = 0
    for name, content in whole.items():
        path = tmp_path / name
        for _ in range(300):
            bad = bytearray(content)
            for _ in range(rng.choice((1, 3, 9))):
                bad[rng.randrange(min(len(bad), 160))] = rng.randrange(256)
            if rng.random() < 0.3:
                bad = bad[: rng.randrange(len(bad))]
            path.write_bytes(bad)
            try:
                File(path=path).load()
            except DataError as error:
                one_sentence(str(error))
                refused += 1
    assert refused > 300  # some changes only change a value


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.data.csv"])
def test_the_rows_of_a_csv_file_are_examples(tmp_path, name):
    text = "a,b,c\n" + "\n".join(",".join(map(repr, row)) for row in X[:, :, 0].tolist())
    pack = gzip.compress if name.endswith(".gz") else bytes
    (tmp_path / name).write_bytes(pack(text.encode()))
    splits = File(path=tmp_path / name, scale=2.0).load()
    assert [len(x) for _, x in splits] == [32, 4, 4]
    assert splits.data_shape == (3,)
    together = torch.cat([x for _, x in splits])
    assert sorted(rows(together)) == sorted(rows(torch.from_numpy(X[:, :, 0] / 2)))


def test_the_rows_of_a_parquet_file_are_examples(tmp_path):
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "table"  # the bytes tell the format, not the name
    parquet.write_table(pyarrow.table({c: X[:, i, 0] for i, c in enumerate("abc")}), path)
    splits = File(path=path).load()
    assert [len(x) for _, x in splits] == [32, 4, 4]
    together = torch.cat([x for _, x in splits])
    assert sorted(rows(together)) == sorted(rows(torch.from_numpy(X[:, :, 0])))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"1,2\n3,x\n", "row 2, column 2 holds 'x', not a number"),
        (b"1,2\n3,4\n", "holds 2 examples, of which 1 go to validation"),
        (b"", "holds no row of numbers"),
    ],
    ids=["cell", "few", "empty"],
)
def test_a_csv_file_that_cannot_be_used_is_refused(tmp_path, content, told, one_sentence):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    message = complaint(path)
    one_sentence(message)
    assert message.startswith(str(path))
    assert told in message


def test_a_missing_file_is_refused(tmp_path, one_sentence):
    for path in (tmp_path / "none.npy", tmp_path):
        message = complaint(path)
        one_sentence(message)
        assert message == f"{path} is no file: check --dataset.path and --data-root"


def wrong(x: np.ndarray, row: int, column: int = 0) -> np.ndarray:
    x = x.copy()
    x[row, column] = np.nan
    return x


def complaint_of_values(path: Path, **options) -> str:
    splits = File(path=path, **options).load()
    told = []
    for name, x in splits:
        try:
            check_values(name, x, splits.data_shape, constraints.real, splits.place(name))
        except DataError as error:
            told.append(str(error))
    (message,) = told
    return message


@pytest.mark.parametrize("row", [0, 17, 39])
def test_a_wrong_value_is_called_by_its_place_in_the_array(save, row):
    x = wrong(X, row, 2)
    path = save("x.npy", x)
    assert complaint_of_values(path).startswith(f"{path}: array[{row}, 2, 0] is nan: ")
    path = save("x.npz", faces=x)
    assert complaint_of_values(path).startswith(f"{path}: faces[{row}, 2, 0] is nan: ")
    path = save("x.npz", train=X, validation=X, test=x)
    assert complaint_of_values(path).startswith(f"{path}: test[{row}, 2, 0] is nan: ")


@pytest.mark.parametrize("row", [0, 17, 39])
@pytest.mark.parametrize(
    ("head", "lines", "told"),
    [
        ("", 1, "column 3"),
        ("a,b,c\n", 1, "column 'c'"),
        ('"a\nname",b,"the c, of all"\n', 1, "column 'the c, of all'"),
        ("a,b,b\n", 1, "column 3"),  # two of one name
        ("a,b,c\n\n", 2, "column 'c'"),  # empty lines
    ],
    ids=["plain", "header", "quoted", "twice", "empty"],
)
def test_a_wrong_value_is_called_by_its_row_and_column(tmp_path, row, head, lines, told):
    path = tmp_path / "people.csv"
    cells = [",".join(map(repr, r)) for r in wrong(X[:, :, 0], row, 2).tolist()]
    path.write_text(head + ("\n" * lines).join(cells) + "\n")
    with open(path) as f:
        number = next(i for i, line in enumerate(f, 1) if "nan" in line)
    assert complaint_of_values(path).startswith(f"{path}: row {number}, {told} is nan: ")


def test_a_wrong_value_that_is_divided_says_so(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b\n" + "1,2\n" * 9 + "3,inf\n")
    told = complaint_of_values(path, scale=255)
    assert told.startswith(f"{path}: row 11, column 'b', over 255, is inf: ")


def test_a_wrong_value_of_a_parquet_file_is_called_by_its_row_and_column(tmp_path):
    import pyarrow
    from pyarrow import parquet

    path, x = tmp_path / "x.parquet", wrong(X[:, :, 0], 17, 1)
    parquet.write_table(pyarrow.table({c: x[:, i] for i, c in enumerate("abc")}), path)
    assert complaint_of_values(path).startswith(f"{path}: row 18, column 'b' is nan: ")


@pytest.mark.parametrize("name", ["x.csv", "x.npy", "x.npz", "x.parquet"])
@pytest.mark.parametrize(
    "first", [2**24, 1_700_000_000, 10**18], ids=["ids", "times", "snowflakes"]
)
def test_ids_that_float32_cannot_tell_apart_are_told(tmp_path, save, caplog, name, first):
    x = np.stack([np.arange(60), first + np.arange(60)], 1)
    path = tmp_path / name
    match name:
        case "x.csv":
            path.write_text("age,id\n" + "\n".join(f"{a},{b}" for a, b in x))
        case "x.parquet":
            import pyarrow
            from pyarrow import parquet

            parquet.write_table(pyarrow.table({"age": x[:, 0], "id": x[:, 1]}), path)
        case _:
            save(name, x)
    called = {"x.npy": "array[:, 1]", "x.npz": "arr_0[:, 1]"}.get(name, "column 'id'")
    after = len(np.unique(x[:, 1].astype(np.float32)))
    File(path=path).load()
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(
        f"float32 cannot tell apart the values of {path}: {called} (60 distinct ones become "
        f"{after}): subtract its smallest value"
    )


class TestScale:
    @pytest.mark.parametrize("largest", [2, 16, 127, 255])
    def test_bytes_are_grey_levels_whatever_the_largest_is(self, save, caplog, largest, told_once):
        x = (X * largest).round().astype(np.uint8)
        assert x.max() > 1
        splits = File(path=save("x.npy", x)).load()
        together = torch.cat([part for _, part in splits])
        assert sorted(rows(together)) == sorted(rows(torch.from_numpy(x.astype(np.float32) / 255)))
        assert "divided by 255; --dataset.scale 1 keeps them as they are" in told_once(caplog)

    def test_a_scale_of_one_keeps_counts(self, save, caplog):
        x = (X * 9).astype(np.uint8)
        splits = File(path=save("x.npz", x_train=x, x_val=x, x_test=x), scale=1.0).load()
        assert np.array_equal(splits.train.numpy(), x)
        assert not caplog.records

    def test_bytes_of_0_and_1_are_kept(self, save, caplog, told_once):
        x = (X > 0.5).astype(np.uint8)
        splits = File(path=save("x.npz", train=x, val=x, test=x)).load()
        assert np.array_equal(splits.train.numpy(), x)
        assert "--dataset.scale 255 takes them as grey levels" in told_once(caplog)
        again = File(path=save("x.npz", train=x, val=x, test=x), scale=255).load()
        assert again.train.max() == np.float32(1) / np.float32(255)

    @pytest.mark.parametrize("dtype", ["bool", "uint16", "int64", "float32"])
    def test_other_types_are_kept(self, save, caplog, dtype):
        x = (X * 200).astype(dtype)
        splits = File(path=save("x.npz", train=x, val=x, test=x)).load()
        assert np.array_equal(splits.train.numpy(), x.astype(np.float32))
        assert not caplog.records


@pytest.fixture
def told_once(one_sentence):
    def only(caplog) -> str:
        (record,) = caplog.records
        one_sentence(record.getMessage())
        return record.getMessage()

    return only


LAST = np.random.RandomState(1).rand(40, 6, 7, 3).astype(np.float32)


class TestLayout:
    def test_channels_at_the_end_are_moved_and_told(self, save, caplog, told_once):
        splits = File(path=save("x.npz", x_train=LAST, x_val=LAST, x_test=LAST)).load()
        assert np.array_equal(splits.train.numpy(), LAST.transpose(0, 3, 1, 2))
        told = told_once(caplog)
        assert "x_train of shape (40, 6, 7, 3) is taken as pictures of 6×7 with 3 channels" in told

    @pytest.mark.parametrize("layout", ["first", "last", "none"])
    def test_the_option_decides_and_says_nothing(self, save, caplog, layout):
        path = save("x.npz", train=LAST, val=LAST, test=LAST)
        expected = {"first": LAST, "last": LAST.transpose(0, 3, 1, 2), "none": LAST[:, None]}
        train = File(path=path, layout=layout).load().train
        assert np.array_equal(train.numpy(), expected[layout])
        assert not caplog.records

    def test_both_readings_are_refused_until_the_option_decides(self, save, one_sentence):
        path = save("x.npy", np.zeros((9, 3, 5, 3), np.float32))
        message = complaint(path)
        one_sentence(message)
        assert "give --dataset.layout first or --dataset.layout last" in message
        assert File(path=path, layout="first").load().data_shape == (3, 5, 3)
        assert File(path=path, layout="last").load().data_shape == (3, 3, 5)

    def test_a_wrong_value_is_called_by_its_place_before_the_move(self, save):
        x = LAST.copy()
        x[17, 4, 5, 2] = np.nan
        path = save("x.npy", x)
        assert complaint_of_values(path).startswith(f"{path}: array[17, 4, 5, 2] is nan: ")
        told = complaint_of_values(path, layout="none")
        assert told.startswith(f"{path}: array[17, 4, 5, 2] is nan: ")


class TestLabels:
    def test_labels_go_where_their_examples_go(self, save):
        y, site = np.arange(40), np.array([f"site {i}" for i in range(40)])
        splits = File(path=save("x.npz", x=X, y=y, site=site)).load()
        for name, x in splits:
            labels = splits.labels[name]
            number = labels["label"].astype(int)
            assert np.array_equal(x.numpy(), X[number])
            assert labels["label"].dtype == np.float64
            assert labels["site"].tolist() == [f"site {i}" for i in number]

    def test_validation_data_is_taken_off_the_training_data_and_told(self, save, caplog, told_once):
        y = np.arange(30)
        named = {"x_train": X[:30], "y_train": y, "x_test": X[30:], "y_test": 30 + y[:10]}
        path = save("x.npz", **named)
        splits = File(path=path, validation=0.2).load()
        assert [len(x) for _, x in splits] == [24, 6, 10]
        assert np.array_equal(splits.test.numpy(), X[30:])
        for name, x in splits:
            assert np.array_equal(x.numpy(), X[splits.labels[name]["label"].astype(int)])
        assert "holds no validation data: 6 of its 30 training examples" in told_once(caplog)
        again = File(path=path, validation=0.2).load()
        assert again.fingerprint() == splits.fingerprint()

    def test_a_wrong_value_of_held_out_examples_is_called_by_its_place(self, save):
        for row in (3, 7, 22):
            x = wrong(X[:30], row)
            told = complaint_of_values(save("x.npz", train=x, test=X))
            assert f"train[{row}, 0, 0] is nan" in told

    def test_too_few_to_hold_out_are_refused(self, save, one_sentence):
        message = complaint(save("x.npz", train=X[:1], test=X))
        one_sentence(message)
        assert "holds 1 training example and no validation data" in message


def test_an_idx_file_is_examples(tmp_path, caplog):
    x = np.random.RandomState(0).randint(0, 256, (20, 5, 4)).astype(np.uint8)
    content = b"\x00\x00\x08\x03" + struct.pack(">3I", *x.shape) + x.tobytes()
    for name, pack in (("train-images-idx3-ubyte", bytes), ("images.gz", gzip.compress)):
        (tmp_path / name).write_bytes(pack(content))
        splits = File(path=tmp_path / name).load()
        together = torch.cat([part for _, part in splits])
        assert sorted(rows(together)) == sorted(rows(torch.from_numpy(x.astype(np.float32) / 255)))


def test_labels_beside_an_idx_file_of_images_are_its_labels(tmp_path):
    x = np.random.RandomState(0).randint(0, 256, (20, 5, 4)).astype(np.uint8)
    header = b"\x00\x00\x08\x03" + struct.pack(">3I", *x.shape)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(header + x.tobytes())
    numbers = b"\x00\x00\x08\x01" + struct.pack(">I", 20) + bytes(range(20))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(numbers)
    splits = File(path=tmp_path / "train-images-idx3-ubyte").load()
    for name, part in splits:
        number = splits.labels[name]["label"].astype(int)
        assert np.array_equal(part.numpy(), x[number].astype(np.float32) / 255)


class TestMatlab:
    def test_examples_at_the_last_axis_go_by_their_labels(self, tmp_path, caplog):
        x = np.random.RandomState(0).randint(0, 256, (6, 7, 3, 20)).astype(np.uint8)
        y = np.arange(20)[:, None]
        savemat(tmp_path / "x.mat", {"X": x, "y": y})
        splits = File(path=tmp_path / "x.mat").load()
        for name, part in splits:
            number = splits.labels[name]["label"].astype(int)
            expected = x.transpose(3, 2, 0, 1)[number].astype(np.float32) / 255
            assert np.array_equal(part.numpy(), expected)
        assert "the last axis of X" in caplog.text

    def test_another_value_is_refused(self, tmp_path, one_sentence):
        savemat(tmp_path / "x.mat", {"X": X, "names": np.array(["a", "bc"], object)})
        message = complaint(tmp_path / "x.mat")
        one_sentence(message)
        assert "names is a cell, but numbers are needed" in message


def test_an_index_of_a_table_is_taken_as_data_and_told(tmp_path, caplog):
    path = tmp_path / "x.csv"
    path.write_text(",a,b\n" + "".join(f"{i},{i * i},1\n" for i in range(9)))
    assert File(path=path).load().data_shape == (3,)
    (told,) = [record.getMessage() for record in caplog.records]
    assert told == (
        f"{path}: column 'Unnamed: 0', an index without a name, is taken as data: --dataset table "
        "leaves it out"
    )
