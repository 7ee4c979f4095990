"""A Parquet file that memory cannot hold is read once, to the values of the whole."""

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from vaeflow.errors import DataError
from vaeflow.parts.datasets.file import File
from vaeflow.parts.datasets.files import large

TABLE = {
    "age": np.arange(30, dtype=np.int16),
    "height": np.random.RandomState(0).rand(30),
    "member": np.arange(30) % 3 == 0,
}


@pytest.fixture
def people(tmp_path, monkeypatch):
    """Write a table as a Parquet file; memory holds nothing from then on."""

    def write(table=TABLE):
        parquet.write_table(pa.table(table), tmp_path / "people.parquet", row_group_size=7)
        return File(path=tmp_path / "people.parquet", cache=tmp_path / "cache")

    def no_room():
        monkeypatch.setattr(large, "_IN_MEMORY", 0)
        monkeypatch.setattr(large, "_ROWS", 4)

    write.no_room = no_room
    return write


def test_is_read_once_to_the_same_values(people, monkeypatch):
    file = people()
    wanted = file.load().fingerprint()
    people.no_room()
    assert file.load().fingerprint() == wanted
    monkeypatch.setattr(large, "_parts", None)  # no row is read
    assert file.load().fingerprint() == wanted
    assert len(list(file.cache.iterdir())) == 1


@pytest.mark.parametrize(
    ("column", "told"),
    [
        (["x"] * 30, "column 'name' holds string, not numbers: convert it or drop it"),
        ([*range(9), None, *range(20)], "row 10, column 'name' is empty: fill it in or drop"),
    ],
)
def test_a_refusal_is_that_of_a_small_file(people, column, told, one_sentence):
    people.no_room()
    with pytest.raises(DataError) as caught:
        people({**TABLE, "name": column}).load()
    assert told in str(caught.value)
    one_sentence(str(caught.value))


def test_a_damaged_file_is_refused(people, one_sentence):
    file = people()
    people.no_room()
    content = file.path.read_bytes()
    file.path.write_bytes(content[:40] + content[-20:])
    with pytest.raises(DataError, match="not a readable Parquet file") as caught:
        file.load()
    one_sentence(str(caught.value))


def test_merged_values_are_told_of_the_first_rows(people, caplog):
    people.no_room()
    people({"id": np.arange(30) + 2**40, "x": np.random.RandomState(0).rand(30)}).load()
    assert "cannot tell apart the values of" in caplog.text
    assert "column 'id'" in caplog.text
