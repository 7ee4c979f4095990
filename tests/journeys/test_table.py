"""From a table to a trained model: the page's commands, and a data frame in Python."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

import vaeflow
from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.tables import read_table

PAGE = Path(__file__).parents[2].joinpath("docs/tables.md").read_text("utf-8")
SMALL = {
    "train": ["--epochs", "1", "--test-images", "5", "--test-samples", "3", "--no-tensorboard",
              "--encoder.hidden", "8", "--decoder.hidden", "8", "--latent", "2"],
    "impute": ["--samples", "5"],
}  # fmt: skip


def test_the_commands_of_the_page_lead_from_a_file_to_samples(cli, here):
    python, *_ = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    exec(python.replace("load_digits()", "load_digits(n_class=2)"), {})  # our own page
    commands = re.findall(r"^vaeflow .*", PAGE, re.M)
    assert [c.split()[1] for c in commands] == ["data", "train", "impute", "sample", "encode"]
    for command in commands:
        words = shlex.split(command.replace("digit=3", "digit=1"))[1:]
        done = cli(*words, *SMALL.get(words[0], ()))
        assert done.code == 0, done.err
    raw, filled, threes, codes = (
        read_table(Path(name)) for name in ("digits.csv", "filled.csv", "threes.csv", "codes.csv")
    )
    assert filled.size == raw.size == codes.size
    assert not any(np.isnan(filled[f"pixel_{i}"]).any() for i in range(64) if i % 8 not in (0, 7))
    assert filled["id"].tolist() == raw["id"].tolist()
    assert set(threes["digit"]) == {1}
    assert {"id", "z0", "z1"} <= codes.keys()


@pytest.fixture(scope="module")
def fitted():
    random = np.random.RandomState(0)
    frame = pa.table({
        "age": random.randint(20, 90, 60).astype(float),
        "visits": random.poisson(2, 60),
        "site": random.choice(["north", "south"], 60),
        "w": random.rand(60),
    })  # fmt: skip
    splits = vaeflow.datasets.Table.of(frame, weights="w")
    parts = {"likelihood": "columns", "encoder": ("mlp", {"hidden": [8]})}
    model = vaeflow.build(splits, latent=2, condition=["site"], **parts)
    return vaeflow.fit(model, splits, epochs=1), splits


def test_a_data_frame_is_fitted_and_saved_with_its_columns(fitted, cli, here):
    found, _ = fitted
    assert found.data_sizes == {"train": 48, "validation": 6}
    vaeflow.save(found, "run")
    loaded = vaeflow.load("run")
    assert loaded.columns == found.model.columns
    assert loaded.columns.names == ("age", "visits")
    for name, values in found.model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], values)
    done = cli("sample", "run", "--condition", "site=north", "-n", "7", "--out", "drawn.csv")
    assert done.code == 0, done.err
    drawn = read_table(Path("drawn.csv"))
    assert [*drawn] == ["age", "visits", "site"]
    assert drawn.size == 7


def test_a_model_of_gaps_is_built_for_splits_with_gaps(fitted):
    frame = pa.table({"a": [1.0, None, 3.0, 4.5] * 10, "b": list(range(0, 80, 2))})
    splits = vaeflow.datasets.Table.of(frame, kinds={"b": "number"})
    assert vaeflow.build(splits).missing
    assert not vaeflow.build(fitted[1]).missing


def test_a_frame_itself_is_refused_with_what_to_do(fitted, one_sentence):
    frame = pa.table({"a": [1.0, 2.0, 4.0, 8.0]})
    model = vaeflow.build((1,), likelihood="gaussian")
    with pytest.raises(DataError, match=r"by vaeflow\.datasets\.Table\.of") as caught:
        vaeflow.fit(model, frame)
    one_sentence(str(caught.value))
    vaeflow.fit(model, vaeflow.datasets.Table.of(frame), epochs=1)
