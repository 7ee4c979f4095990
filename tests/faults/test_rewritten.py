"""Checkpoints rewritten with matching manifests: refused in one sentence, and nothing is loaded."""

import hashlib
import json
import math

import pytest
import small_vae
import torch
import whole_run
from safetensors.torch import save

from vaeflow.config.settings import Settings
from vaeflow.errors import CheckpointError
from vaeflow.reading import digest
from vaeflow.training import prepare_trainer
from vaeflow.training.checkpoints import CheckpointStore, read


def rewrite(path, edit):
    """Edit the tensors and the state of a checkpoint, and make its manifest match."""
    found = read(path)
    state = edit(found.tensors, found.state) or found.state
    contents = {f"{name}.safetensors": save(group) for name, group in found.tensors.items()}
    contents["state.json"] = json.dumps(state).encode()
    for file in path.iterdir():
        file.unlink()
    for name, content in contents.items():
        (path / name).write_bytes(content)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = {"format": 1, "step": found.step, "sha256": sums}
    (path / "manifest.json").write_text(json.dumps(manifest))


def put(group, name, change):
    """Return an edit of one tensor; of its first entry of a name that ends so."""

    def edit(tensors, state):
        key = next(k for k in tensors[group] if k.startswith(name))
        changed = change(tensors[group].pop(key))
        if changed is not None:
            tensors[group][key] = changed

    return edit


def drop(group):
    return lambda tensors, state: tensors.pop(group) and None


def at(**values):
    """Return an edit of numbers of the progress; None removes one."""

    def edit(tensors, state):
        for name, value in values.items():
            state["progress"].pop(name, None)
            if value is not None:
                state["progress"][name] = value

    return edit


def stated(**values):
    return lambda tensors, state: {**state, **values}


def filled(index, value):
    def change(tensor):
        tensor.view(-1)[index] = value
        return tensor

    return change


def forget(parameter):
    def edit(tensors, state):
        for key in [k for k in tensors["optimizer"] if k.endswith(parameter)]:
            del tensors["optimizer"][key]

    return edit


def gone(tensor):
    return None


EDITS = {
    "torch's generator of another size": put("loop", "cpu", lambda t: t[:-8].clone()),
    "torch's generator zeroed": put("loop", "cpu", torch.zeros_like),
    "torch's generator of floats": put("loop", "cpu", lambda t: t.float()),
    "no torch's generator": put("loop", "cpu", gone),
    "NumPy's generator beyond its words": put("loop", "numpy", filled(624, 10**6)),
    "NumPy's generator before its words": put("loop", "numpy", filled(624, -1)),
    "NumPy's generator with a negative word": put("loop", "numpy", filled(0, -1)),
    "Python's generator cut": put("loop", "python", lambda t: t[:9].clone()),
    "no Python's generator": put("loop", "python", gone),
    "no loop": drop("loop"),
    "no sums": put("loop", "totals", gone),
    "one sum": put("loop", "totals", lambda t: t[:1].clone()),
    "a sum that is NaN": put("loop", "totals", filled(0, math.nan)),
    "no weights": drop("model"),
    "no best weights": drop("best"),
    "a weight less": put("model", "encoder", gone),
    "a weight more": lambda t, s: t["model"].update(more=torch.zeros(1)),
    "a weight of another shape": put("model", "encoder", lambda t: t[:1].clone()),
    "a best weight of another shape": put("best", "decoder", lambda t: t[:1].clone()),
    "a weight of float64": put("model", "encoder", lambda t: t.double()),
    "a weight that is NaN": put("model", "encoder", filled(0, math.nan)),
    "no optimizer": drop("optimizer"),
    "a moment of one number": put("optimizer", "exp_avg/", lambda t: t.view(-1)[:1].clone()),
    "a square of one number": put("optimizer", "exp_avg_sq/", lambda t: t.view(-1)[:1].clone()),
    "a moment of float64": put("optimizer", "exp_avg/", lambda t: t.double()),
    "a square that is infinite": put("optimizer", "exp_avg_sq/", filled(0, math.inf)),
    "a square less": put("optimizer", "exp_avg_sq/", gone),
    "the moments of a parameter": forget("encoder.layers.0.weight"),
    "a moment of no parameter": lambda t, s: t["optimizer"].update({"exp_avg/x": torch.zeros(1)}),
    "a count that is NaN": put("optimizer", "step/", lambda t: torch.full_like(t, math.nan)),
    "a count below zero": put("optimizer", "step/", lambda t: torch.full_like(t, -5.0)),
    "a count in a vector": put("optimizer", "step/", lambda t: t.repeat(3)),
    "an epoch that is NaN": at(epoch=math.nan),
    "an epoch below zero": at(epoch=-1),
    "an epoch in words": at(epoch="3"),
    "an epoch that is true": at(epoch=True),
    "a later epoch": at(epoch=4),
    "an epoch of a billion": at(epoch=10**9),
    "no epoch": at(epoch=None),
    "a batch beyond the epoch": at(epoch=0, batch=9),
    "another step": at(step=8),
    "a best epoch to come": at(best_epoch=7),
    "a best bound that is infinite": at(best_elbo=-math.inf),
    "a best bound of no epoch": at(best_epoch=0),
    "seconds in words": at(seconds="1"),
    "seconds below zero": at(seconds=-1.0),
    "a number that nobody knows": at(luck=7),
    "a progress that is a list": stated(progress=[]),
    "a state that is a list": lambda tensors, state: [state],
    "a configuration that is no TOML": stated(config="= ="),
    "a configuration that is a number": stated(config=3),
    "unchanged parameters that are a number": stated(unchanged=3),
    "generators that are a number": stated(generators=3),
}


@pytest.fixture
def newest(whole, tmp_path):
    """The newest checkpoint of a copy; the older one is gone."""
    copy = whole_run.copy(whole, tmp_path / "run")
    *older, newest = sorted((copy / "checkpoints").iterdir())
    for path in older:
        whole_run.shutil.rmtree(path)
    return newest


def resumed(fork, cli, run):
    """Resume in a child, which may die: its status, and the command's exit code and outputs."""

    def work():
        done = cli("resume", run, "--epochs", 4)
        return done.code, done.out, done.err

    ended = fork(work).end()
    return ended.status, *(ended.value or (None, "", ended.output))


def test_a_rewritten_checkpoint_is_refused_in_one_sentence(
    newest, fork, cli, amount, counted, one_sentence
):
    run, kept = newest.parents[1], newest.parents[2] / "kept"
    whole_run.copy(newest, kept)
    names = [*EDITS][:: len(EDITS) // amount(10, len(EDITS))]
    silent = []
    for name in names:
        rewrite(newest, EDITS[name])
        status, code, _, err = resumed(fork, cli, run)
        told = [line for line in err.splitlines() if line.startswith("Error: ")]
        if (status, code) != (0, 4) or len(told) != 1:
            silent.append((name, status, code, err[-500:]))
        else:
            one_sentence(told[0])
        whole_run.shutil.rmtree(newest)
        whole_run.copy(kept, newest)
    assert silent == []
    counted("rewritten checkpoints", len(names), silent=len(silent))


def test_as_it_was_written_it_is_resumed(newest, fork, cli):
    rewrite(newest, lambda tensors, state: None)
    assert resumed(fork, cli, newest.parents[1])[:2] == (0, 0)


@pytest.mark.parametrize("name", ["no best weights", "a best weight of another shape"])
def test_a_rewritten_checkpoint_is_not_evaluated(newest, cli, name, one_sentence):
    rewrite(newest, EDITS[name])
    done = cli("evaluate", newest.parents[1], "-k", 2, "--again")
    assert (done.code, done.out) == (4, "")
    one_sentence(done.err.strip())


def test_without_the_check_of_shapes_the_test_above_would_fail(newest, fork, cli, monkeypatch):
    monkeypatch.setattr("vaeflow.training.loop.check_optimizer", lambda *args: None)
    rewrite(newest, EDITS["a moment of float64"])
    assert resumed(fork, cli, newest.parents[1])[:2] != (0, 4)


@pytest.mark.parametrize("name", ["a square of one number", "torch's generator zeroed"])
def test_nothing_is_loaded_of_a_checkpoint_that_does_not_fit(tmp_path, name):
    store = CheckpointStore(tmp_path / "c")
    trainer(seed=1).run(store=store)
    rewrite(*(tmp_path / "c").iterdir(), EDITS[name])
    other = trainer(seed=2)
    before = digest(other.model.state_dict()), other.eager.optimizer.state_dict()["state"]
    with pytest.raises(CheckpointError, match="cannot be used"):
        other.restore(store.latest())
    assert (digest(other.model.state_dict()), other.eager.optimizer.state_dict()["state"]) == before
    assert other.progress.step == 0


def trainer(seed):
    torch.manual_seed(seed)
    settings = Settings(epochs=1, batch_size=20, device="cpu", seed=seed)
    return prepare_trainer(small_vae.model(), small_vae.images(40).round(), settings=settings)
