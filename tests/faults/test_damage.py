"""Flipped bits and cut files anywhere in a run directory: found, or shown to be without effect."""

import random
from collections import Counter

import pytest
import whole_run
from whole_run import everything, files, outcome, replaced

from vaeflow import reading
from vaeflow.runs.directory import Run
from vaeflow.runs.verify import is_whole, verify

# What vaeflow writes and does not read.
UNREAD = ("lock", "events.out.tfevents", "codes.tsv", "labels.tsv", "thumbnails", "projector")


@pytest.fixture(scope="module")
def run(whole):
    return whole


@pytest.fixture(scope="module")
def before(run):
    found = everything(run)
    own = [found[file.name][0] for file in (run / "evaluations").iterdir()]
    assert own
    assert all(mine is True for mine in own)
    return found


def flips(found, n, seed=0):
    """Yield files with one bit of theirs flipped, each file as often as any other."""
    draw = random.Random(seed)
    for i in range(n):
        file = found[i % len(found)]
        content = bytearray(file.read_bytes())
        bit = draw.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
        yield file, bytes(content)


def cuts(found, n, seed=1):
    """Yield files that end too early, the first of them empty."""
    draw = random.Random(seed)
    for i in range(n):
        file = found[i % len(found)]
        content = file.read_bytes()
        yield file, content[: draw.randrange(len(content)) if i >= len(found) else 0]


def tried(run, before, cases):
    """Return how often each outcome came, and the files of the silent ones."""
    count, silent = Counter(), []
    for file, content in cases:
        with replaced(file, content):
            what, seen = outcome(run, before), verify(Run(run))
            if what == "found":  # by a command; then `vaeflow verify` finds it too
                assert not is_whole(seen) or any(one.why for one in seen[:1]), file
            elif what == "without effect" and not is_whole(seen):  # of the older checkpoint
                what = "found"
        count[what] += 1
        if what == "silent":
            silent.append(str(file))
        if file.name.startswith(UNREAD):
            assert what == "without effect"
            count["unread"] += 1
    return count, silent


def test_every_flipped_bit_is_found_or_without_effect(run, before, amount, counted):
    n = amount(40, 300)
    count, silent = tried(run, before, flips(files(run), n))
    assert silent == []
    assert count["found"] > 0.8 * (n - count["unread"])
    counted("flipped bits, all files", n, silent=count["silent"])


def test_every_cut_file_is_found_or_without_effect(run, before, amount, counted):
    n = amount(30, 200)
    count, silent = tried(run, before, cuts(files(run), n))
    assert silent == []
    assert count["found"] > 0.8 * (n - count["unread"])
    counted("cut files, all files", n, silent=count["silent"])


def test_other_damage_of_a_checkpoint_falls_back_to_the_one_before(run, before, amount, counted):
    """A zeroed block, bytes at the end, a file gone, a file of the other checkpoint."""
    older, newer = sorted((run / "checkpoints").iterdir())
    cases = 0
    for file in sorted(newer.iterdir()):
        content, draw = file.read_bytes(), random.Random(2)
        start = draw.randrange(max(len(content) - 64, 1))
        zeroed = content[:start] + bytes(len(content[start : start + 64])) + content[start + 64 :]
        for changed in (zeroed, content + b"\0", (older / file.name).read_bytes()):
            if changed == content:
                continue
            with replaced(file, changed), whole_run.warnings() as told:
                assert Run(run).store.latest().step == int(older.name.rpartition("-")[2])
            assert newer.name in told[0]
            cases += 1
        away = file.rename(file.with_suffix(".away"))
        with whole_run.warnings() as told:
            assert Run(run).store.latest().step == int(older.name.rpartition("-")[2])
        away.rename(file)
        assert f"lacks {file.name}" in told[0]
        cases += 1
    assert everything(run) == before
    counted("other damage of a checkpoint", cases)


MUTANTS = {
    "a checkpoint": (
        "checkpoints/step-*/best.safetensors",
        "vaeflow.training.checkpoints.reading._verified",
        lambda path, name, manifest: (path / name).read_bytes(),
    ),
    "JSON": (
        "summary.json",
        "vaeflow.runs.directory.unsealed",
        lambda content: {k: v for k, v in content.items() if k != reading.SUM},
    ),
    "the id": (
        "environment.json",
        "vaeflow.runs.directory.unsealed",
        lambda content: {k: v for k, v in content.items() if k != reading.SUM},
    ),
    "an evaluation": (
        "evaluations/*.safetensors",
        "vaeflow.evaluation.stored.digest",
        lambda tensors: Anything(),
    ),
}


class Anything(str):
    """A checksum that is equal to every other."""

    __slots__ = ()
    __eq__ = lambda self, other: True  # noqa: E731
    __ne__ = lambda self, other: False  # noqa: E731
    __hash__ = str.__hash__


@pytest.mark.parametrize(("files", "check", "stand_in"), MUTANTS.values(), ids=MUTANTS)
def test_without_a_checksum_the_tests_above_would_fail(
    run, before, monkeypatch, files, check, stand_in
):
    file = max(run.glob(files))
    monkeypatch.setattr(check, stand_in)
    assert tried(run, before, flips([file], 40))[1]
