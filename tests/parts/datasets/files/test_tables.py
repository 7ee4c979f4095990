"""Tables of numbers in CSV and Parquet files."""

from __future__ import annotations

import gzip
import random

import numpy as np
import pytest

from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.tables import read_table

LIMIT = 1 << 20


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.csv"


def read_numbers(path, limit=LIMIT) -> np.ndarray:
    return read_table(path, limit=limit, numbered=True).numbers()


def complaint(path, limit=LIMIT) -> str:
    with pytest.raises(DataError) as caught:
        read_numbers(path, limit)
    return str(caught.value)


class TestCsv:
    @pytest.mark.parametrize(
        "text",
        [
            "1,2.5\n-3,4e1\n",
            "a,b\n1,2.5\n-3,4e1",
            '"a, with a comma","b"\n"1","2.5"\n-3,4e1\n',
            '"a\nname",b\n1,2.5\n-3,4e1\n',
            "\ufeff1,2.5\r\n-3,4e1\r\n",
            "a,b\r\n\r\n1,2.5\r\n\r\n-3,4e1\r\n\r\n",
            " 1 , 2.5\n -3 ,\t40\n",
            "größe,#\n1,2.5\n-3,40\n",
        ],
        ids=["plain", "header", "quoted", "lines", "windows", "empty lines", "spaces", "marks"],
    )
    @pytest.mark.parametrize("pack", [bytes, gzip.compress])
    def test_rows_are_read_with_or_without_a_header(self, path, text, pack):
        path.write_bytes(pack(text.encode()))
        assert read_numbers(path).tolist() == [[1, 2.5], [-3, 40]]

    def test_one_column_or_one_row_is_a_table_too(self, path):
        path.write_text("1\n2\n3")
        assert read_numbers(path).shape == (3, 1)
        path.write_text("x,y,z\n1,2,3")
        assert read_numbers(path).shape == (1, 3)

    def test_values_that_are_not_finite_are_left_to_the_check_of_values(self, path):
        path.write_text("nan,1\ninf,-Infinity")
        assert np.isnan(read_numbers(path)[0, 0])

    def test_numbers_are_read_as_python_reads_them(self, path):
        x = np.random.RandomState(0).randn(50, 7) * 10.0 ** np.arange(-3, 4)
        path.write_text("\n".join(",".join(map(repr, row)) for row in x.tolist()))
        assert np.array_equal(read_numbers(path), x)

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("1,2\n3,x\n", "row 2, column 2 holds 'x', not a number: correct it"),
            ("a,b\n1,2\n\n3,4\n5,six\n", "row 5, column 'b' holds 'six', not a number"),
            ("1,x\n3,4\n", "row 1, column 2 holds 'x', not a number"),  # no header: it has a 1
            ("a,b\n1,\n", "row 2, column 'b' is empty"),
            ("1,2\n3, \n", "row 2, column 2 is empty"),
            ("1,2,\n3,4,\n", "row 1, column 3 is empty"),
            ("1,2\n3\n", "row 2 has 1 columns, but row 1 has 2: give every row the same"),
            ("a,b\n1,2\n3,4,5\n", "row 3 has 3 columns, but row 1 has 2"),
            ("1;2\n3;x\n", "row 2, column 2 holds 'x', not a number"),
            ("1,2\n1_0,2\n", "row 2, column 1 holds '1_0', not a number: correct it"),
            ("1,2\n3,\u0661\n", "row 2, column 2 holds '\u0661', not a number"),  # Arabic 1
            ("a,b\nc,d\n", "row 2, column 'a' holds 'c', not a number"),
            ("a,a\nc,d\n", "row 2, column 1 holds 'c', not a number"),
            ("1,2\n3,\x00\n", "row 2, column 2"),
            ("1,2\n3," + "9" * 50 + "x\n", "holds '" + "9" * 40 + "', not"),
        ],
        ids=range(15),
    )
    def test_a_wrong_cell_is_named_by_row_and_column(self, path, text, told, one_sentence):
        path.write_text(text)
        message = complaint(path)
        one_sentence(message)
        assert message.startswith(f"{path}: ")
        assert told in message

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"", "holds no row of numbers: write an example on each line"),
            (b"\n\n", "holds no row of numbers"),
            (b"a,b\n", "holds no row of numbers"),
            (b"1,2\n\xff,3", "is not text in UTF-8 (byte 4, in row 2): convert it, as in `iconv"),
            (gzip.compress(b"1,2\n")[:-3], "cannot be read ("),
            (b'1,"' + b"1" * 200_000, "field larger than field limit"),
            (b'"a,b\n1,2\n3,4\n', "no table (row 1 has a quote that is not closed): correct it"),
            (b'"a,b\n1,2\n3,4', "row 1 has a quote that is not closed"),
            (b'"a,b\n' + b"1,2\n" * 50_000, "row 1 has a quote that is not closed"),
            (b'a,b\n\n1,2\n3,"4\n5,6\n', "row 4 has a quote that is not closed"),
            (b'1,"2', "row 1 has a quote that is not closed"),
        ],
        ids=range(11),
    )
    def test_a_file_without_a_table_is_refused(self, path, content, told, one_sentence):
        path.write_bytes(content)
        message = complaint(path)
        one_sentence(message)
        assert told in message

    def test_unpacking_stops_at_the_limit(self, path, one_sentence):
        path.write_bytes(gzip.compress(b"1,2\n" * 100_000))
        message = complaint(path, limit=1000)
        one_sentence(message)
        assert "unpacks to more than 1,000 bytes" in message

    def test_any_bytes_are_a_table_or_refused_in_one_sentence(self, path, one_sentence):
        rng = random.Random(0)
        refused = []
        for _ in range(500):
            path.write_bytes(bytes(rng.choices(b'0123456789.,,,-e"\n\n\r xnaif\0;_', k=12)))
            try:
                assert read_numbers(path).ndim == 2
            except DataError as error:
                refused.append(str(error))
        assert 100 < len(refused) < 500
        for message in refused:
            one_sentence(message)
            assert "could not convert" not in message  # NumPy's sentence, which counts from 0


class TestParquet:
    @pytest.fixture
    def save(self, tmp_path):
        import pyarrow
        from pyarrow import parquet

        def write(**columns):
            parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
            return tmp_path / "x.parquet"

        return write

    def test_every_column_of_numbers_is_read(self, save):
        path = save(
            a=[1, 2, 3], b=[0.5, -1.0, 1e9], c=[True, False, True],
            d=np.array([1, 2, 255], np.uint8), e=np.array([1, 2, 3], np.float16),
        )  # fmt: skip
        assert read_numbers(path).tolist() == [
            [1, 0.5, 1, 1, 1], [2, -1, 0, 2, 2], [3, 1e9, 1, 255, 3]
        ]  # fmt: skip

    def test_several_groups_of_rows_are_one_table(self, tmp_path):
        import pyarrow
        from pyarrow import parquet

        x = np.random.RandomState(0).randn(100, 3)
        table = pyarrow.table({str(i): x[:, i] for i in range(3)})
        parquet.write_table(table, tmp_path / "x.parquet", row_group_size=7)
        assert np.array_equal(read_numbers(tmp_path / "x.parquet"), x)

    @pytest.mark.parametrize(
        ("columns", "told"),
        [
            ({"a": [1], "b": ["x"]}, "row 1, column 'b' holds 'x', not a number: correct it"),
            ({"a": [[1, 2]]}, "column 'a' holds list<"),
            ({"a": [1, 2], "b": [0.5, None]}, "row 2, column 'b' is empty: fill it in"),
            ({"a": [None, None]}, "row 1, column 'a' is empty"),
        ],
        ids=["text", "lists", "gap", "nothing"],
    )
    def test_a_column_without_numbers_is_named(self, save, columns, told, one_sentence):
        path = save(**columns)
        message = complaint(path)
        one_sentence(message)
        assert message.startswith(f"{path}: ")
        assert told in message

    def test_a_damaged_file_is_refused(self, save, one_sentence):
        path = save(a=list(range(100)))
        whole = path.read_bytes()
        rng = random.Random(0)
        for _ in range(50):
            path.write_bytes(whole[: rng.randrange(4, len(whole))])
            message = complaint(path)
            one_sentence(message)
            assert "is not a readable Parquet file (" in message

    def test_reading_stops_at_the_limit(self, save, one_sentence):
        message = complaint(save(a=[0] * 1000, b=[0] * 1000), limit=10_000)
        one_sentence(message)
        assert "unpacks to 16,000 bytes, but at most 10,000 are read" in message
