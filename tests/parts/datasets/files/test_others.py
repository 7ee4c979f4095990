"""Files that no data set reads."""

import zipfile

import numpy as np
import pytest

from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.arrays import read_arrays
from vaeflow.parts.datasets.files.others import is_array, other_format
from vaeflow.parts.datasets.files.tables import read_table
from vaeflow.parts.datasets.folders import find_splits


def zipped(path, member):
    with zipfile.ZipFile(path, "w") as z:
        z.writestr(member, "x")


@pytest.mark.parametrize(
    ("member", "kind"), [("xl/workbook.xml", "an Excel workbook"), ("a.csv", "an archive")]
)
def test_an_archive_is_told_by_what_is_in_it(tmp_path, member, kind):
    zipped(tmp_path / "x.dat", member)
    for read in (read_table, lambda path: read_arrays(path, limit=10**6)):
        with pytest.raises(DataError, match=f"x.dat is {kind}, "):
            read(tmp_path / "x.dat")


def test_arrays_are_no_table_and_no_other_format(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    start = (tmp_path / "x.npz").read_bytes()[:128]
    assert is_array(start)
    assert other_format(tmp_path / "x.npz", start) is None
    with pytest.raises(DataError, match=r"a file of arrays, and no table of cells: give a .csv"):
        read_table(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("x.json", b'{"a": 1}', "JSON"),
        ("x.json", b"[]", "JSON"),
        ("x.xlsx", b"", "an Excel workbook"),
        ("x.h5", b"\x89HDF", "HDF5"),
        ("x.pkl", b"\x80\x04", "a pickle"),
    ],
)
def test_another_format_is_named_with_what_is_read(tmp_path, name, content, kind, one_sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} is {kind}, .*tables .* and folders") as caught:
        read_arrays(tmp_path / name, limit=10**6)
    one_sentence(str(caught.value))


def test_a_run_directory_is_no_data(tmp_path):
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(DataError, match="is the directory of a run, and holds no data"):
        find_splits(tmp_path, {".png"})
