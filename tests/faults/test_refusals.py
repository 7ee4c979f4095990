"""A file system that refuses is told by number, path and room, exit 8; what was saved stays."""

import errno
import itertools
import os
import re
import resource
import shutil

import pytest
from system_calls import refuse, watched
from test_saves import KEEP, SCENARIOS, calls_of, prepared, save, whole

from vaeflow.cli import main
from vaeflow.errors import StorageError
from vaeflow.runs.directory import Run
from vaeflow.training import Trainer
from vaeflow.training.checkpoints import CheckpointStore, check_room, room

CODES = ["ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS", "EACCES"]


@pytest.mark.parametrize("scenario", ["first save", "save that prunes", "resave"])
def test_a_refusal_at_any_call_of_a_save_is_an_error_and_nothing_is_lost(
    tmp_path, scenario, amount, counted, one_sentence
):
    there, damaged, step = SCENARIOS[scenario]
    calls = calls_of(prepared(tmp_path / "log" / "c", there, damaged), step)
    cases, lost, silent = 0, 0, 0
    every = list(itertools.product(range(1, len(calls) + 1), CODES, [True, False]))
    for number, code, lasting in every[:: max(1, len(every) // amount(15, 100))]:
        root = prepared(tmp_path / "run" / "c", there, damaged)
        store = CheckpointStore(root, KEEP)

        def due(call, seen, number=number, lasting=lasting):
            return seen >= number if lasting else seen == number

        told = None
        with watched(root.parent, refuse(getattr(errno, code), due)):
            try:
                save(store, step)
            except StorageError as error:
                told = str(error)
        cases += 1
        if told is not None:
            one_sentence(told)
            silent += f"({code}: {os.strerror(getattr(errno, code))}" not in told
            silent += str(tmp_path / "run" / "c") not in told
            if code in CODES[:3]:
                silent += not re.search(r"\d+ bytes are needed, \d+ bytes are free", told)
        found = CheckpointStore(root).latest()
        newest = found.step if found else None
        # What was told to be saved is; what was refused may be, if only its flush was refused.
        lost += newest not in ((step,) if told is None else (step, max(there, default=None)))
        lost += len(whole(root)) < min(KEEP, len({*there, *([step] if told is None else [])}))
        save(CheckpointStore(root, KEEP), 9)
        lost += CheckpointStore(root).latest().step != 9
        shutil.rmtree(root.parent)
    counted(f"refusals in a {scenario}", cases, lost=lost, silent=silent)


def test_a_limit_to_the_size_of_files_is_met_at_any_size(tmp_path, fork, amount, counted):
    """The kernel's own refusal, EFBIG, in the middle of a file."""
    root = prepared(tmp_path / "c", (1,), ())
    most = max(file.stat().st_size for file in root.rglob("*.safetensors"))

    def work(limit):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            save(CheckpointStore(root), 2)
        except StorageError as error:
            return str(error)

    cases, lost, silent = amount(3, 12), 0, 0
    for case in range(cases):
        ended = fork(work, case * most // cases).end()
        silent += "EFBIG" not in (ended.value or "")
        lost += whole(root) != [1]
        assert len(list(root.iterdir())) == 1, "half a checkpoint was left"
    counted("files of limited size", cases, lost=lost, silent=silent)


@pytest.fixture
def words(tiny, grey_file):
    return [
        "train", *tiny, "--dataset", "file", "--dataset.path", str(grey_file), "--no-tensorboard",
        "--epochs", "3", "--checkpoint-seconds", "0", "--run-dir",
    ]  # fmt: skip


# What is refused, by the names in its path, and what is left of the run.
TARGETS = {
    "making": (r"/\.tmp-(run|probe)-", 0),
    "first save": (r"/checkpoints/.*step-00000003", 0),
    "later save": (r"/checkpoints/.*step-00000006", 3),
    "last save": (r"/checkpoints/.*step-00000009", 6),
    "status.json": (r"/run/.*status\.json", 0),
    "metrics.jsonl": (r"/run/.*metrics\.jsonl", 0),
    "summary.json": (r"/run/.*summary\.json", 9),
}
CALLS = ("open", "write", "fsync", "rename")


def test_a_refusal_anywhere_in_a_training_ends_with_exit_8_and_can_be_resumed(
    tmp_path, fork, words, amount, counted
):
    every = [(t, n, c) for c in CODES for n in CALLS for t in TARGETS]
    cases, lost, silent = 0, 0, 0
    for target, name, code in every[:: len(every) // amount(6, 42)]:
        pattern, least = TARGETS[target]
        names = {"rename": ("rename", "replace"), "open": ("open", "mkdir")}.get(name, (name,))

        def due(call, seen, pattern=pattern, names=names):
            return call.name in names and re.search(pattern, str(call.target or call.path))

        def work(code=code, due=due):
            with watched(tmp_path, refuse(getattr(errno, code), due)):
                main([*words, str(tmp_path / "run")])

        ended = fork(work).end()
        cases += 1
        if ended.status == 0:
            # Such as a file that is only appended to, which no call renames.
            assert name == "rename", f"{target}, {name}, {code}: {ended.output}"
        else:
            silent += ended.status != 8 or code not in ended.output
        run = Run(tmp_path / "run")
        if target == "making" and ended.status:
            lost += any(tmp_path.iterdir())
        else:
            found = run.store.latest()
            lost += (found.step if found else 0) < least
            assert fork(main, ["resume", str(run.path)]).end().status == 0
            lost += run.store.latest().step != 9
            shutil.rmtree(run.path)
    counted("refusals in a training", cases, lost=lost, silent=silent)


@pytest.mark.parametrize("trouble", ["full", "too small", "read only"])
def test_the_disk_is_tried_before_the_first_step(
    cli, tmp_path, words, monkeypatch, one_sentence, trouble
):
    def refuse_all(*given, **options):
        pytest.fail("the training began")

    monkeypatch.setattr(Trainer, "run", refuse_all)
    if trouble == "too small":
        monkeypatch.setattr(room, "free_bytes", lambda path: 10)
        done = cli(*words, tmp_path / "runs" / "run")
        assert re.search(r"\(\d+ bytes are needed, 10 bytes are free\)", done.err)
    else:
        code = {"full": errno.ENOSPC, "read only": errno.EROFS}[trouble]
        with watched(tmp_path, refuse(code, lambda call, seen: call.name in ("write", "mkdir"))):
            done = cli(*words, tmp_path / "runs" / "run")
        assert errno.errorcode[code] in done.err
    assert done.code == 8
    one_sentence(done.err.strip())
    assert not (tmp_path / "runs" / "run").exists()
    assert not list(tmp_path.rglob(".tmp-*"))


def test_the_disk_is_tried_before_a_run_goes_on(cli, run_copy, monkeypatch):
    def refuse_all(*given, **options):
        pytest.fail("the training began")

    monkeypatch.setattr(Trainer, "run", refuse_all)
    monkeypatch.setattr(room, "free_bytes", lambda path: 10)
    done = cli("resume", run_copy, "--epochs", 3)
    assert done.code == 8
    assert "10 bytes are free" in done.err


def test_the_room_that_is_asked_for_holds_what_a_training_keeps(cli, tmp_path, words):
    """Three checkpoints at once, and no file that is larger than the one that is tried."""
    run = Run(tmp_path / "run")
    done = cli(*words, run.path, "--encoder.hidden", 256, "--decoder.hidden", 256)
    assert done.code == 0
    weights = sum(w.nbytes for w in run.model.state_dict().values())
    newest = max((run.path / "checkpoints").iterdir())
    sizes = [file.stat().st_size for file in newest.iterdir()]
    rest = 40_000  # of names and states, whatever the size of the model
    with watched(tmp_path, lambda call, seen: None) as calls:
        check_room(tmp_path, weights)
    tried = max(len(call.data) for call in calls if call.name == "write")
    assert tried <= max(sizes) <= tried + rest
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "free_bytes", lambda path: 3 * (sum(sizes) - rest))
        with pytest.raises(StorageError, match="has no room for the checkpoints"):
            check_room(tmp_path, weights)
