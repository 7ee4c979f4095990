"""`vaeflow impute`: a table with its gaps filled in, and how certain they are beside it."""

import numpy as np
import pytest
from pyarrow import parquet as pq

from vaeflow.parts.datasets.files.tables import read_table
from vaeflow.runs.imputation import impute


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_it_writes_the_table_and_the_spread_beside_it(ending, cli, people_run, here):
    done = cli("impute", people_run, "--out", f"filled.{ending}", "--samples", 50)
    assert done.code == 0, done.err
    found = impute(people_run, samples=50)
    *lines, last = done.out.splitlines()
    assert lines == str(found).splitlines()
    assert last == f"wrote filled.{ending} and filled.spread.{ending}"
    table, spread = (read_table(here / f"filled{part}.{ending}") for part in ("", ".spread"))
    assert list(table) == ["id", "age", "visits", "smokes", "site", "group"]
    for name, values in found.columns.items():
        assert np.array_equal(table[name], values), name
    assert list(spread) == ["id", *found.spread]
    if ending == "parquet":
        assert pq.read_schema(here / "filled.parquet").field("visits").type == "int64"
    for name, values in found.spread.items():
        np.testing.assert_allclose(spread[name], values, rtol=1e-6, err_msg=name)


def test_a_file_of_the_same_form_is_filled_in(cli, people_run, here):
    (here / "new.tsv").write_text("age\tvisits\tsmokes\tsite\n\t2\tyes\twest\n")
    words = ("--data", "new.tsv", "--out", "new.filled.csv", "--condition", "group=b")
    done = cli("impute", people_run, *words)
    assert done.code == 0, done.err
    table = read_table(here / "new.filled.csv")
    assert 0 < table["age"][0] < 100
    assert (table["visits"][0], table["smokes"][0], table["site"][0]) == (2, "yes", "west")
    assert (here / "new.filled.spread.csv").exists()


def test_nothing_is_overwritten(cli, people_run, here):
    (here / "filled.spread.csv").write_text("mine")
    done = cli("impute", people_run, "--out", "filled.csv")
    assert (done.code, done.out) == (2, "")
    assert "--out filled.spread.csv: it exists, and nothing is overwritten" in done.err
    assert [path.name for path in here.iterdir()] == ["filled.spread.csv"]


def test_arrays_go_to_an_npz_file(cli, trained, people_run, here):
    done = cli("impute", trained, "--out", "filled.csv")
    assert (done.code, "the name must end in .npz" in done.err) == (2, True)
    done = cli("impute", people_run, "--out", "filled.npy")
    assert "the name must end in .csv, .tsv, .parquet, .arrow or .feather" in done.err
    done = cli("impute", trained, "--out", "filled.npz")
    assert (done.code, "train it again with --missing mask" in done.err) == (2, True)
