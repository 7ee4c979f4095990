"""Finished runs: their evaluations."""

import pytest

from vaeflow.comparison.finished import choose_way, kept_evaluation
from vaeflow.comparison.places import Place
from vaeflow.config.way import Way
from vaeflow.errors import ConfigError
from vaeflow.runs.directory import Run

WAY = Way("laplace", 5)


def test_the_k_of_the_most_runs_is_suggested(tmp_path, monkeypatch, one_sentence):
    numbers = {"a": {9, 100}, "b": {7, 5000}, "c": {7}, "d": {5000}, "e": {7, 9}}
    kept = {name: {Way("laplace", k) for k in ks} for name, ks in numbers.items()}
    monkeypatch.setattr("vaeflow.comparison.finished._ways", lambda run, split: kept[run.path.name])
    monkeypatch.setattr("vaeflow.comparison.finished.trained", lambda run: True)
    places = [Place(name, Run(tmp_path / name)) for name in kept]
    with pytest.raises(ConfigError) as caught:
        choose_way(places, "test")
    cure = "give --proposal laplace and -k 7, with which 2 of 5 runs will be evaluated"
    assert cure in str(caught.value)
    one_sentence(str(caught.value))
    with pytest.raises(ConfigError, match="-k 5000, with which 1 of 2 runs will"):
        choose_way([places[2], places[3]], "test")


@pytest.mark.parametrize("proposal", ["q", "laplace", "mixture"])
@pytest.mark.parametrize("limit", [None, 20])
def test_a_way_is_read_from_the_name_of_its_file(proposal, limit):
    way = Way(proposal, 500, limit)
    assert Way.of(way.stem) == way
    assert Way.of(f"{way.stem}-") is None


def test_all_images_come_before_the_first_ones(tmp_path, monkeypatch):
    ways = {Way("q", 5), Way("laplace", 500, 20), Way("mixture", 9, 10)}
    monkeypatch.setattr("vaeflow.comparison.finished._ways", lambda run, split: ways)
    monkeypatch.setattr("vaeflow.comparison.finished.trained", lambda run: True)
    run = Run(tmp_path / "a")
    assert choose_way([Place("a", run)], "test") == {run.path: Way("q", 5)}
    ways.remove(Way("q", 5))
    assert choose_way([Place("a", run)], "test") == {run.path: Way("laplace", 500, 20)}


def test_an_unreadable_evaluation_counts_as_missing(tmp_path, caplog):
    found = Run(tmp_path)
    path = found.evaluation("test", WAY, "best")
    assert kept_evaluation(found, "test", WAY) is None
    assert not caplog.text
    path.parent.mkdir()
    path.write_bytes(b"half of i")
    assert kept_evaluation(found, "test", WAY) is None
    assert "cannot be read" in caplog.text
