"""`vaeflow.sklearn.VAE` under scikit-learn's own checks, in its pipelines, searches and pickles."""

from __future__ import annotations

import logging
import pickle
import pickletools
from copy import deepcopy
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import vaeflow
from vaeflow.errors import ConfigError, DataError
from vaeflow.evaluation.proposals.choice import Choice
from vaeflow.sklearn import VAE

_SMALL = ("mlp", {"hidden": (8,)})
_DRAWS = (
    "means of flows and log p(x) are estimated from draws, whose noise goes with the place of a "
    "row in its batch"
)
EXPECTED = {
    "check_methods_sample_order_invariance": _DRAWS,
    "check_methods_subset_invariance": _DRAWS,
    "check_sample_weight_equivalence_on_dense_data": "a row that is there twice stands in two "
    "batches, a weight of 2 in one: the gradients agree in their means alone",
}


def small(posterior: Any = "planar", **more: Any) -> VAE:
    given = {"encoder": _SMALL, "decoder": _SMALL, "epochs": 3, "random_state": 0, **more}
    return VAE(posterior, **given)


@pytest.fixture(scope="module")
def iris() -> np.ndarray:
    return load_iris().data


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.RandomState(0)
    z = rng.randn(90)
    return pd.DataFrame(
        {
            "age": np.where(rng.rand(90) < 0.2, np.nan, 40 + 10 * z),
            "visits": rng.poisson(np.exp(1 + z / 2)),
            "smokes": z + rng.randn(90) > 0,
            "site": rng.choice(["north", "south", "west"], 90),
        }
    )


@pytest.fixture(scope="module")
def on_frame(frame: pd.DataFrame) -> VAE:
    return small("identity", validation_fraction=0).fit(frame)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([small()], expected_failed_checks=lambda estimator: EXPECTED)
def test_scikit_learn_finds_nothing_else_to_object_to(estimator: VAE, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("posterior", ["identity", "planar", "iaf"])
def test_scores_are_log_densities_in_the_units_of_the_data(
    iris: np.ndarray, posterior: str
) -> None:
    """The oracle: `vaeflow.evaluate` on data that NumPy standardizes, and the Jacobian of that."""
    fitted = small(posterior, validation_fraction=0).fit(iris)
    mean, deviation = iris.mean(0), iris.std(0)
    bounds = vaeflow.evaluate(fitted.model_, (iris - mean) / deviation)
    expected = -bounds.nll.mean - np.log(deviation).sum()
    assert fitted.score(iris) == pytest.approx(expected, abs=0.02)
    assert fitted.score(iris) == pytest.approx(fitted.score_samples(iris).mean())


def test_where_nothing_can_be_fitted_the_draws_are_of_q(
    iris: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = small().fit(iris)
    fine = fitted.score_samples(iris)
    monkeypatch.setattr("vaeflow.sklearn.estimator.choose", lambda *given: Choice("q"))
    under_q = fitted.score_samples(iris)
    assert not np.array_equal(fine, under_q)
    np.testing.assert_allclose(under_q, fine, atol=0.5)


def test_another_unit_moves_scores_by_its_logarithm_alone(iris: np.ndarray) -> None:
    near, far = small().fit(iris), small().fit(1024 * iris)
    moved = near.score_samples(iris) - far.score_samples(1024 * iris)
    np.testing.assert_allclose(moved, iris.shape[1] * np.log(1024), rtol=1e-6)


def test_codes_go_back_to_the_data(iris: np.ndarray) -> None:
    fitted = small("identity", epochs=150, lr=1e-2).fit(iris)
    back = fitted.inverse_transform(fitted.transform(iris))
    assert back.shape == iris.shape
    explained = 1 - (back - iris).var(0).sum() / iris.var(0).sum()
    assert explained > 0.8
    with pytest.raises(ValueError, match="but a code has 2"):
        fitted.inverse_transform(iris)


def test_a_fit_is_a_function_of_its_random_state(iris: np.ndarray) -> None:
    one, same, other = (small(random_state=seed).fit(iris) for seed in (0, 0, 1))
    assert np.array_equal(one.transform(iris), same.transform(iris))
    assert np.array_equal(one.score_samples(iris), same.score_samples(iris))
    assert not np.array_equal(one.transform(iris), other.transform(iris))
    assert np.array_equal(one.sample(5, random_state=3), one.sample(5, random_state=3))
    assert not np.array_equal(one.sample(5, random_state=3), one.sample(5, random_state=4))


def test_a_row_of_weight_zero_is_as_good_as_none(iris: np.ndarray) -> None:
    weights = np.zeros(len(iris))
    weights[::15] = 2  # so few that a split by chance would hold out none of them
    weighted, without = small().fit(iris, sample_weight=weights), small().fit(iris[::15])
    np.testing.assert_allclose(weighted.transform(iris), without.transform(iris), rtol=1e-5)
    doubled = small().fit(iris, sample_weight=1 + (iris[:, 0] > 6))
    assert not np.allclose(doubled.transform(iris), small().fit(iris).transform(iris), rtol=1e-3)


def test_fitting_and_scoring_leave_the_generators_alone(iris: np.ndarray) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    fitted = small().fit(iris)
    fitted.score(iris), fitted.transform(iris), fitted.sample(2, random_state=0)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


def test_a_pipeline_and_a_search_over_parts_and_their_options(iris: np.ndarray) -> None:
    pipeline = make_pipeline(StandardScaler(), small())
    grid = [
        {"vae__posterior": ["identity"]},
        {"vae__posterior": ["planar"], "vae__posterior__steps": [1, 2]},
    ]
    search = GridSearchCV(pipeline, grid, cv=2, refit=True, error_score="raise").fit(iris)
    assert len(search.cv_results_["params"]) == 3
    scores = search.cv_results_["mean_test_score"]
    assert search.best_score_ == pytest.approx(max(scores))
    assert len({*scores}) == 3
    assert search.transform(iris).shape == (len(iris), 2)


def test_parameters_of_parts_are_set_and_told_by_name() -> None:
    estimator = small(("planar", {"steps": 4}))
    assert estimator.get_params()["posterior__steps"] == 4
    assert "posterior__steps" not in estimator.get_params(deep=False)
    copied = clone(estimator).set_params(posterior__steps=8, latent=3)
    assert (copied.posterior, copied.latent) == (("planar", {"steps": 8}), 3)
    assert copied.set_params(posterior__amortize="none").posterior == (
        "planar",
        {"steps": 8, "amortize": "none"},
    )
    assert estimator.posterior == ("planar", {"steps": 4})
    replaced = copied.set_params(posterior__steps=2, posterior="iaf")  # the option is the new one's
    assert replaced.posterior == ("iaf", {"steps": 2})
    with pytest.raises(ValueError, match="Invalid parameter 'latent__size'"):
        estimator.set_params(latent__size=2)
    with pytest.raises(ValueError, match=r"planar has no option 'stepz' \(did you mean 'steps'\?"):
        estimator.set_params(posterior__stepz=3)


def test_a_pickle_is_the_files_of_a_run(iris: np.ndarray, tmp_path: Path) -> None:
    fitted = small(("planar", {"steps": 2})).fit(iris)
    content = pickle.dumps(fitted)
    told = [str(value) for _, value, _ in pickletools.genops(content) if isinstance(value, str)]
    assert not [word for word in told if word.partition(".")[0] in ("torch", "_rebuild")]
    joblib.dump(fitted, tmp_path / "vae.joblib")
    copies = [pickle.loads(content), joblib.load(tmp_path / "vae.joblib"), deepcopy(fitted)]  # noqa: S301
    for copy in [*copies, pickle.loads(pickle.dumps(copies[0]))]:  # noqa: S301
        assert np.array_equal(copy.transform(iris), fitted.transform(iris))
        assert np.array_equal(copy.score_samples(iris), fitted.score_samples(iris))
        assert copy.history_ == fitted.history_
    assert pickle.loads(pickle.dumps(small())).get_params() == small().get_params()  # noqa: S301


def test_a_damaged_pickle_is_refused(iris: np.ndarray) -> None:
    content = pickle.dumps(small().fit(iris))
    at = content.index(b"posterior.") + 4  # within the names of the weights
    damaged = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    with pytest.raises(vaeflow.errors.VaeflowError):
        pickle.loads(damaged)  # noqa: S301


def test_a_saved_estimator_is_a_run(
    on_frame: VAE, frame: pd.DataFrame, tmp_path: Path, cli: Any
) -> None:
    on_frame.save(tmp_path / "run")
    model = vaeflow.load(tmp_path / "run")
    np.testing.assert_allclose(model.encode(frame), on_frame.transform(frame), rtol=1e-5, atol=1e-6)
    assert cli("sample", tmp_path / "run", "-n", 3, "--out", tmp_path / "x.csv").code == 0
    with pytest.raises(ConfigError, match="nothing is overwritten"):
        on_frame.save(tmp_path / "run")


def test_a_data_frame_has_columns_of_several_kinds_and_gaps(
    on_frame: VAE, frame: pd.DataFrame
) -> None:
    kinds = [column.kind for column in on_frame.model_.columns]
    assert kinds == ["number", "count", "boolean", "category"]
    z = on_frame.set_output(transform="pandas").transform(frame)
    on_frame.set_output(transform="default")
    assert [*z.columns] == ["vae0", "vae1"] == [*on_frame.get_feature_names_out()]
    for x in (on_frame.inverse_transform(z.to_numpy()), on_frame.sample(40, random_state=0)):
        assert [*x.columns] == [*frame.columns] == [*on_frame.feature_names_in_]
        assert {*x["site"]} <= {"north", "south", "west"}
        assert not x.isna().any().any()
    draws = on_frame.sample(40, random_state=0)
    assert (draws["visits"] == draws["visits"].round()).all()


def test_values_come_back_as_the_frame_held_them(frame: pd.DataFrame) -> None:
    smokes, rng = frame["smokes"], np.random.RandomState(1)
    held = pd.DataFrame(
        {
            "bool": smokes,
            "boolean": smokes.astype("boolean"),
            "objects": smokes.astype(object),
            "flags": smokes.astype("category"),
            "words": smokes.map({True: "true", False: "false"}),
            "ones": smokes.astype("int8"),
            "whole": frame["visits"].astype("Int64"),
            "half": frame["age"].fillna(40.0).astype("float32"),
            "zone": rng.choice([10, 20, 30], 90),
            "ward": pd.Categorical(rng.choice([1, 2, 3], 90), [3, 2, 1], ordered=True),
            "code": rng.choice(["1", "2"], 90),
            "site": frame["site"].astype("category"),
        }
    )
    kinds = dict.fromkeys(["zone", "code"], "category")
    fitted = small("identity", kinds=kinds, epochs=1).fit(held)
    drawn = fitted.sample(60, random_state=0)
    assert [*drawn.dtypes] == [*held.dtypes]
    for name in held.columns.drop(["whole", "half"]):
        assert {*drawn[name]} <= {*held[name]}
        assert {type(v) for v in drawn[name]} == {type(v) for v in held[name]}
    means = fitted.inverse_transform(fitted.transform(drawn))
    changed = {name for name in held if means[name].dtype != held[name].dtype}
    assert changed <= {"whole"}  # whose means are not whole
    back = pickle.loads(pickle.dumps(fitted)).sample(60, random_state=0)  # noqa: S301
    pd.testing.assert_frame_equal(back, drawn)
    as_numbers = small("identity", kinds={"bool": "number", "ward": "number"}, epochs=1).fit(held)
    assert {*as_numbers.sample(9, random_state=0)[["bool", "ward"]].dtypes} == {np.dtype(float)}


def test_two_columns_of_one_name_are_refused(frame: pd.DataFrame, on_frame: VAE) -> None:
    twice = frame.rename(columns={"visits": "age"})
    for call in (small().fit, on_frame.transform, on_frame.model_.examples):
        with pytest.raises(DataError, match=r"has two columns 'age': rename or drop one of them$"):
            call(twice)


def test_a_missing_number_takes_its_unit_with_it(on_frame: VAE, frame: pd.DataFrame) -> None:
    """log p of the observed values: the model's own, less log σ where there is an age."""
    data = on_frame.model_.examples(frame)
    bounds = vaeflow.evaluate(on_frame.model_, data)
    known = frame["age"].notna()
    expected = -bounds.nll.mean - known.mean() * np.log(frame["age"].std(ddof=0))
    assert on_frame.score(frame) == pytest.approx(expected, abs=0.02)


def test_kinds_of_columns_can_be_chosen(frame: pd.DataFrame) -> None:
    fitted = small("identity", kinds={"visits": "number"}, epochs=1).fit(frame)
    assert fitted.model_.columns[1].kind == "number"
    with pytest.raises(ConfigError, match=r"no column 'visit' \(did you mean 'visits'"):
        small(kinds={"visit": "number"}).fit(frame)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"posterior": "planer"}, ConfigError, "did you mean"),
        ({"posterior": ("planar", {"step": 3})}, ConfigError, "did you mean"),
        ({"settings": {"lr": 1.0}}, ConfigError, "a parameter of its own"),
        ({"settings": {"seed": 1}}, ConfigError, "give random_state"),
        ({"settings": {"clop": 1}}, ConfigError, "clip"),
        ({"validation_fraction": 1}, ConfigError, "below 1"),
        ({"likelihood": "bernoulli"}, DataError, "X|x"),
    ],
)
def test_wrong_parameters_are_refused_at_the_fit(
    iris: np.ndarray, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        small().set_params(**change).fit(iris)


def test_wrong_data_is_refused(iris: np.ndarray, on_frame: VAE, frame: pd.DataFrame) -> None:
    fitted = small().fit(iris)
    gap = iris.copy()
    gap[3, 1] = np.nan
    with pytest.raises(DataError, match="missing value in row 3"):
        fitted.transform(gap)
    with pytest.raises(DataError, match="'east'"):
        on_frame.transform(frame.assign(site="east"))
    with pytest.raises(DataError, match="column 'name' is 90 different texts"):
        small().fit(frame.assign(name=[f"P{i}" for i in range(90)]))
    with pytest.raises(DataError, match="column 'visits' is infinite in row 0"):
        small().fit(frame.assign(visits=np.inf))
    with pytest.raises(NotFittedError):
        small().sample()


def test_an_index_is_no_column(frame: pd.DataFrame, on_frame: VAE) -> None:
    shuffled = frame.sample(frac=1, random_state=0)
    named = frame.set_index(pd.Index(range(90), name="id"))
    for other in (shuffled, named):
        fitted = small("identity", epochs=1).fit(other)
        assert fitted.model_.columns.names == tuple(frame.columns)
    order = shuffled.index.to_numpy()
    np.testing.assert_allclose(
        on_frame.transform(shuffled), on_frame.transform(frame)[order], rtol=1e-5, atol=1e-6
    )


def test_gaps_in_an_array_are_taken(iris: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    x = np.where(np.random.RandomState(0).rand(*iris.shape) < 0.2, np.nan, iris)
    with caplog.at_level(logging.WARNING):
        fitted = small().fit(x)
    assert np.isfinite(fitted.score_samples(x)).all()
    assert not caplog.records


def test_binary_data_is_left_as_it_is() -> None:
    x = (np.random.RandomState(0).rand(60, 6) < 0.3).astype(float)
    fitted = small(likelihood="bernoulli").fit(x)
    assert {(column.center, column.spread) for column in fitted.model_.columns} == {(0.0, 1.0)}
    assert {*np.unique(fitted.sample(20, random_state=0))} == {0.0, 1.0}
    assert fitted.score(x) < 0  # of a probability
