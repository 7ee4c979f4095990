"""A save that is killed at any of its system calls loses no checkpoint that was saved before."""

import os
import shutil
import signal

import pytest
import torch
from forks import say
from system_calls import kill_at, watched

from vaeflow.errors import CheckpointError
from vaeflow.training.checkpoints import CheckpointStore, read

KEEP = 2
# Steps that are there, those that are damaged, and the one that is saved.
SCENARIOS = {
    "first save": ((), (), 1),
    "save that prunes": ((1, 2), (), 3),
    "resave": ((1, 2), (), 2),
    "resave of the only one": ((2,), (), 2),
    "save among damaged ones": ((2, 6, 8), (6, 8), 4),
    "resave of a damaged one": ((2, 6, 8), (6, 8), 6),
}


def tensors(step):
    return {"model": {"w": torch.full((300,), float(step))}, "loop": {"t": torch.arange(3)}}


def save(store, step):
    return store.save(step, tensors(step), {"progress": {"step": step}})


def prepared(root, there, damaged):
    store = CheckpointStore(root, keep=len(there) or 1)
    for step in there:
        path = save(store, step)
        if step in damaged:
            (path / "model.safetensors").write_bytes(b"")
    return root


def whole(root):
    """Return the steps whose checkpoints are whole under whatever name, verified."""
    found = []
    for path in root.glob("*step-*") if root.is_dir() else ():
        try:
            checkpoint = read(path)
        except CheckpointError:
            continue
        assert torch.equal(checkpoint.tensors["model"]["w"], tensors(checkpoint.step)["model"]["w"])
        found.append(checkpoint.step)
    return sorted(set(found))


def calls_of(root, step):
    with watched(root.parent, lambda call, number: None) as calls:
        save(CheckpointStore(root, KEEP), step)
    return calls


def points(calls, most):
    """Return where to kill: all renamings, and as many other calls as are wanted, spread."""
    everything = [(n, False) for n in range(1, len(calls) + 2)]
    everything += [(n + 1, True) for n, call in enumerate(calls) if call.name == "write"]
    renamings = [(n + 1, False) for n, call in enumerate(calls) if call.name == "rename"]
    most = min(most, len(everything))
    spread = [everything[i * len(everything) // most] for i in range(most)]
    return sorted({*renamings, *spread})


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_kill_at_any_system_call_of_a_save_loses_no_checkpoint(
    tmp_path, fork, amount, counted, scenario
):
    there, damaged, step = SCENARIOS[scenario]
    before = sorted({*there} - {*damaged})
    calls = calls_of(prepared(tmp_path / "log" / "c", there, damaged), step)
    assert len(calls) > 15

    def work(root, number, halfway):
        with watched(root.parent, kill_at(number, halfway=halfway)):
            save(CheckpointStore(root, KEEP), step)
            say("saved")

    lost = cases = 0
    for number, halfway in points(calls, amount(6, 10_000)):
        root = prepared(tmp_path / f"{number}-{halfway}" / "c", there, damaged)
        ended = fork(work, root, number, halfway).end()
        saved = ended.heard == ["saved"]
        assert ended.status == (0 if number > len(calls) else -signal.SIGKILL), ended.output
        cases += 1
        found = CheckpointStore(root).latest()
        newest = found.step if found is not None else None
        # What is whole is found: the newest of before, or the one that was being saved.
        right = (step,) if saved else (step, max(before, default=None))
        enough = min(KEEP, len({*before, *([step] if saved else [])}))
        if newest not in right or len(whole(root)) < enough:
            lost += 1
        save(CheckpointStore(root, KEEP), 9)  # and the next process sweeps up and goes on
        assert CheckpointStore(root).latest().step == 9
        assert not [p.name for p in root.iterdir() if p.name.startswith(".")]
        assert len(whole(root)) == min(KEEP, len({*before, step} if newest == step else before) + 1)
        shutil.rmtree(root.parent)
    counted(f"kills in a {scenario}", cases, lost=lost)


@pytest.mark.parametrize("gone", ["nothing", "hidden names", "recovery"])
def test_two_kills_lose_nothing_and_without_a_protection_they_do(tmp_path, fork, monkeypatch, gone):
    """Mutants: hidden directories are not looked at; leftovers are swept before the next save."""
    real = CheckpointStore.paths
    mutants = {
        "nothing": {},
        "hidden names": {"paths": lambda self: [p for p in real(self) if p.name[0] != "."]},
        "recovery": {"_recover": CheckpointStore._sweep},
    }
    for name, mutant in mutants[gone].items():
        monkeypatch.setattr(CheckpointStore, name, mutant)
    calls = calls_of(prepared(tmp_path / "log" / "c", (2,), ()), 2)
    between = [n for n, call in enumerate(calls, 1) if call.name == "rename"][1]

    def work(root, number):
        with watched(root.parent, kill_at(number)):
            save(CheckpointStore(root, KEEP), 2)

    found = []
    for again in range(1, len(calls), 4):
        root = prepared(tmp_path / str(again) / "c", (2,), ())
        assert fork(work, root, between).end().status == -signal.SIGKILL
        assert fork(work, root, again).end().status == -signal.SIGKILL
        found.append(CheckpointStore(root).latest())
    assert (None in found) == (gone != "nothing")


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_only_whole_checkpoints_count_in_keep(tmp_path, caplog, keep):
    """Two damaged newer ones beside a restored older one: neither it nor the new one goes."""
    root = prepared(tmp_path / "c", (2, 6, 8), (6, 8))
    store = CheckpointStore(root, keep)
    assert store.latest().step == 2
    save(store, 3)
    assert whole(root) == [2, 3][-keep:]
    save(store, 4)
    assert whole(root) == [2, 3, 4][-keep:]
    assert CheckpointStore(root).latest().step == 4
    save(store, 9)
    save(store, 10)
    assert whole(root) == [2, 3, 4, 9, 10][-keep:]
    if keep < 3:
        assert len(list(root.iterdir())) == keep  # the damaged ones are past, and gone


def test_directories_of_the_user_and_of_others_are_left_alone(tmp_path):
    store = CheckpointStore(tmp_path / "c")
    names = ["step-100-mine", "step-7.bak", ".tmp-mine", "step-00000002-00000000"]
    for name in names:
        (tmp_path / "c" / name).mkdir(parents=True)
    for step in (1, 2, 3):
        save(store, step)
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == sorted(
        [*names, "step-00000002", "step-00000003"]
    )


def test_a_file_that_a_killed_preflight_left_is_removed(tmp_path):
    store = CheckpointStore(tmp_path / "c")
    save(store, 1)
    (tmp_path / "c" / ".tmp-probe-0123abcd").write_bytes(b"0")
    (tmp_path / "c" / ".tmp-mine").write_bytes(b"0")
    save(store, 2)
    left = [p.name for p in (tmp_path / "c").iterdir() if p.name.startswith(".")]
    assert left == [".tmp-mine"]


def test_a_checkpoint_that_has_not_changed_is_not_read_again(tmp_path, monkeypatch):
    store = CheckpointStore(tmp_path / "c")
    save(store, 1)
    save(store, 2)

    def refuse(path, *given, **options):
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("vaeflow.training.checkpoints.store.read", refuse)
    save(store, 3)
    changed = tmp_path / "c" / "step-00000003" / "model.safetensors"
    os.utime(changed, ns=(0, 0))
    with pytest.raises(AssertionError, match="step-00000003 was read"):
        save(store, 4)


def test_leftovers_that_cannot_be_removed_are_told_and_the_save_stands(
    tmp_path, caplog, monkeypatch
):
    store = CheckpointStore(tmp_path / "c", keep=1)
    save(store, 1)

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        save(store, 2)
    assert "cannot be removed (Permission denied): remove it by hand" in caplog.text
    assert store.latest().step == 2
    save(store, 3)
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["step-00000003"]
