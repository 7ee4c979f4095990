"""Tables of numbers in CSV and Parquet files."""

from __future__ import annotations

import datetime
import gzip
import random
import subprocess
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from vaeflow.errors import ConfigError, DataError, in_shell
from vaeflow.parts.datasets.files.tables import read_table
from vaeflow.parts.datasets.files.written import write_table

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
        for _ in range(200):
            path.write_bytes(bytes(rng.choices(b'0123456789.,,,-e"\n\n\r xnaif\0;_', k=12)))
            try:
                assert read_numbers(path).ndim == 2
            except DataError as error:
                refused.append(str(error))
        assert 40 < len(refused) < 200
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


def read(path, content, **options):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path, **options)


def refused(path, content, **options) -> str:
    with pytest.raises(DataError) as caught, in_shell():
        read(path, content, **options)
    return str(caught.value)


def told(caplog):
    return [record.getMessage().split(" is read with ")[-1] for record in caplog.records]


class TestSeparators:
    @pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_the_first_row_shows_the_separator(self, path, mark, end):
        rows = [["a", 'b "x"', "c"], ["1", "2", "3"], ["4", "5", "6"]]
        text = end.join(mark.join(row) for row in rows)
        assert {k: v.tolist() for k, v in read(path, text).items()} == {
            "a": [1, 4], 'b "x"': [2, 5], "c": [3, 6]
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("name", "text", "how"),
        [
            ("x.csv", "a;b\n1;2\n", ["cells separated by semicolons"]),
            ("x.csv", "a\tb\n1\t2\n", ["cells separated by tabs"]),
            ("x.csv.gz", "a|b\n1|2\n", ["cells separated by bars"]),
            ("x.tsv", "a,b\n1,2\n", ["cells separated by commas"]),
            ("x.csv", "a,b\n1,2\n", []),
            ("x.TSV", "a\tb\n1\t2\n", []),
            ("x.csv", "a\n1\n2\n", []),
            ("x.txt", "a   b\n 1 2\n3    4 \n", ["cells separated by spaces"]),
            ("x.data", "1.5 2\n3  4\n", ["cells separated by spaces"]),
            ("x.csv", "name\nAda King\nBo Li\n", []),
        ],
    )
    def test_it_is_told_where_it_is_not_the_suffix_s(self, tmp_path, caplog, name, text, how):
        pack = gzip.compress if name.endswith(".gz") else bytes
        read(tmp_path / name, pack(text.encode()))
        assert told(caplog) == how

    def test_a_quoted_name_may_hold_another(self, path):
        assert [*read(path, '"a;b",c\n1,2\n')] == ["a;b", "c"]

    def test_of_two_the_one_that_all_rows_have_is_taken(self, path):
        table = read(path, "name, first;age\nx;1\ny;2\n")
        assert {k: v.tolist() for k, v in table.items()} == {
            "name, first": ["x", "y"], "age": [1, 2]
        }  # fmt: skip

    def test_two_that_all_rows_have_are_refused_and_either_works(self, path, one_sentence):
        text = "1,5;2,0\n2,5;3,0\n"
        message = refused(path, text)
        one_sentence(message)
        assert message == (
            f"{path} may have cells between commas or between semicolons: say which, by --dataset "
            "table with --dataset.separator comma or semicolon"
        )
        assert read(path, text, separator=";")["1"].tolist() == [1.5, 2.5]
        assert [*read(path, text.replace("5;2", "5;x"), separator=",", header=False)] == [
            "1", "2", "3"
        ]  # fmt: skip


class TestDecimalCommas:
    def test_they_are_read_between_semicolons_and_told(self, path, caplog):
        table = read(path, "größe;n\n1,75;1\n-2;2\n,5;3\n1,5e3;4\n")
        assert table["größe"].tolist() == [1.75, -2, 0.5, 1500]
        assert told(caplog) == ["cells separated by semicolons, decimal commas"]

    def test_a_point_beside_them_is_refused(self, path, one_sentence):
        message = refused(path, "a;b\n1.234;2,5\n3;4,5\n")
        one_sentence(message)
        assert "column 1 holds '1.234', a number with a point beside others with decimal" in message

    def test_between_commas_a_quoted_one_stays_a_text(self, path):
        assert read(path, 'a,b\n"1,5",2\n"2,5",3\n').types["a"] == "text"


class TestNames:
    @pytest.mark.parametrize(
        ("text", "names"),
        [
            ("0,1,2\n1.5,2,3\n1,4,5\n", ["0", "1", "2"]),
            ("0,1,2\n" + "0,1,0\n1,0,1\n" * 6, ["0", "1", "2"]),
            ("1,2,3,4,5\n" + "3,1,4,1,3\n" * 12, ["1", "2", "3", "4", "5"]),
            ("1,2,3,4,5\n" + "0.5,1,4,1,3\n" * 3, ["1", "2", "3", "4", "5"]),
            (",0,1,2\n0,1.5,2,3\n1,4,5,6\n", ["Unnamed: 0", "0", "1", "2"]),
            ("label,0,1,2\n7,1.5,2,3\n8,4,5,6\n", ["label", "0", "1", "2"]),
            ("id,2019,2020\n7,1.5,2\n9,3,4\n", ["id", "2019", "2020"]),
            ("site,0,1\nnorth,0.5,3\nsouth,4,5\n", ["site", "0", "1"]),
            ("# a, b\n1,2\n", ["a", "b"]),
            ("# by me\n# 2020\na,b\n1,2\n", ["a", "b"]),
            ("a,,c\n1,2,3\n", ["a", "Unnamed: 1", "c"]),
        ],
    )
    def test_a_row_of_names_with_numbers_among_them(self, path, text, names):
        table = read(path, text)
        assert ([*table], table.named) == (names, True)

    @pytest.mark.parametrize(
        "text",
        [
            "1,2\n3,4\n",
            "5.1,3.5,setosa\n4.9,3.0,setosa\n4.7,3.2,virginica\n",
            "north,3\nsouth,4\nnorth,5\n",
            "3\n4\n",
            "NA,3\n4,5\n",
            "1,2,\n3,4,\n",
            "1,2,3\n4,5,6\n",
            "a,0,1\nb,5,6\na,7,8\n",  # a comes again
        ],
    )
    def test_a_first_row_that_is_an_example(self, path, text):
        table = read(path, text)
        assert not table.named
        assert table.size == text.count("\n")
        assert [*table.rows] == [*range(1, table.size + 1)]

    @pytest.mark.parametrize(
        "text",
        [
            "0,1\n1,0\n1,1\n",
            "0\n1\n2\n",
            "0,1,2\n1,2,0\n2,0,1\n",
            "\n".join(",".join(str(3 * i + j) for j in range(3)) for i in range(20)),
            "\n".join(",".join(str(5 * i + j + 1) for j in range(5)) for i in range(20)),
            "north,yes\nsouth,no\nnorth,yes\n",
            "400,410,420\n" + "0.5,0.25,0.125\n" * 12,
        ],
    )
    def test_a_row_that_may_be_either_is_refused_and_both_cures_work(
        self, path, text, one_sentence
    ):
        message = refused(path, text)
        one_sentence(message)
        assert "use --dataset table with --dataset.header true, or false" in message
        assert read(path, text, header=True).size + 1 == read(path, text, header=False).size

    def test_a_text_above_numbers_may_be_a_mistake(self, path, one_sentence):
        message = refused(path, "1,x\n3,4\n")
        one_sentence(message)
        assert "row 1, column 2 holds 'x', not a number as the rows below: correct it" in message

    def test_names_that_are_numbers_are_told(self, path, caplog):
        read(path, "0,1,2\n1.5,2,3\n1,4,5\n")
        assert told(caplog) == ["row 1 (0, 1, 2) as the names of the columns"]

    def test_two_of_one_name_are_refused(self, path, one_sentence):
        message = refused(path, "a,b,a\n1,2,3\n")
        one_sentence(message)
        assert "row 1 names two columns 'a': give each a name of its own" in message


class TestCells:
    def test_gaps_of_numbers_and_of_texts(self, path):
        table = read(path, "n,t\n1,x\nNA,\n-,none\n nan ,None\n?,-\n")
        assert np.isnan(table["n"]).tolist() == [False, True, True, True, True]
        assert table["t"].tolist() == ["x", None, "none", None, "-"]
        assert table.gaps == {
            "n": {"NA": 1, "-": 1, "nan": 1, "?": 1}, "t": {"": 1, "None": 1}
        }  # fmt: skip

    def test_leading_zeros_make_a_code(self, path):
        table = read(path, "zip,n\n00501,0\n10001,0.5\n")
        assert table["zip"].tolist() == ["00501", "10001"]
        assert table["n"].tolist() == [0, 0.5]

    def test_numbers_that_float64_rounds_are_kept_as_written(self, path):
        table = read(path, "id\n9007199254740993\n9007199254740992\n")
        assert table.exact["id"].tolist() == ["9007199254740993", "9007199254740992"]

    def test_rows_are_counted_as_an_editor_does(self, path):
        table = read(path, 'a,t\n\n1,"x\ny"\n\n2,z\n')
        assert [int(row) for row in table.rows] == [4, 6]
        assert table.place(1, "a") == f"{path}: row 6, column 'a'"

    @pytest.mark.parametrize(
        ("content", "charset"), [("größe\n1\n", "latin1"), ("a,b\n1,2\n", "utf-16")]
    )
    def test_other_charsets_are_refused_by_a_cure_that_works(
        self, path, content, charset, one_sentence
    ):
        if charset == "utf-16":
            assert "iconv -f utf-16" in refused(path, content.encode("utf-16"))
        message = refused(path, content.encode(charset))
        one_sentence(message)
        command = message.split("`")[1]
        subprocess.run(command, shell=True, check=True, cwd=path.parent)
        assert read_table(path.with_name("new.csv")).size == 1


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"PK\x03\x04...", "a file of arrays"),
        (b"\x80\x04\x95", "a pickle"),
        (b"\x93NUMPY...", "a file of arrays"),
        (b'{"a": 1}\n{"a": 2}\n', "JSON"),
        (b'[{"a": 1}]', "JSON"),
        (b"<!DOCTYPE html>", "HTML or XML"),
    ],
)
def test_files_of_other_kinds_are_told(path, content, kind, one_sentence):
    message = refused(path, content)
    one_sentence(message)
    assert message.startswith(f"{path} is {kind}, and no table of cells: ")


class TestWriting:
    COLUMNS: ClassVar = {
        "a b": np.array([1, np.nan, 3.5]),
        "f": np.array([0.1, 1e300, -np.pi]),
        "t,": np.array(["x", None, 'q"u,\nz'], object),
        "n": np.array([2, 0, 7]),
    }

    @pytest.mark.parametrize(
        "name", ["x.csv", "x.tsv", "x.parquet", "x.arrow", "x.feather", "x.csv.gz", "x.parquet.gz"]
    )
    def test_what_is_written_is_read(self, tmp_path, name):
        write_table(tmp_path / name, self.COLUMNS)
        table = read_table(tmp_path / name)
        assert [*table] == [*self.COLUMNS]
        for key, values in self.COLUMNS.items():
            np.testing.assert_array_equal(table[key], values)

    def test_a_gap_of_a_single_column_is_a_row(self, path):
        write_table(path, {"a": np.array([1, np.nan, 3])})
        assert np.isnan(read_table(path)["a"]).tolist() == [False, True, False]

    def test_nothing_is_overwritten_and_other_endings_are_refused(self, path, one_sentence):
        path.write_text("mine")
        for wrong in (path, path.with_suffix(".xlsx")):
            with pytest.raises(ConfigError) as caught:
                write_table(wrong, self.COLUMNS)
            one_sentence(str(caught.value))
        assert path.read_text() == "mine"


def test_columns_take_the_types_of_the_file_that_they_are_like(tmp_path):
    day = datetime.date(2020, 2, 29)
    like = pa.table({"born": [day, None], "n": [3, None], "ok": [True, None], "other": [1, 2]})
    parquet.write_table(like, tmp_path / "like.parquet")
    feather.write_feather(like, tmp_path / "like.arrow")
    columns = {
        "born": np.array(["2020-02-29", "1999-12-31"], object),
        "n": np.array([3.0, 4.5]),
        "ok": np.array([True, False], object),
        "other": np.array([1.0, 2.0]),
    }
    for kind in ("parquet", "arrow"):
        path = tmp_path / f"out.{kind}"
        write_table(path, columns, like=tmp_path / f"like.{kind}")
        read = parquet.read_table(path) if kind == "parquet" else feather.read_table(path)
        assert read.to_pydict() == {
            "born": [day, datetime.date(1999, 12, 31)], "n": [3.0, 4.5], "ok": [True, False],
            "other": [1, 2],
        }  # fmt: skip
        assert read.schema.field("other").type == pa.int64()
    (tmp_path / "like.csv").write_text("n\n3\n")
    write_table(tmp_path / "out.csv", columns, like=tmp_path / "like.csv")
    assert list(read_table(tmp_path / "out.csv")["n"]) == [3.0, 4.5]
