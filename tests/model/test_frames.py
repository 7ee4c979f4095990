"""Data frames and splits given to a trained model: by the columns that it was trained on."""

import numpy as np
import pyarrow as pa
import pytest
import torch

import vaeflow
from vaeflow.errors import DataError

Table = vaeflow.datasets.Table


def rows(count, seed):
    random = np.random.RandomState(seed)
    return pa.table({
        "id": [f"P{seed}-{i:03}" for i in range(count)],
        "age": random.normal(50 + 10 * seed, 9, count),
        "visits": random.poisson(2, count).astype(float),
        "ward": np.where(random.rand(count) > 0.5, "A", "B")[:count],
        "site": random.choice(["north", "south"], count),
    })  # fmt: skip


SMALL = {"encoder": ("mlp", {"hidden": [6]}), "decoder": ("mlp", {"hidden": [6]}), "latent": 2}


@pytest.fixture(scope="module")
def splits():
    return Table.of(rows(80, 0), drop=["id"])


@pytest.fixture(scope="module")
def model(splits):
    built = vaeflow.build(splits, likelihood="columns", condition=["site"], **SMALL)
    vaeflow.fit(built, splits, epochs=1, progress=False)
    return built


@pytest.fixture(scope="module")
def new():
    return rows(9, 3)


def test_new_rows_are_taken_by_the_scale_and_levels_of_the_training(model, splits, new):
    only_a = new.filter(pa.compute.equal(new["ward"], "A"))
    age = splits.columns[splits.columns.names.index("age")]
    assert age.spread != 1
    data = model.examples(only_a)
    wanted = (only_a["age"].to_numpy() - age.center) / age.spread
    np.testing.assert_allclose(data.values[:, 0], wanted, rtol=1e-5)
    assert data.shape == (len(only_a), model.columns.width)
    back = model.columns.decode(data.values)
    assert set(back["ward"]) == {"A"}
    np.testing.assert_allclose(back["age"], only_a["age"].to_numpy(), rtol=1e-5)


def as_pandas(table):
    pd = pytest.importorskip("pandas")
    frame = table.to_pandas()
    return pd.concat([frame.head(1), frame])[1:]  # with an index of its own


@pytest.mark.parametrize("form", [lambda t: t, as_pandas, lambda t: t.to_pydict()])
def test_a_frame_is_encoded_reconstructed_and_evaluated(form, model, new):
    frame = form(new)
    arrays = {name: np.asarray(new[name]) for name in new.column_names}
    data = model.examples(model.columns.encode(arrays), {"site": arrays["site"]})
    assert torch.equal(model.examples(frame).condition, data.condition)
    assert torch.equal(model.encode(frame), model.encode(data))
    torch.manual_seed(0)
    found = model.reconstruct(frame)
    torch.manual_seed(0)
    assert torch.equal(found, model.reconstruct(data))
    found, wanted = (vaeflow.evaluate(model, x, samples=5, proposal="q") for x in (frame, data))
    assert found.nll.mean == wanted.nll.mean


def test_covariates_may_be_given_beside_the_frame(model, new):
    other = model.examples(new, {"site": "south"})
    assert torch.equal(other.condition, torch.ones(9, 1))
    assert torch.equal(model.encode(new.drop(["site"]), condition={"site": "south"}),
                       model.encode(other))  # fmt: skip
    with pytest.raises(DataError, match="conditioned on 'site', which is not given"):
        model.encode(new.drop(["site"]))
    with pytest.raises(DataError, match="have 2 values, but the data frame 9 rows"):
        model.encode(new, condition={"site": ["north", "south"]})
    weighted = model.examples(new, weight=np.arange(9))
    assert weighted.weight.tolist() == [*range(9)]


def test_a_frame_of_other_columns_is_refused(model, new, one_sentence):
    cases = [
        (
            new.drop(["age"]),
            "no column 'age': the model was trained on it, and the data has id, visits",
        ),
        (new.set_column(3, "ward", [["C"] * 9]), "row 0, column 'ward' holds 'C', which"),
        (new.set_column(2, "visits", [[-1.0] * 9]), "the data frame: row 0, column 'visits' is -1"),
    ]
    for frame, told in cases:
        with pytest.raises(DataError, match=told) as caught:
            vaeflow.evaluate(model, frame)
        one_sentence(str(caught.value))


def test_a_model_without_columns_says_how_to_take_frames(new, one_sentence):
    plain = vaeflow.build((3,), likelihood="gaussian", **SMALL)
    for call in (plain.encode, lambda x: vaeflow.evaluate(plain, x)):
        with pytest.raises(DataError, match="build a model for the splits of the frame") as caught:
            call(new)
        one_sentence(str(caught.value))


def test_a_frame_is_fitted_as_splits_or_examples(model, new, one_sentence):
    with pytest.raises(DataError, match=r"x is a data frame.* give model\.examples\(frame\)") as e:
        vaeflow.fit(model, new)
    one_sentence(str(e.value))
    with pytest.raises(DataError, match="validation is a data frame"):
        vaeflow.fit(model, model.examples(new), new)


def test_a_split_of_a_table_is_taken_with_its_covariates(model, splits, one_sentence):
    data = model.examples(splits, split="test")
    assert torch.equal(data.condition[:, 0], splits.test[:, -1])  # the level south
    for call in (model.encode, model.examples, lambda x: vaeflow.evaluate(model, x)):
        with pytest.raises(DataError, match=r"model\.examples\((splits|x), split='test'\)") as e:
            call(splits)
        one_sentence(str(e.value))
        with pytest.raises(DataError, match=r"with site beside them: give model\.examples") as e:
            call(splits.train)
        one_sentence(str(e.value))


def test_splits_on_another_scale_are_refused(model, new, one_sentence):
    other = Table.of(rows(80, 3), drop=["id"])
    for call in (lambda: vaeflow.fit(model, other), lambda: model.examples(other, split="test")):
        with pytest.raises(DataError, match="the splits differ in column 'age'") as caught:
            call()
        one_sentence(str(caught.value))


def test_draws_are_columns_in_units(model):
    torch.manual_seed(0)
    draws = model.sample(20, mean=False, condition={"site": "north"})
    found, same = model.columns.decode(draws), model.columns.decode(draws.numpy())
    assert [*found] == ["age", "visits", "ward"]
    assert all(np.array_equal(found[name], same[name]) for name in found)
    assert set(found["ward"]) <= {"A", "B"}
    assert (found["visits"] % 1 == 0).all()
    with pytest.raises(DataError, match=r"shape \(20, 1\), but \(N, 4\) is decoded"):
        model.columns.decode(draws[:, :1])


def test_the_index_of_a_frame_is_no_column(new):
    pd = pytest.importorskip("pandas")
    frame = new.to_pandas()
    found = vaeflow.datasets.Table.of(pd.concat([frame] * 3)[5:], drop=["id"])
    assert "__index_level_0__" not in found.labels["train"]
