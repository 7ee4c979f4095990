"""`vaeflow compare`: whole, damaged and incomplete run directories."""

from __future__ import annotations

import json
import shutil

import pytest

from vaeflow.comparison.directories import CompareOptions, compare_runs
from vaeflow.config.way import Way
from vaeflow.evaluation.stored import read
from vaeflow.plugins.loading import load_plugins
from vaeflow.runs.directory import Run
from vaeflow.runtime.progress import no_bar


@pytest.fixture(scope="module")
def pair(cli, tiny, grey_file, tmp_path_factory):
    """Two finished runs of two posteriors, evaluated with K = 4."""
    folder = tmp_path_factory.mktemp("pair")
    for posterior in ("identity", "radial"):
        run = folder / posterior
        done = cli(
            "train", *tiny, "--no-tensorboard", "--dataset", "file", "--dataset.path", grey_file,
            "--posterior", posterior, "--run-dir", run,
        )  # fmt: skip
        assert done.code == 0, done.err
        assert cli("evaluate", run, "-k", 4, "--json").code == 0
    return folder


@pytest.fixture
def runs(pair, tmp_path):
    copy = shutil.copytree(pair, tmp_path / "pair")
    return copy / "identity", copy / "radial"


def test_compare_reads_the_evaluations_of_the_runs(cli, runs, tmp_path):
    done = cli("compare", *runs, "--out", tmp_path / "page")
    assert (done.code, done.err) == (0, "")
    assert "K = 4." in done.out
    assert "over other test examples, not other seeds" in done.out
    for name in ("md", "csv", "json", "png", "html"):
        assert f"wrote {tmp_path / 'page'}/report.{name}" in done.out
    identity = next(line for line in done.out.splitlines() if line.startswith("│ identity"))
    nll = cli("evaluate", runs[0], "-k", 4, "--json").out
    assert identity.split("│")[4].split()[0] in f"{json.loads(nll)['nll']['mean']:.2f}"


def test_k_evaluates_the_runs_without_evaluation(cli, runs, one_sentence):
    missing = Run(runs[1]).evaluation("test", Way("laplace", 4), "best")
    missing.unlink()
    done = cli("compare", *runs)
    assert done.code == 2
    assert (
        f"{runs[1]} has no evaluation on the test data: give --proposal laplace and -k" in done.err
    )
    one_sentence(done.err.strip())
    done = cli("compare", *runs, "-k", 4)
    assert done.code == 0
    assert done.err == f"evaluating {runs[1]} with proposal laplace and K = 4\n"
    assert missing.is_file()


def test_compare_evaluates_moved_data_and_other_splits(cli, runs, grey_file):
    for run in runs:
        config = run / "config.toml"
        config.write_text(config.read_text().replace(str(grey_file), f"/gone/{grey_file.name}"))
    words = ("compare", *runs, "--split", "validation", "-k", 3)
    done = cli(*words)
    assert done.code == 2
    assert "no run is finished, identity: /gone/grey.npz is no file: check" in done.err
    done = cli(*words, "--data-root", grey_file.parent)
    assert done.code == 0, done.err
    assert "8 examples of the validation data of file" in done.out


def test_evaluations_with_different_k_are_refused(cli, runs):
    Run(runs[1]).evaluation("test", Way("laplace", 4), "best").unlink()
    assert cli("evaluate", runs[1], "-k", 6, "--json").code == 0
    done = cli("compare", *runs)
    assert done.code == 2
    first, second = (
        f"proposal laplace and K = {k} in {run}" for k, run in zip((4, 6), runs, strict=True)
    )
    assert f"in different ways, {first} and {second}: give --proposal laplace and -k" in done.err
    done = cli("compare", *runs, "--anyway")
    assert done.code == 0, done.err
    assert "differ in K, 4 and 6" in done.out


def test_an_evaluation_of_other_weights_counts_as_missing(cli, runs):
    run = Run(runs[1])
    run.set_summary({**run.summary, "best_epoch": 9})  # as after more epochs
    assert "has no evaluation" in cli("compare", *runs).err


def test_runs_on_different_data_are_refused(cli, runs, tiny, grey_file, tmp_path):
    other = tmp_path / "other"
    cli(
        "train", *tiny, "--no-tensorboard", "--dataset", "file", "--dataset.path", grey_file,
        "--posterior", "radial", "--binarization", "threshold", "--run-dir", other,
    )  # fmt: skip
    done = cli("compare", runs[0], other, "-k", 4)
    assert done.code == 2
    assert "the binarization, dynamic and threshold" in done.err
    done = cli("compare", runs[0], other, "-k", 4, "--anyway")
    assert done.code == 0, done.err
    assert "are of other examples: no difference" in done.out


def test_an_unfinished_run_becomes_a_row(cli, runs):
    Run(runs[1]).set_status("interrupted", epoch=3, step=5)
    done = cli("compare", *runs)
    assert done.code == 0
    assert "interrupted after epoch 3" in done.out


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("status.json", '{"state": ', "status.json"),
        ("summary.json", "", "`vaeflow resume` does it"),
        ("environment.json", "{}", "environment.json lacks"),
    ],
)
def test_a_damaged_run_becomes_a_row(cli, runs, file, content, said):
    (runs[1] / file).write_text(content)
    done = cli("compare", *runs)
    assert done.code == 0, done.err
    assert "identity" in done.out
    (row,) = (line for line in done.out.splitlines() if line.startswith("│ radial"))
    assert said in row


def test_a_run_that_lost_its_metrics_is_compared_without_the_time_of_a_step(cli, runs, tmp_path):
    (runs[1] / "metrics.jsonl").write_bytes(b"\xff\n")
    done = cli("compare", *runs, "--out", tmp_path / "report")
    assert done.code == 0, done.err
    assert "damaged" not in done.out
    costs = done.out.partition("ms per step")[2]
    (row,) = (line for line in costs.splitlines() if line.startswith("│ radial"))
    assert row.split("│")[3].strip() == ""


def test_a_directory_without_runs_is_refused(cli, tmp_path, one_sentence):
    done = cli("compare", tmp_path)
    assert done.code == 4
    assert "is neither a run directory" in done.err
    one_sentence(done.err.strip())


def test_an_existing_report_is_refused_before_any_work(cli, runs, tmp_path):
    (tmp_path / "report.md").write_text("mine")
    done = cli("compare", *runs, "-k", 9, "--out", tmp_path)
    assert done.code == 2
    assert "nothing is overwritten" in done.err
    assert "evaluating" not in done.err
    assert (tmp_path / "report.md").read_text() == "mine"


def test_help_names_the_files_and_the_limits_of_anyway(cli):
    said = " ".join(cli("compare", "--help").out.split())
    assert "the page report.html, its picture report.png, and report.md, .csv and .json" in said
    assert "differences are taken only between runs of the same images" in said


def test_limit_compares_the_first_images(cli, runs):
    done = cli("compare", *runs, "-k", 4, "--limit", 3)
    assert done.code == 0
    assert "3 examples of the test data" in done.out
    way = Way("laplace", 4, 3)
    assert read(Run(runs[0]).evaluation("test", way, "best")).about["images"] == 3
    whole = Run(runs[0]).evaluation("test", way._replace(limit=10**6), "best")
    assert whole == Run(runs[0]).evaluation("test", Way("laplace", 4), "best")


def test_python_compares_like_the_command(runs, tmp_path):
    evaluated = []

    def evaluating(run, way):
        evaluated.append((run.path, way))
        return no_bar

    Run(runs[1]).evaluation("test", Way("laplace", 4), "best").unlink()
    options = CompareOptions(samples=4, out=tmp_path / "page")
    found = compare_runs(runs, load_plugins(), options, evaluating=evaluating)
    assert evaluated == [(runs[1], Way("laplace", 4))]
    assert [group.label for group in found.groups] == ["identity", "radial"]
    assert found.results[0].subject == "radial"
    assert {path.name for path in found.written} >= {"report.json", "report.md"}
    assert compare_runs(runs, load_plugins()).written == ()
