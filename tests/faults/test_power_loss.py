"""After a loss of power, what was told to be saved is there: bytes, names and folders."""

import json
import shutil
from random import Random

import pytest
from power import Disk, flushes
from system_calls import Call, watched
from test_saves import KEEP, SCENARIOS, prepared, save

from vaeflow.cli import main
from vaeflow.errors import VaeflowError
from vaeflow.plugins.loading import load_plugins
from vaeflow.runs.directory import Run
from vaeflow.storage import append_to_file, write_file
from vaeflow.training.checkpoints import CheckpointStore

HOWS = ("nothing", "names", "some")


def losses(disk, calls, whole, tmp_path, *, skip=None, at=None, hows=HOWS, seed=0):
    """Count the losses of power, and after which of them something is not whole.

    `whole(root, told)` sees what is left below `root` and how many things were told till then.
    """
    draw, cases, lost, told = Random(seed), 0, 0, 0
    for number, call in enumerate(calls):
        told += call.name == "told"
        if call.name != "told":
            disk.play(call, flush=number != skip)
        if at is not None and number not in at:
            continue
        for how in hows:
            left = disk.lose_power(tmp_path / "left", how, draw)
            cases += 1
            try:
                lost += not whole(left, told)
            except VaeflowError:
                lost += 1
            shutil.rmtree(left)
    return cases, lost


def spread(count, most):
    return None if count <= most else {i * count // most for i in range(most)} | {count - 1}


def logged(root, act):
    """Return the disk before `act(say)`, and the calls of it; `say()` notes that it was told."""
    disk = Disk(root)
    with watched(root, lambda call, number: None) as calls:
        act(lambda: calls.append(Call("told", root)))
    return disk, calls


def a_save(root, scenario):
    there, damaged, step = SCENARIOS[scenario]
    prepared(root / "c", there, damaged)
    before = max({*there} - {*damaged}, default=None)

    def act(say):
        save(CheckpointStore(root / "c", KEEP), step)
        say()

    def whole(left, told):
        found = CheckpointStore(left / "c").latest()
        return (found.step if found else None) in ((step,) if told else (before, step))

    return (*logged(root, act), whole)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_loss_of_power_at_any_call_of_a_save_loses_no_checkpoint(
    tmp_path, amount, counted, scenario
):
    (tmp_path / "run").mkdir()
    disk, calls, whole = a_save(tmp_path / "run", scenario)
    at = spread(len(calls), amount(12, 10_000))
    cases, lost = losses(disk, calls, whole, tmp_path, at=at)
    counted(f"losses of power in a {scenario}", cases, lost=lost)


@pytest.mark.parametrize("scenario", ["first save", "resave"])
def test_no_fsync_of_a_save_can_be_left_out(tmp_path, scenario):
    """Mutants: each flush is left out once, and a checkpoint is seen to be lost."""
    (tmp_path / "run").mkdir()
    _, calls, whole = a_save(tmp_path / "run", scenario)
    told = next(n for n, call in enumerate(calls) if call.name == "told")
    assert len(flushes(calls[:told])) > 5
    for skip in flushes(calls[:told]):
        root = tmp_path / str(skip)
        (root / "run").mkdir(parents=True)
        there, damaged, _ = SCENARIOS[scenario]
        prepared(root / "run" / "c", there, damaged)
        disk = Disk(root / "run")
        moved = [_moved(call, tmp_path / "run", root / "run") for call in calls]
        hows = (*HOWS, *["some"] * 20)
        _, lost = losses(disk, moved, whole, root, skip=skip, at={told}, hows=hows)
        assert lost, f"{calls[skip]} can be left out"


def _moved(call, old, new):
    def moved(path):
        return None if path is None else new / path.relative_to(old)

    return Call(call.name, moved(call.path), moved(call.target), call.data)


def test_a_file_and_a_row_are_on_the_disk_when_told(tmp_path, counted):
    """And without any flush of it they are not."""
    root = tmp_path / "run"
    root.mkdir()

    def act(say):
        write_file(root / "a" / "b", "1")
        say()
        write_file(root / "a" / "b", "22")
        say()
        append_to_file(root / "a" / "b", "3", "cure")
        say()

    def whole(left, told):
        path = left / "a" / "b"
        return (path.read_text() if path.exists() else "") in ["", "1", "22", "223"][
            told : told + 2
        ]

    disk, calls = logged(root, act)
    cases, lost = losses(disk, calls, whole, tmp_path, hows=HOWS[:2])
    counted("losses of power in writing files", cases, lost=lost)
    for skip in flushes(calls):
        shutil.rmtree(root)
        root.mkdir()
        assert losses(Disk(root), calls, whole, tmp_path, skip=skip, hows=HOWS[:2])[1], calls[skip]


@pytest.fixture
def trained(tmp_path, tiny, grey_file, monkeypatch):
    """A training as the command line does it, and all that it did to the disk."""
    root = tmp_path / "runs"
    root.mkdir()
    words = [
        "train", *tiny, "--dataset", "file", "--dataset.path", grey_file, "--epochs", 3,
        "--checkpoint-seconds", 0, "--no-tensorboard", "--run-dir", root / "run",
    ]  # fmt: skip

    def act(say):
        real = CheckpointStore.save

        def save(self, *args):
            path = real(self, *args)
            say()
            return path

        with monkeypatch.context() as patch:
            patch.setattr(CheckpointStore, "save", save)
            with pytest.raises(SystemExit) as ended:
                main([str(word) for word in words])
        assert ended.value.code == 0

    return logged(root, act)


def test_a_loss_of_power_at_any_call_of_a_training_leaves_a_run_that_can_be_resumed(
    tmp_path, trained, amount, counted
):
    disk, calls = trained
    plugins = load_plugins()
    steps = [3, 6, 9]  # of an epoch each
    assert sum(call.name == "told" for call in calls) == len(steps)

    def whole(left, told):
        path = left / "run"
        if not path.exists():
            return told == 0
        run = Run.open(path)
        run.plan(plugins)
        found = run.store.latest()
        step = found.step if found else 0
        rows = [row["step"] for row in run.metrics]
        status = json.loads((path / "status.json").read_text()) if told else {}
        return (
            step >= [0, *steps][told]
            and rows[: step // 3] == steps[: step // 3]  # none of its epochs is missing
            and (not status or status["state"] in ("running", "completed"))
            and (status.get("state") != "completed" or bool(run.summary))
        )

    at = spread(len(calls), amount(15, 10_000))
    cases, lost = losses(disk, calls, whole, tmp_path, at=at)
    counted("losses of power in a training", cases, lost=lost)
    assert len(calls) > 100
