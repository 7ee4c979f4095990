"""`vaeflow benchmark`: it trains a grid, continues it, survives failures and reports."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess

import pytest

from vaeflow.benchmark import engines
from vaeflow.benchmark.grid import Grid
from vaeflow.config.way import Way
from vaeflow.runs.directory import Run

GRID = ["--posterior", "identity", "--posterior", "planar", "--posterior.steps", 2]
SMALL = ["--encoder.hidden", 8, "--decoder.hidden", 8, "--latent", 2, "--epochs", 1]
SMALL += ["--no-tensorboard", "--test-samples", 3, "--test-images", 20, "-k", 5, "--seeds", 2]
SMALL += ["--limit", 30]
WAY = Way("laplace", 5, 30)
launch_a_process, local_engine = engines.launch, engines.local


@pytest.fixture(scope="module")
def patched():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def commands(cli, patched):
    """Run every command in this process, and record its words."""
    taken = []

    def launch(words, out, stop):
        taken.append(words)
        done = cli(*words)
        out.write(done.out + done.err)
        out.flush()
        return done.code

    def serial(tasks, jobs, stop):
        for task in tasks:
            if not stop():
                yield engines.run_one(task, stop)

    patched.setattr(engines, "launch", launch)
    patched.setattr(engines, "local", serial)
    return taken


@pytest.fixture(scope="module")
def finished(cli, commands, tmp_path_factory):
    """A finished benchmark of two posteriors and two seeds. Read only: copy it to change it."""
    out = tmp_path_factory.mktemp("finished") / "grid"
    done = cli("benchmark", *GRID, *SMALL, "--out", out)
    assert done.code == 0, done.err
    return out, done, [*commands]


@pytest.fixture
def copy(finished, commands, tmp_path):
    commands.clear()
    return shutil.copytree(finished[0], tmp_path / "grid")


NAMES = ["identity-s0", "identity-s1", "planar-s0", "planar-s1"]


def test_limit_evaluates_the_first_images(cli, commands, tmp_path):
    commands.clear()
    words = ("benchmark", "--posterior", "identity", *SMALL, "--seeds", 1, "--limit", 7)
    done = cli(*words, "--out", tmp_path / "grid")
    assert done.code == 0, done.err
    assert commands[-1][-2:] == ["--limit", "7"]
    assert "7 examples of the test data" in done.out
    commands.clear()
    assert cli(*words, "--out", tmp_path / "grid").code == 0
    assert commands == []  # all is done


def test_a_grid_is_trained_evaluated_and_reported(finished):
    out, done, taken = finished
    assert [w[0] for w in taken] == ["train", "evaluate"] * 4
    assert sorted(p.name for p in (out / "runs").iterdir()) == NAMES
    for name in NAMES:
        assert f"{name} done" in done.out
        assert Run(out / "runs" / name).evaluation("test", WAY, "best").is_file()
    report = json.loads((out / "report.json").read_text())
    (result,) = (f for f in report["findings"] if f["severity"] == "result")
    assert result["subject"] == "planar"
    assert result["sentence"] in done.out
    assert [(g["label"], g["seeds"]) for g in report["groups"]] == [("identity", 2), ("planar", 2)]
    assert report["of"] == [f"runs/{name}" for name in NAMES]
    suffixes = {"md", "csv", "json", "html", "png"}
    assert suffixes == {p.suffix[1:] for p in out.glob("report.*")}


def test_a_run_equals_the_same_training_alone(finished, cli, tmp_path):
    out = finished[0]
    done = cli("train", "--config", out / "configs/planar-s1.toml", "--run-dir", tmp_path / "alone")
    assert done.code == 0, done.err
    ours, theirs = Run(out / "runs/planar-s1").summary, Run(tmp_path / "alone").summary
    assert theirs.pop("seconds")
    assert ours.items() >= theirs.items()


def test_the_same_command_again_only_reports(cli, copy, commands, snapshot):
    before = snapshot(copy / "runs")
    (copy / "report.md").unlink()
    done = cli("benchmark", *GRID, *SMALL, "--out", copy)
    assert done.code == 0, done.err
    assert "4 runs in" in done.out
    assert "4 of them done" in done.out
    assert commands == []
    assert snapshot(copy / "runs") == before
    assert (copy / "report.md").exists()


def test_interrupted_runs_resume_and_missing_runs_begin(cli, copy, commands):
    run = Run(copy / "runs/planar-s0")
    run.set_status("interrupted", epoch=0, step=3)
    (run.path / "summary.json").unlink()
    shutil.rmtree(copy / "runs/identity-s1")
    run.evaluation("test", WAY, "best").unlink()
    done = cli("benchmark", *GRID, *SMALL, "--out", copy)
    assert done.code == 0, done.err
    assert [(w[0], w[-1] if w[0] == "train" else w[1]) for w in commands] == [
        ("train", str(copy / "runs/identity-s1")),
        ("evaluate", str(copy / "runs/identity-s1")),
        ("resume", str(run.path)),
        ("evaluate", str(run.path)),
    ]
    assert "2 of them done" in done.out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--epochs", 2], "epochs of identity-s0 was 1 and is 2"),
        (
            ["-k", 6],
            f"the NLL was of {WAY} and is of {WAY._replace(samples=6)}",
        ),
        (["--seeds", 1], "it also has identity-s1, planar-s1"),
        (["--vary", "lr=1e-3"], "it also has identity-s0, identity-s1, planar-s0, planar-s1"),
    ],
)
def test_another_grid_in_the_same_directory_is_refused(
    cli, finished, commands, one_sentence, more, said
):
    commands.clear()
    done = cli("benchmark", *GRID, *SMALL, *more, "--out", finished[0])
    assert (done.code, commands) == (2, [])
    assert said in done.err
    one_sentence(done.err.strip())


def test_a_wider_grid_adds_its_new_runs(cli, copy, commands, snapshot):
    before = snapshot(copy / "runs")
    wider = [*GRID, "--posterior", "radial", *SMALL, "--seeds", 3, "--out", copy]
    done = cli("benchmark", *wider)
    assert done.code == 0, done.err
    new = ["identity-s2", "planar-s2", "radial-s0", "radial-s1", "radial-s2"]
    assert [w[-1].rpartition("/")[2] for w in commands if w[0] == "train"] == new
    after = snapshot(copy / "runs")
    assert {path: after[path] for path in before} == before
    report = json.loads((copy / "report.json").read_text())
    assert [g["seeds"] for g in report["groups"]] == [3, 3, 3]
    assert len(report["of"]) == 9
    done = cli("benchmark", *GRID, *SMALL, "--out", copy)
    assert done.code == 2
    assert "it also has identity-s2, planar-s2, radial-s0, radial-s1, radial-s2" in done.err


def test_a_wider_grid_is_stored_before_its_runs_begin(cli, copy, monkeypatch):
    def killed(tasks, jobs, stop):
        assert [t.name for t in tasks] == ["identity-s2", "planar-s2"]
        assert len(Grid.read(copy).cells) == 6
        raise KeyboardInterrupt

    monkeypatch.setattr(engines, "local", killed)
    assert cli("benchmark", *GRID, *SMALL, "--seeds", 3, "--out", copy).code == 130
    done = cli("compare", copy)
    assert done.code == 0, done.err
    assert "identity-s2 │ not begun" in done.out


def test_a_run_without_evaluation_becomes_a_row(cli, copy):
    for name in ("identity-s1", "planar-s1"):
        Run(copy / "runs" / name).evaluation("test", WAY, "best").unlink()
    with (copy / "logs/planar-s1.log").open("a") as log:
        log.write("$ vaeflow evaluate\nError: it burns\n")
    done = cli("compare", copy)
    assert done.code == 0, done.err
    assert "identity-s1 │ not evaluated yet" in done.out
    assert "planar-s1   │ it burns" in done.out
    assert "2 of 4 runs of grid are done; the same `vaeflow benchmark` goes on." in done.out
    done = cli("compare", copy, "--baseline", "plaanar")
    assert "there is no such posterior or group" in done.err
    for name in ("identity-s0", "planar-s0"):
        Run(copy / "runs" / name).evaluation("test", WAY, "best").unlink()
    assert f"give {WAY.advice}, and the missing evaluations" in cli("compare", copy).err


def test_a_benchmark_killed_at_its_start_begins_again(cli, commands, tmp_path):
    (tmp_path / "grid").mkdir()
    (tmp_path / "grid" / ".tmp-benchmark.toml-0123abcd").write_text("half of i")
    done = cli("benchmark", *SMALL, "--seeds", 1, "--out", tmp_path / "grid")
    assert done.code == 0, done.err


def test_the_grid_remembers_its_largest_number_of_jobs(cli, copy, commands):
    for jobs, most in ((2, 1), (3, 1)):  # nothing is left to do
        assert cli("benchmark", *GRID, *SMALL, "--jobs", jobs, "--out", copy).code == 0
        assert Grid.read(copy).jobs == most
    for seeds, jobs, most in ((3, 2, 2), (4, 1, 2)):
        words = [*GRID, *SMALL, "--seeds", seeds, "--jobs", jobs, "--out", copy]
        assert cli("benchmark", *words).code == 0
        assert Grid.read(copy).jobs == most
    assert "Times of grid are of 2 runs that shared" in (copy / "report.md").read_text()


def test_a_damaged_evaluation_is_repeated(cli, copy, commands):
    path = Run(copy / "runs/planar-s1").evaluation("test", WAY, "best")
    path.write_bytes(path.read_bytes()[:-9])
    done = cli("benchmark", *GRID, *SMALL, "--out", copy)
    assert done.code == 0, done.err
    assert [w[0] for w in commands] == ["evaluate"]


def test_an_incomparable_grid_is_refused_before_any_work(cli, commands, tmp_path, one_sentence):
    commands.clear()
    for more, said in (
        (["--vary", "binarization=dynamic,threshold"], "runs that differ in binarization cannot"),
        (["--dataset", "digits", "--dataset", "energies"], "differ in dataset.name cannot"),
        (["--baseline", "planr (steps 4)"], "no run has such a posterior (did you mean 'planar'?)"),
    ):
        done = cli("benchmark", *GRID, *SMALL, *more, "--out", tmp_path / "grid")
        assert (done.code, commands) == (2, [])
        assert said in done.err
        one_sentence(done.err.strip())
    assert not (tmp_path / "grid").exists()


def test_anyway_accepts_different_data(cli, commands, tmp_path):
    vary = ["--vary", "binarization=dynamic,threshold", "--seeds", 1, "--anyway"]
    done = cli("benchmark", *SMALL, *vary, "--baseline", "identity", "--out", tmp_path / "grid")
    assert done.code == 0, done.err
    assert "binarizationdynamic-s0 and identity-binarizationthreshold-s0 are not" in done.out


def test_vary_accepts_values_one_by_one(cli, commands, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "local", lambda tasks, jobs, stop: iter(()))
    vary = ["--vary", "latent=2", "--vary", "latent=4", "--vary", "posterior=identity,planar"]
    cli("benchmark", *SMALL, *vary, "--seeds", 1, "--out", tmp_path / "grid")
    names = [cell.name for cell in Grid.read(tmp_path / "grid").cells]
    assert names == [f"{p}-latent{n}-s0" for p in ("identity", "planar") for n in (2, 4)]


def test_the_report_contains_no_absolute_path(finished):
    for path in finished[0].glob("report.*"):
        assert str(finished[0].parent) not in path.read_text(errors="replace"), path.name
    report = json.loads((finished[0] / "report.json").read_text())
    assert [run["name"] for g in report["groups"] for run in g["runs"]] == NAMES


def test_a_directory_with_other_files_is_refused(cli, tmp_path):
    (tmp_path / "mine").touch()
    for out in (tmp_path, tmp_path / "mine"):
        done = cli("benchmark", *SMALL, "--out", out)
        assert done.code == 2
        assert "it exists and is no benchmark's directory" in done.err


def test_a_failed_run_becomes_a_row_and_the_rest_continue(cli, commands, tmp_path):
    """A learning rate of 1e30 ends in NaN."""
    out = tmp_path / "grid"
    vary = ["--vary", "lr=1e-3,1e30", "--seeds", 1]
    done = cli("benchmark", *SMALL, *vary, "--out", out)
    assert done.code == 1
    assert "1 of 2 failed; the same command tries again" in done.err
    assert "identity-lr1e30-s0 failed: the draw z of posterior" in done.out
    report = json.loads((out / "report.json").read_text())
    assert [g["seeds"] for g in report["groups"]] == [1]
    (row,) = report["unfinished"]
    assert (row["kind"], row["subject"]) == ("run-failed", "identity-lr1e30-s0")
    assert "not finite" in row["sentence"]
    assert "not finite" in (out / "report.html").read_text()


def test_a_grid_of_failures_gives_the_reason(cli, commands, tmp_path):
    done = cli("benchmark", *SMALL, "--lr", "1e30", "--seeds", 1, "--out", tmp_path / "grid")
    assert done.code == 2
    assert "no run is finished, identity-s0: the draw z of posterior" in done.err


def test_ctrl_c_says_how_to_continue(cli, copy, monkeypatch):
    shutil.rmtree(copy / "runs/planar-s1")

    def pressed(tasks, jobs, stop):
        signal.raise_signal(signal.SIGINT)
        assert stop()
        yield engines.Outcome(tasks[0].name, 1.0, interrupted=True)

    monkeypatch.setattr(engines, "local", pressed)
    done = cli("benchmark", *GRID, *SMALL, "--out", copy)
    assert done.code == 130
    assert "Interrupted with 3 of 4 runs done; the same command goes on there." in done.err


def test_jobs_share_the_cores(cli, commands, tmp_path, monkeypatch):
    monkeypatch.setattr("vaeflow.benchmark.directory.cores", lambda: 8)
    monkeypatch.setattr(engines, "local", lambda tasks, jobs, stop: iter(()))
    for jobs in (3, 1):  # the second call keeps the first call's threads
        done = cli("benchmark", *SMALL, "--jobs", jobs, "--out", tmp_path / "grid")
        assert "no run is finished" in done.err, "the engine does nothing here"
        config = (tmp_path / "grid/configs/identity-s0.toml").read_text()
        assert "threads = 2\n" in config


@pytest.mark.parametrize("seeds", ["x", "0", "1,,2", "-1"])
def test_invalid_seeds_are_refused(cli, seeds):
    assert cli("benchmark", "--seeds", seeds).code == 2


def test_seed_is_refused_in_favour_of_seeds(cli):
    done = cli("benchmark", "--seed", 3)
    assert done.code == 2
    assert "--seeds" in done.err


ENGINE = """
from vaeflow import hookimpl

@hookimpl
def vaeflow_register_engines(register):
    register("backwards", "vaeflow_queue_plugin:backwards")

def backwards(tasks, jobs, stop):
    from vaeflow.benchmark.engines import run_one

    assert jobs == 2
    for task in reversed(tasks):
        yield run_one(task, stop)
"""


def test_a_plugin_brings_an_engine(cli, commands, plugin, tmp_path):
    plugin("vaeflow-queue", ENGINE)
    words = ["benchmark", "--posterior", "identity", *SMALL, "--seeds", 2, "--jobs", 2]
    words += ["--out", tmp_path / "grid", "--engine"]
    done = cli(*words, "backwards")
    assert done.code == 0, done.err
    assert cli(*words, "vaeflow-queue/backwards").code == 0  # nothing is left to do
    told = [line.split()[0] for line in done.out.splitlines() if " done (" in line]
    assert told == ["identity-s1", "identity-s0"]
    assert "engine       backwards: " in cli("plugins", "info", "vaeflow-queue").out


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (
            "    raise OSError('no queue')",
            "failed (OSError: no queue): the same command goes on by ",
        ),
        ("    yield 5", "yields 5, and no Outcome: the same command goes on by --engine local"),
        ("    return 5", "failed (TypeError: 'int' object is not iterable): the same command"),
        (
            "    pass\nbackwards = 5",
            "is 5, but a function of (tasks, jobs, stop) is expected: tell the auth",
        ),
    ],
)
def test_an_engine_that_fails_is_told(cli, commands, plugin, tmp_path, code, told, one_sentence):
    plugin("vaeflow-queue", ENGINE.partition("    from vaeflow.b")[0] + code)
    words = ("benchmark", "--posterior", "identity", *SMALL, "--out", tmp_path / "grid")
    done = cli(*words, "--engine", "backwards")
    assert done.code == 6
    error = done.err.splitlines()[-1]
    one_sentence(error)
    assert error.startswith(f"Error: engine 'backwards' from vaeflow-queue 1.0 {told}")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("lokal", "unknown engine (did you mean 'local'?); there are backwards, local, ray"),
        ("vaeflow-queue/local", "unknown engine"),
    ],
)
def test_an_unknown_engine_is_refused(cli, plugin, name, told, here, one_sentence):
    plugin("vaeflow-queue", ENGINE)
    done = cli("benchmark", *GRID, *SMALL, "--engine", name)
    assert done.code == 2
    one_sentence(done.err.strip())
    assert done.err.startswith(f"Error: --engine {name}: {told}")
    assert not (here / "runs").exists()


def test_help_names_the_flags_of_a_grid(cli):
    done = cli("benchmark", "--help")
    assert done.code == 0
    for flag in ("--posterior", "--vary", "--seeds", "--jobs", "--engine", "--epochs"):
        assert flag in done.out


def test_the_next_call_resumes_a_killed_process(cli, tmp_path, monkeypatch):
    """Train in real processes, which the other tests replace, and kill one as it trains."""

    out = tmp_path / "grid"
    words = ["benchmark", *SMALL, "--epochs", 25, "--checkpoint-seconds", 0, "--seeds", 1]
    trained = []

    class Killed(subprocess.Popen):
        def wait(self, timeout=None):
            if not trained and (found := [*out.glob("runs/*/checkpoints/step-*/manifest.json")]):
                trained.extend(found)
                os.kill(self.pid, signal.SIGKILL)
            return super().wait(0.02 if timeout and not trained else timeout)

    monkeypatch.setattr(engines, "local", local_engine)
    monkeypatch.setattr(engines, "launch", launch_a_process)
    monkeypatch.setattr(subprocess, "Popen", Killed)
    done = cli(*words, "--out", out)
    assert done.code == 2, "with one run killed, there is nothing to compare"
    assert "killed by SIGKILL" in done.err
    kept = Run(out / "runs/identity-s0").store.latest()
    assert kept is not None
    done = cli(*words, "--out", out)
    assert done.code == 0, done.err
    log = (out / "logs/identity-s0.log").read_text()
    assert "$ vaeflow resume" in log
    assert log.count("$ vaeflow train") == 1
    epochs = [r["epoch"] for r in Run(out / "runs/identity-s0").metrics]
    assert epochs == [*range(1, 26)]
