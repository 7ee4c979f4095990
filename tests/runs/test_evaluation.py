"""`Evaluation`: interrupted, continued, reused and repeated."""

import shutil
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from vaeflow.config.way import Way
from vaeflow.evaluation.stored import read
from vaeflow.plugins.loading import load_plugins
from vaeflow.runs import evaluation as evaluations
from vaeflow.runs.directory import Run
from vaeflow.runs.evaluation import Evaluation
from vaeflow.runs.evaluation_options import EvaluationOptions


@pytest.fixture(scope="module")
def long_run(cli, tiny, tmp_path_factory):
    """A run with 250 test images, three batches."""
    folder = tmp_path_factory.mktemp("long")
    rng = np.random.RandomState(0)
    sizes = {"train": 24, "validation": 8, "test": 250}
    splits = {name: (rng.rand(n, 3, 3) > 0.5).astype(np.float32) for name, n in sizes.items()}
    np.savez(folder / "bits.npz", **splits)
    done = cli(
        "train", *tiny, "--no-tensorboard", "--dataset", "file", "--dataset.path",
        folder / "bits.npz", "--posterior", "planar", "--posterior.steps", 2, "--run-dir",
        folder / "run",
    )  # fmt: skip
    assert done.code == 0, done.err
    return folder / "run"


@pytest.fixture
def run(long_run, tmp_path):
    return Run(shutil.copytree(long_run, tmp_path / "run"))


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


class Stages:
    """Progress that records each stage with its images; Ctrl-C comes after `last` images."""

    def __init__(self, last=float("inf")):
        self.last, self.seen = last, []

    @contextmanager
    def __call__(self, total, what, done):
        self.seen.append([what, total, done])

        def advance(images):
            self.seen[-1][2] += images
            if self.seen[-1][2] > self.last:
                raise KeyboardInterrupt

        yield advance


def test_an_interrupted_evaluation_continues_to_equal_bits(run, plugins):
    whole = Evaluation.of(run, plugins, EvaluationOptions(samples=30, again=True))
    report = whole.run()
    path = run.evaluation("test", Way("laplace", 30), "best")
    expected = path.read_bytes()
    path.unlink()
    with pytest.raises(KeyboardInterrupt):
        Evaluation.of(run, plugins, EvaluationOptions(samples=30)).run(Stages(last=150))
    assert len(read(path).bounds) == 100
    rest = Evaluation.of(run, plugins, EvaluationOptions(samples=30))
    assert (rest.kept.done, rest.stored) == (100, False)
    stages = Stages()
    assert rest.run(stages) == report
    assert stages.seen == [
        ["test images", 250, pytest.approx(250)],
        ["images of the latent code", 250, 250],
    ]
    assert path.read_bytes() == expected


def test_a_stored_evaluation_is_repeated_only_on_request(run, plugins, monkeypatch):
    report = Evaluation.of(run, plugins, EvaluationOptions(samples=3)).run()
    stages = Stages()
    found = Evaluation.of(run, plugins, EvaluationOptions(samples=3))
    assert found.stored
    monkeypatch.setattr(evaluations, "describe_latent_code", None)
    assert found.run(stages) == report
    assert stages.seen == [["test images", 250, 250]]
    monkeypatch.undo()
    again = Evaluation.of(run, plugins, EvaluationOptions(samples=3, again=True))
    assert not again.stored
    assert again.run(stages) == report
    assert [what for what, _, _ in stages.seen[1:]] == ["test images", "images of the latent code"]


def test_another_version_repeats_the_evaluation(run, plugins, monkeypatch, caplog):
    Evaluation.of(run, plugins, EvaluationOptions(samples=2, limit=4)).run()
    monkeypatch.setattr(evaluations, "__version__", "9.9")
    other = Evaluation.of(run, plugins, EvaluationOptions(samples=2, limit=4))
    assert other.kept.done == 0
    assert "and is 9.9: it is evaluated anew" in caplog.text
    other.run()
    assert Evaluation.of(run, plugins, EvaluationOptions(samples=2, limit=4)).stored


def test_other_weights_or_data_repeat_the_evaluation(run, plugins, monkeypatch, caplog):
    Evaluation.of(run, plugins, EvaluationOptions(samples=2)).run()
    images_of = evaluations.images_of

    def rolled(*words):
        images = images_of(*words)
        return images[torch.arange(len(images)).roll(1)]

    monkeypatch.setattr(evaluations, "images_of", rolled)
    assert not Evaluation.of(run, plugins, EvaluationOptions(samples=2)).stored
    assert "images_sha256 was" in caplog.text
    monkeypatch.undo()
    monkeypatch.setattr(evaluations, "load_weights", lambda *words: None)
    assert not Evaluation.of(run, plugins, EvaluationOptions(samples=2)).stored
    assert "weights_sha256 was" in caplog.text


def test_each_choice_of_options_has_its_own_file(run, plugins):
    for options in (
        {"samples": 2},
        {"samples": 3},
        {"samples": 3, "proposal": "q"},
        {"samples": 2, "weights": "last"},
        {"samples": 2, "split": "validation"},
        {"samples": 2, "limit": 20},
        {"samples": 2, "limit": 250},  # the whole split
    ):
        Evaluation.of(run, plugins, EvaluationOptions(**options)).run()
    assert sorted(p.name for p in (run.path / "evaluations").iterdir()) == [
        "test-k3-best.safetensors",
        "test-laplace-k2-best.safetensors",
        "test-laplace-k2-first20-best.safetensors",
        "test-laplace-k2-last.safetensors",
        "test-laplace-k3-best.safetensors",
        "validation-laplace-k2-best.safetensors",
    ]
    few = read(run.evaluation("test", Way("laplace", 2, 20), "best"))
    assert (few.about["images"], len(few.bounds)) == (20, 20)


def test_a_damaged_file_is_replaced(run, plugins, caplog):
    report = Evaluation.of(run, plugins, EvaluationOptions(samples=2)).run()
    path = run.evaluation("test", Way("laplace", 2), "best")
    path.write_bytes(path.read_bytes()[:-9])
    assert Evaluation.of(run, plugins, EvaluationOptions(samples=2)).run() == report
    assert "cannot be read" in caplog.text
    assert read(path).complete


def test_epoch_and_step_belong_to_the_weights(run, plugins, cli):
    assert cli("resume", run.path, "--epochs", 4).code == 0
    best = run.checkpoint().state["progress"]["best_epoch"]
    for weights, epoch in (("best", best), ("last", 4)):
        about = Evaluation.of(run, plugins, EvaluationOptions(samples=2, weights=weights)).about
        assert (about["epoch"], about["step"]) == (epoch, 3 * epoch)  # 24 images in batches of 10
