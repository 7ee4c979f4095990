"""Columns of the data beside results of the same names: none is lost, in tables and arrays."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vaeflow.cli.output import write_rows
from vaeflow.data.beside import apart
from vaeflow.data.columns import Column, Columns
from vaeflow.data.examples import as_examples
from vaeflow.data.places import in_array
from vaeflow.latents.plane import Latent
from vaeflow.parts.datasets.files.tables import read_table
from vaeflow.parts.datasets.files.written import write_columns
from vaeflow.runs.codes import Codes
from vaeflow.runs.given import Given
from vaeflow.runs.scores import Scores

Z = np.random.RandomState(0).rand(3, 2)
LABELS = ("z0", "z0_label", "codes", "points", "share", "draw", "log_q", "log_p", "elbo", "other")
BESIDE = {name: np.arange(3) + 10.0 * i for i, name in enumerate(LABELS)}


@pytest.mark.parametrize(
    "found",
    [
        Codes(Z, BESIDE),
        Codes(Z[:, None], BESIDE, Z[:, :1]),
        Latent.of(Z, beside=BESIDE),
        Scores(
            log_p=Z[:, 0],
            log_p_error=Z[:, 1],
            pareto_k=Z[:, 0],
            unsettled=Z[:, 0] > 2,
            elbo=Z[:, 1],
            less_likely=None,
            reference=0,
            observed=np.ones(3),
            beside=BESIDE,
            bounds=None,
        ),
    ],
    ids=lambda found: type(found).__name__,
)
def test_results_keep_their_names_and_no_label_is_lost(found):
    for each in (found.arrays, found.columns):
        for name, values in BESIDE.items():
            kept = [key for key, other in each.items() if np.array_equal(values, other)]
            assert len(kept) == 1
            assert kept[0].removeprefix(name) in ("", "_label", "_label_label")
    alone = replace(found, beside={})
    for each, results in ((found.arrays, alone.arrays), (found.columns, alone.columns)):
        for name, values in results.items():
            assert np.array_equal(each[name], values)


def test_names_that_are_taken_end_in_the_suffix_until_they_are_free():
    columns = {"a": 1, "a_label": 2, "b": 3}
    assert apart(columns, ["a"]) == {"a_label_label": 1, "a_label": 2, "b": 3}
    assert list(apart(columns, ["a", "a_label"])) == ["a_label_label", "a_label_label_label", "b"]


def test_the_row_and_the_split_are_those_of_vaeflow():
    x = as_examples(torch.zeros(2, 1))
    own = {"row": np.array([7.0, 8.0]), "split": np.array(["u", "v"], object)}
    given = Given(
        x, x.x, in_array("x"), beside=own, splits=np.array(["test"] * 2, object), rows=[2, 3]
    )
    named = {name: values.tolist() for name, values in given.named.items()}
    assert named == {
        "split": ["test", "test"], "row": [2, 3], "row_label": [7, 8], "split_label": ["u", "v"],
    }  # fmt: skip


def test_an_npz_file_takes_any_names(tmp_path, caplog):
    names = ["file", "args", "kwds", "allow_pickle", "", "%2Fa", "å b.c", "self"]
    unsafe = {"../../evil": "..%2F..%2Fevil", "/a": "%2Fa_label", "\\a\x00\n": "%5Ca%00%0A"}
    columns = {name: np.array([i]) for i, name in enumerate([*names, *unsafe])}
    write_columns(tmp_path / "a.npz", columns)
    with np.load(tmp_path / "a.npz") as found:
        assert {*found.files} == {*names, *unsafe.values()}
        for name, values in columns.items():
            assert np.array_equal(found[unsafe.get(name, name)], values)
    assert "..%2F..%2Fevil" in caplog.text


def test_reconstructions_stand_beside_columns_of_their_names(tmp_path):
    columns = Columns((Column("age", "number"), Column("age_reconstructed", "number")))
    beside = {"age": np.array([9.0])}
    data, found = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])
    write_rows(tmp_path / "a.csv", columns, beside, data=data, reconstructed=found)
    table = read_table(tmp_path / "a.csv")
    assert {name: values.tolist() for name, values in table.items()} == {
        "age": [1], "age_reconstructed_reconstructed": [3], "age_reconstructed": [2],
        "age_reconstructed_reconstructed_reconstructed": [4], "age_label": [9],
    }  # fmt: skip
