"""`vaeflow tune` with Optuna itself: trials, pruning, failures, and searches that go on."""

from __future__ import annotations

import json
import shlex
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest

import vaeflow
from vaeflow.benchmark.engines import Outcome, Stop, spread
from vaeflow.errors import ConfigError, DataError, NonFiniteError, RunLockedError, VaeflowError
from vaeflow.plugins.loading import Plugins, load_plugins
from vaeflow.runs.directory import Run
from vaeflow.runs.experiment import Watch
from vaeflow.runs.lock import locked
from vaeflow.training import Observer
from vaeflow.tuning.search import Search
from vaeflow.tuning.study import Study, seed_of
from vaeflow.tuning.trial import run_trial
from vaeflow.tuning.tune import TrialTask, Tuned

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@dataclass
class Engine:
    """Does trials in this process, and stops one of them after its first epoch."""

    stopped: int | None = None
    done: int = 0

    def __call__(
        self, engine: Any, tasks: Sequence[TrialTask], jobs: int, stop: Stop
    ) -> Iterator[Outcome]:
        for task in tasks:
            watch = _stopping() if task.number == self.stopped else Watch()
            error = None
            try:
                run_trial(task.out, task.number, load_plugins(), watch, threads=task.threads)
            except VaeflowError as failure:
                error = str(failure)
            self.done += 1
            yield Outcome(task.name, 0.0, error)


def _stopping() -> Watch:
    class Once(Observer):
        seen = False

        def epoch(self, record: Any, model: Any) -> None:
            self.seen = True

    once = Once()

    @contextmanager
    def stopping(world: Any) -> Iterator[Stop]:
        yield lambda: 130 if once.seen else 0

    return Watch(observers=lambda run, experiment: [once], stopping=stopping)


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine()
    monkeypatch.setattr("vaeflow.tuning.tune.spread", engine)
    return engine


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return load_plugins()


@pytest.fixture(scope="module")
def small(grey_file: Path) -> dict[str, Any]:
    return {
        "dataset": ("file", {"path": grey_file}),
        "encoder": ("mlp", {"hidden": [8]}),
        "decoder": ("mlp", {"hidden": [8]}),
        "latent": 2, "epochs": 3, "batch_size": 12, "test_samples": 3, "threads": 1,
        "tensorboard": False, "image_every": 0, "checkpoint_seconds": 0,
    }  # fmt: skip


Tune = Callable[..., Tuned]
SPACE = {"posterior": "identity,planar", "posterior.steps": "1..4", "lr": "1e-4..1e-2:log"}


@pytest.fixture(scope="module")
def found(small: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """A search of three trials. Read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaeflow.tuning.tune.spread", Engine())
        out = tmp_path_factory.mktemp("search") / "study"
        return vaeflow.tune(out, SPACE, **small, trials=3)


@pytest.fixture
def tune(small: dict[str, Any], tmp_path: Path) -> Tune:
    """Search in tmp_path/study."""

    def run(space: Any = SPACE, **more: Any) -> Tuned:
        return vaeflow.tune(tmp_path / "study", space, **{**small, "trials": 1, **more})

    return run


@pytest.fixture
def copy(found: Tuned, tmp_path: Path) -> Path:
    """A copy of the search of three trials, where `tune` goes on."""
    return shutil.copytree(found.out, tmp_path / "study")


def test_each_trial_is_a_run_and_the_best_one_has_the_best_elbo(found: Tuned) -> None:
    assert [trial.state for trial in found.trials] == ["complete"] * 3
    for trial in found.trials:
        run = Run.open(trial.run)
        records = [record["validation/elbo"] for record in run.metrics]
        assert trial.value == pytest.approx(max(records))
        assert run.settings()["lr"] == trial.values["lr"]
        assert ("posterior.steps" in trial.values) == (trial.values["posterior"] == "planar")
        assert run.summary["split"] == "test"
    assert found.best.value == max(trial.value for trial in found.trials)
    assert found.run.path == found.best.run
    table = found._repr_html_()
    order = sorted(found.trials, key=lambda trial: table.index(trial.run.name))
    assert order == sorted(found.trials, key=lambda trial: -trial.value)
    assert repr(found).endswith(f"3 complete, best trial-00{found.best.number} with "
                                f"{found.best.value:.2f})")  # fmt: skip


def test_optuna_reads_the_study(found: Tuned) -> None:
    study = optuna.load_study(study_name="vaeflow", storage=f"sqlite:///{found.out / 'study.db'}")
    assert study.best_trial.number == found.best.number
    assert study.best_value == found.best.value
    for trial, own in zip(study.trials, found.trials, strict=True):
        records = {record["epoch"]: record["validation/elbo"] for record in Run(own.run).metrics}
        assert trial.intermediate_values == pytest.approx(records)


def test_the_printed_command_trains_the_best_trial_again(
    found: Tuned, cli: Any, here: Path
) -> None:
    words = shlex.split(found.command)
    assert words[:2] == ["vaeflow", "train"]
    again = cli(*words[1:], "--run-dir", "again")
    assert again.code == 0, again.err
    best = [record["validation/elbo"] for record in Run(Path("again")).metrics]
    assert max(best) == found.best.value


def test_a_seed_draws_the_same_values_and_another_seed_others(
    found: Tuned, tune: Tune, plugins: Plugins, tmp_path: Path
) -> None:
    search = Search.read(found.out, plugins)

    def drawn(seed: int, name: str) -> dict[str, Any]:
        (tmp_path / name).mkdir()
        study = Study(tmp_path / name, seed=seed_of(seed, 0))
        study.plan(1)
        return study.draw(0, search, plugins)

    assert drawn(0, "a") == found.trials[0].values != drawn(1, "b")
    assert len({trial.values["lr"] for trial in found.trials}) == 3


def test_a_study_lies_in_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "odd ?x#y%20z"
    folder.mkdir()
    assert Study(folder).plan(2) == [0, 1]
    assert (folder / "study.db").is_file()
    assert Study(folder).plan(1) == [0]
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_search_goes_on_and_grows(found: Tuned, tune: Tune, copy: Path, engine: Engine) -> None:
    same = tune(trials=3)
    assert engine.done == 0
    assert [t.values for t in same.trials] == [t.values for t in found.trials]
    assert [t.value for t in same.trials] == [t.value for t in found.trials]
    assert len(tune(trials=4).trials) == 4
    assert engine.done == 1


def test_another_search_is_refused_by_name(tune: Tune, copy: Path) -> None:
    with pytest.raises(ConfigError, match="it holds another search, latent was 2 and is 3"):
        tune(latent=3)
    with pytest.raises(ConfigError, match="posterior was identity,planar and is not tuned"):
        tune({"lr": "1e-3..1e-2"})
    (copy / "tune.toml").unlink()
    with pytest.raises(ConfigError, match="is no search's directory"):
        tune()


def test_an_interrupted_trial_goes_on_to_the_bit(found: Tuned, tune: Tune, engine: Engine) -> None:
    engine.stopped = 1
    stopped = tune(trials=3)
    assert [trial.state for trial in stopped.trials] == ["complete", "unfinished", "complete"]
    assert Run(stopped.trials[1].run).status["state"] == "interrupted"
    engine.stopped = None
    whole = tune(trials=3)
    assert [trial.state for trial in whole.trials] == ["complete"] * 3
    assert whole.trials[1].values == stopped.trials[1].values == found.trials[1].values
    assert whole.trials[1].value == found.trials[1].value


def test_a_trial_that_was_killed_before_its_run_began_keeps_its_values(
    tune: Tune, copy: Path, plugins: Plugins
) -> None:
    study = Study(copy)
    assert study.plan(4) == [3]
    drawn = study.draw(3, Search.read(copy, plugins), plugins)
    again = tune(trials=4)
    assert again.trials[3].values == drawn
    assert again.trials[3].state == "complete"


def test_a_trial_below_the_median_is_pruned_and_told(tune: Tune, copy: Path) -> None:
    study = Study(copy)
    for value in range(6):  # better than any real one
        made = optuna.trial.create_trial(
            value=float(value), intermediate_values={1: float(value), 2: float(value)}
        )
        study._study.add_trial(made)
    pruned = tune(trials=10).trials[9]
    assert (pruned.state, pruned.epochs) == ("pruned", 1)
    run = Run.open(pruned.run)
    assert (run.status["state"], run.status["pruned"]) == ("interrupted", True)
    assert [record["epoch"] for record in run.metrics] == [1]
    assert pruned.value == pytest.approx(run.metrics[0]["validation/elbo"])
    assert tune(trials=10).trials[9] == pruned  # and it stays so


def test_epochs_within_the_warm_up_are_not_compared(tune: Tune) -> None:
    warm = tune({"lr": "1e-4..1e-2:log"}, objective=("elbo", {"warmup": 2}))
    assert Study(warm.out).reported(0) == {2, 3}
    records = [record["validation/elbo"] for record in Run(warm.best.run).metrics]
    assert warm.best.value == pytest.approx(max(records[1:]))


def test_a_bound_of_several_samples_judges_by_itself(tune: Tune) -> None:
    own = tune({"lr": "1e-4..1e-2:log"}, objective=("iwae", {"samples": 5}))
    run = Run.open(own.best.run)
    peak = run.load().likelihood.log_peak
    bounds = {r["epoch"]: peak - r["validation/loss"] for r in run.metrics}
    assert own.best.value == pytest.approx(max(bounds.values()))
    reported = Study(own.out)._study.trials[0].intermediate_values
    assert reported == pytest.approx(bounds)
    assert reported != pytest.approx({r["epoch"]: r["validation/elbo"] for r in run.metrics})


def test_a_failing_trial_costs_itself_alone(tune: Tune) -> None:
    ended: list[tuple[str, str | None]] = []
    both = tune(
        {"lr": ["1e30", "1e-3"]},
        trials=4,
        epochs=1,
        tell=lambda trial, outcome: ended.append((trial.state, outcome.error)),
    )
    states = {float(trial.values["lr"]): trial.state for trial in both.trials}
    assert states == {1e30: "failed", 1e-3: "complete"}
    assert both.best.values["lr"] == "1e-3"
    errors = [error for state, error in ended if state == "failed"]
    assert errors
    assert all(error and "finite" in error for error in errors)


def test_a_search_without_a_whole_trial_says_so(tune: Tune) -> None:
    none = tune({"lr": "1e30..1e31"})
    assert (none.best, none.command) == (None, "")
    with pytest.raises(NonFiniteError, match="no trial was completed"):
        _ = none.run


def test_two_searches_do_not_share_a_directory(tune: Tune, copy: Path) -> None:
    with locked(copy), pytest.raises(RunLockedError):
        tune(trials=2)


def test_a_file_that_is_no_study_is_refused(tune: Tune, copy: Path) -> None:
    (copy / "study.db").write_bytes(b"no database, but long enough to be taken for one" * 9)
    with pytest.raises(VaeflowError, match=r"study\.db cannot be read"):
        tune(trials=2)


def test_without_optuna_the_cure_is_told(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'vaeflow\[tune\]'"):
        tune()
    assert not (tmp_path / "study").exists()


def test_a_fault_of_the_data_is_told_before_anything_is_written(tune: Tune, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no file"):
        tune(dataset=("file", {"path": tmp_path / "none.npz"}))
    assert not (tmp_path / "study").exists()


def test_wrong_numbers_and_engines_are_refused(tune: Tune) -> None:
    for wrong in ({"trials": 0}, {"jobs": 0}, {"engine": "lokal"}):
        with pytest.raises(ConfigError):
            tune(**wrong)


def test_the_command_line_in_processes_side_by_side(
    cli: Any, grey_file: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaeflow.tuning.tune.spread", spread)
    line = [
        "tune", "--dataset", "file", "--dataset.path", grey_file, "--encoder.hidden", 8,
        "--decoder.hidden", 8, "--latent", 2, "--epochs", 2, "--test-samples", 3,
        "--no-tensorboard", "--image-every", 0, "--posterior", "planar",
        "--tune", "posterior.steps=1..4", "--tune", "lr=1e-4..1e-2:log",
        "--trials", 2, "--jobs", 2, "--out", "studies/own",
    ]  # fmt: skip
    first = cli(*line)
    assert first.code == 0, first.err
    assert "2 trials in studies/own, 0 done" in first.out
    assert "\n  vaeflow train --dataset file" in first.out
    again = cli(*line, "--json")
    assert again.code == 0, again.err
    told = json.loads(again.out)
    assert told["command"] in first.out
    assert {trial["state"] for trial in told["trials"]} == {"complete"}
    assert all(Run.open(Path(trial["run"])).summary for trial in told["trials"])
    with sqlite3.connect("studies/own/study.db") as database:
        assert database.execute("select count(*) from trials").fetchone() == (2,)
    refused = cli(*line, "--epochs", 3)
    assert refused.code == 2
    assert "epochs was 2 and is 3" in refused.err
