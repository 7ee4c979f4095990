"""Scores of examples: those of `vaeflow evaluate`, and the share of test data below them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import vaeflow
from vaeflow.errors import ConfigError, DataError
from vaeflow.evaluation.stored import read
from vaeflow.parts.datasets.files.tables import read_table
from vaeflow.plugins.loading import load_plugins
from vaeflow.runs.directory import Run
from vaeflow.runs.evaluation import Evaluation
from vaeflow.runs.evaluation_options import EvaluationOptions
from vaeflow.runs.scores import known_errors
from vaeflow.runs.scoring import _share_below

FAST = {"samples": 3, "progress": False}


def test_the_scores_are_those_of_evaluate_for_each_example(run_copy, monkeypatch):
    run = Run.open(run_copy)
    found = vaeflow.score(run, **FAST)
    evaluation = Evaluation.of(run, load_plugins(), EvaluationOptions(samples=3))
    evaluation.run()
    kept = evaluation.kept.bounds
    monkeypatch.setattr("vaeflow.runs.scoring.evaluate_shared", None)  # the figures are kept
    assert np.array_equal(vaeflow.score(run, **FAST).log_p, found.log_p)
    assert np.array_equal(found.log_p, -kept.nll.values.numpy())
    errors = known_errors(
        *(t.numpy() for t in (kept.nll.errors, kept.pareto_k, kept.effective_sample_size))
    )
    np.testing.assert_array_equal(found.log_p_error, errors)
    np.testing.assert_array_equal(found.pareto_k, kept.pareto_k)
    assert np.array_equal(found.elbo, kept.elbo.values.numpy())
    assert found.bounds.nll == evaluation.run().bounds.nll
    assert found.reference == 6
    below = (found.log_p[:, None] > found.log_p).mean(1)
    np.testing.assert_allclose(found.less_likely, below)


def test_other_data_is_compared_with_the_test_data_that_the_run_keeps(run_copy):
    run = Run.open(run_copy)
    test = vaeflow.score(run, **FAST).log_p
    found = vaeflow.score(run, split="validation", **FAST)
    (kept,) = (run_copy / "evaluations").glob("test-laplace-k3-best*")
    np.testing.assert_allclose(-read(kept).bounds.nll.values, test)
    np.testing.assert_allclose(found.less_likely, (found.log_p[:, None] > test).mean(1))
    x = np.random.RandomState(0).rand(3, 4, 4)
    few = vaeflow.score(run, x, reference=4, **FAST)
    assert few.reference == 6  # all of it is kept
    assert vaeflow.score(run, x, reference=0, **FAST).less_likely is None


def test_gaps_covariates_and_weights_work_as_in_evaluate(people_run, people, cli, tmp_path):
    found = vaeflow.score(people_run, people, reference=0, **FAST)
    assert list(found.columns) == [
        "row", "id", "group", "log_p", "log_p_error", "pareto_k", "elbo", "observed",
    ]  # fmt: skip
    table = read_table(people)
    names = ("age", "visits", "smokes", "site")
    gaps = np.mean([[v is None or v != v for v in table[name]] for name in names], 0)
    np.testing.assert_allclose(found.observed, 1 - gaps)
    run = Run.open(people_run)
    data = run.model.examples(run.form.columns.encode(table), {"group": table["group"]})
    bounds = vaeflow.evaluate(run.model, data, samples=3, seed=0, progress=False)
    assert found.bounds.elbo == bounds.elbo
    assert found.bounds.nll == bounds.nll


def test_a_model_without_a_run_scores_what_it_is_given(trained):
    model = vaeflow.load(trained)
    found = vaeflow.score(model, torch.rand(1, 4, 4), **FAST)
    assert (len(found), found.less_likely, found.reference) == (1, None, 0)
    with pytest.raises(ConfigError, match="score: a model has no data of its own"):
        vaeflow.score(model)
    with pytest.raises(DataError):
        vaeflow.score(model, torch.rand(1, 4, 5))


def test_the_command_shows_the_least_likely_or_writes_all(cli, people_run, people, here):
    words = ("score", people_run, "-k", 3, "--data", people, "--reference", 5)
    shown = cli(*words, "-n", 3)
    assert shown.code == 0, shown.err
    assert "the 3 least likely of 80" in shown.out
    done = cli(*words, "--out", "scores.csv")
    assert (done.code, done.out) == (0, "wrote scores.csv\n"), done.err
    table = read_table(here / "scores.csv")
    assert table["row"].tolist() == list(range(2, 82))
    least = np.argsort(table["log_p"])[:3]
    assert all(f" {table['id'][i]} " in shown.out for i in least)
    assert cli(*words, "--out", "scores.csv").code == 2
    assert '"least_likely": [' in cli(*words, "--json").out


def test_the_share_counts_the_weights_of_the_test_data():
    log_p, reference = torch.tensor([0.5, -1.0, 2.0]).double(), torch.tensor([1.0, 0.0]).double()
    share = _share_below(log_p, reference, torch.tensor([1.0, 3.0]).double())
    assert share.tolist() == [0.75, 0, 1]


def test_an_error_that_the_weights_do_not_tell_is_left_out_and_its_row_named(people_run, people):
    ones = np.ones(4)
    k, effective = np.array([0.5, 0.9, 0.5, np.nan]), np.array([50.0, 50, 1, 50])
    assert np.isnan(known_errors(ones, k, effective)).tolist() == [False, True, True, False]
    table = dict(read_table(people))
    table["age"] = np.where(np.arange(80) == 5, 400.0, table["age"])
    options = {"samples": 3, "max_draws": 2, "reference": 5, "progress": False}
    found = vaeflow.score(people_run, table, **options)
    assert found.columns["row"].tolist() == list(range(80))  # of a frame, by position
    assert found.least_likely(1).tolist() == [5]
    assert found.unsettled.all()
    assert np.isnan(found.log_p_error).all()
    share, coarse, unsettled, _ = found.sentences
    few = int((found.less_likely < 0.01).sum())
    assert share.startswith(f"{few} of 80 rows ")
    assert share.endswith(" less likely than 99 % of the test data; by chance 0.8 of 80 would be")
    assert coarse.startswith(f"{found.reference} test examples cannot resolve 1 %")
    assert unsettled.startswith("rows 5, ")
    assert ", … (80 in all) are not settled: their log p(x) is a lower bound" in unsettled
    one = replace(found, unsettled=np.arange(80) == 5)
    assert any(told.startswith("row 5 is not settled: its log p(x) is") for told in one.sentences)


def test_an_array_for_a_run_of_a_table_is_refused_in_words(people_run):
    told = (
        "the data is a ndarray, but this run reads columns by name, such as .*: give a data frame"
    )
    with pytest.raises(DataError, match=told):
        vaeflow.score(people_run, np.zeros((2, 4)), **FAST)
