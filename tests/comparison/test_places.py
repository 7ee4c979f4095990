"""Places of runs: their names, and the times that they share."""

from pathlib import Path

import pytest

from vaeflow.benchmark.grid import Cell, Grid
from vaeflow.comparison.places import find
from vaeflow.config.way import Way
from vaeflow.errors import CheckpointError
from vaeflow.evaluation.findings import sentences


def benchmark(path, *cells, jobs=1):
    Grid(tuple(Cell(name, {"seed": 0}) for name in cells), Way("laplace", 5), jobs).write(path)
    return path


def run(path):
    path.mkdir(parents=True)
    (path / "config.toml").touch()
    return path


def named(*paths):
    return [place.name for place in find(paths)[0]]


def test_a_run_is_named_by_as_much_of_its_path_as_no_other_has(tmp_path):
    one = benchmark(tmp_path / "a/grid", "planar-s0", "iaf-s0")
    assert named(one) == ["planar-s0", "iaf-s0"]
    two = benchmark(tmp_path / "b/grid", "planar-s0")
    assert named(one, two) == [
        "a/grid/runs/planar-s0", "iaf-s0", "b/grid/runs/planar-s0"
    ]  # fmt: skip
    alone = run(tmp_path / "first")
    assert named(alone, one, alone) == ["first", "planar-s0", "iaf-s0"]


def test_names_do_not_depend_on_where_one_is(tmp_path, monkeypatch):
    one = benchmark(tmp_path / "grid", "planar-s0", jobs=2)
    expected = [place.name for place in find([one])[0]], find([one])[1]
    monkeypatch.chdir(one)
    places, notes = find([Path()])
    assert ([place.name for place in places], notes) == expected
    assert places[0].run.path == Path("runs/planar-s0")  # which opens from here


def test_shared_times_are_noted_once(tmp_path):
    grids = [benchmark(tmp_path / f"g{i}", f"c{i}", jobs=jobs) for i, jobs in enumerate((2, 1, 2))]
    notes = find(grids)[1]
    assert [(note.kind, note.subject, note.details["jobs"]) for note in notes] == [
        ("machine-shared", "g0", 2), ("machine-shared", "g2", 2)
    ]  # fmt: skip
    assert sentences(notes) == ["Times of g0, g2 are of 2 runs that shared the machine."]


def test_a_folder_that_is_neither_run_nor_benchmark_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is neither a run directory"):
        find([tmp_path])
