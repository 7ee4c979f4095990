"""What a run is bound to: its id, its configuration, its data; a change is refused by name."""

import json
import re
import shlex

import numpy as np
import pytest
import whole_run

from vaeflow.reading import unsealed
from vaeflow.runs.directory import Run
from vaeflow.training.checkpoints import CheckpointStore, read


@pytest.fixture(scope="module")
def runs(whole, cli, tiny, grey_file, tmp_path_factory):
    """Two runs of the same configuration and data: nothing but the id tells their files apart."""
    other = tmp_path_factory.mktemp("other") / "run"
    return whole, whole_run.make(cli, tiny, grey_file, other)


@pytest.fixture
def run(runs, tmp_path):
    return whole_run.copy(runs[0], tmp_path / "run")


def edited(run, key, value):
    """Set a key of config.toml by hand, in the table that it names; return what stood there."""
    table, _, name = key.rpartition(".")
    lines, inside, before = (run / "config.toml").read_text().splitlines(), not table, "none"
    found = [f"{name} = {value}"] if not table else []
    for line in lines:
        if line.startswith("["):
            inside = line == f"[{table}]"
            found += [line, *([f"{name} = {value}"] if inside else [])]
        elif inside and line.startswith(f"{name} = "):
            before = line.partition(" = ")[2].strip('"')
        else:
            found.append(line)
    (run / "config.toml").write_text("\n".join(found) + "\n")
    return before


EDITS = {
    "lr": "0.01",
    "eps": "0.1",
    "weight_decay": "0.1",
    "schedule": '"exponential"',
    "lr_gamma": "0.5",
    "clip": "1.0",
    "early_stopping": "2",
    "precision": '"bf16"',
    "test_samples": "4",
    "on_nonfinite": '"skip:2"',
    "objective.beta": "0.5",
    "objective.warmup": "5.0",
    "objective.samples": "2",
    "batch_size": "20",
    "optimizer": '"adamax"',
    "seed": "5",
    "latent": "4",
    "binarization": '"threshold"',
    "start_at_mean": "true",
    "encoder.activation": '"silu"',
    "posterior.steps": "3",
}
FIXED = [*EDITS][13:]


def test_every_edit_of_the_configuration_is_refused_by_name(
    runs, tmp_path, cli, counted, one_sentence
):
    silent = []
    for key, value in EDITS.items():
        run = whole_run.copy(runs[0], tmp_path / key)
        before = edited(run, key, value)
        now = value.strip('"')
        for words in (("resume", run, "--epochs", 4), ("evaluate", run, "-k", 3)):
            done = cli(*words)
            named = re.search(rf"{re.escape(key)}: (\S+) → (\S+?)(?:: |, )", done.err)
            told = named and [float_or_text(text) for text in named.groups()]
            if done.code != 2 or told != [float_or_text(before), float_or_text(now)]:
                silent.append((key, done))
            one_sentence(done.err.strip())
        cure = "train a new run" if key in FIXED else f"--override {key}="
        assert cure in done.err, key
    assert silent == []
    counted("edits of config.toml", 2 * len(EDITS), silent=len(silent))


def float_or_text(text):
    try:
        return float(text)
    except ValueError:
        return text


@pytest.mark.parametrize("key", ["lr", "objective.beta", "early_stopping"])
def test_the_advice_on_an_edit_works(run, cli, key):
    edited(run, key, EDITS[key])
    (command,) = re.findall("`vaeflow (resume .*?)`", cli("resume", run).err)
    assert cli(*shlex.split(command)).code == 0
    done = cli(*shlex.split(command), "--epochs", 4)
    assert done.code == 0, done.err
    assert cli("evaluate", run, "-k", 3).code == 0
    assert cli("resume", run).err == ""


def test_a_setting_is_overridden_and_kept(run, cli):
    done = cli("resume", run, "--epochs", 4, "--override", "lr=0.01", "--override=objective.beta=2")
    assert done.code == 0, done.err
    settings = Run(run).settings()
    assert (settings["lr"], settings["objective"]["beta"]) == (0.01, 2.0)
    assert Run(run).metrics[-1]["lr"] == 0.01
    assert cli("evaluate", run, "-k", 3).code == 0


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ("batch_size=20", "batch_size: it cannot change within a run; train a new run"),
        ("posterior.steps=3", "posterior.steps: it cannot change within a run"),
        ("posterior=radial", "posterior.name: it cannot change within a run"),
        ("epochs=9", "epochs: it cannot change within a run; give --epochs"),
        ("larning_rate=1", "unknown setting"),
        ("lr=fast", "--lr: got fast"),
        ("lr", "write KEY=VALUE"),
    ],
)
def test_other_overrides_are_refused(run, cli, item, told):
    before = (run / "config.toml").read_text()
    done = cli("resume", run, "--epochs", 4, "--override", item)
    assert done.code == 2
    assert told in done.err
    assert (run / "config.toml").read_text() == before


def test_what_may_change_is_told_and_the_run_goes_on(run, cli):
    edited(run, "epochs", "4")
    edited(run, "image_every", "7")
    assert cli("evaluate", run, "-k", 3).code == 0
    done = cli("resume", run)
    assert done.code == 0
    assert "epochs: 3 → 4, image_every: 10 → 7" in done.err
    assert Run(run).status["epoch"] == 4
    assert cli("resume", run).err == ""


def test_epochs_below_what_is_done_are_refused_within_an_epoch(run, cli):
    """They would end an interrupted run as if it were completed."""
    newest = max((run / "checkpoints").iterdir())
    state = json.loads((newest / "state.json").read_text())
    store = CheckpointStore(run / "checkpoints", about={k: state[k] for k in ("run_id", "config")})
    progress = {**state["progress"], "batch": 1, "step": 10}
    store.save(10, read(newest).tensors, {**state, "progress": progress})
    done = cli("resume", run, "--epochs", 3)
    assert done.code == 2
    assert "the run is in epoch 4 already: give --epochs 4 or more" in done.err
    assert cli("resume", run, "--epochs", 4).code == 0


COMMANDS = {
    "evaluate": ("-k", 3, "--again"),
    "diagnose": ("--images", 2, "--skip", "gaps", "--skip", "ais", "--skip", "calibration"),
    "reconstruct": ("-n", 2),
    "sample": ("-n", 2),
    "resume": ("--epochs", 4),
}


def swap(run, other):
    """Give a run the checkpoints of another."""
    whole_run.shutil.rmtree(run / "checkpoints")
    whole_run.copy(other / "checkpoints", run / "checkpoints")


def test_checkpoints_of_another_run_are_refused(runs, run, cli, here, counted, one_sentence):
    swap(run, runs[1])
    for name, words in COMMANDS.items():
        done = cli(name, run, *words)
        assert (done.code, done.out) == (4, "")
        told = [line for line in done.err.splitlines() if line.startswith("Error: ")]
        assert Run(runs[0]).id in told[0]
        assert Run(runs[1]).id in told[0]
        one_sentence(told[0])
    counted("another run's checkpoints", len(COMMANDS))
    assert not any(one.state == "whole" for one in _verified(run) if "step-" in one.name)
    whole_run.shutil.rmtree(run / "checkpoints")  # as the message says
    assert cli("resume", run).code == 0


def _verified(run):
    from vaeflow.runs.verify import verify

    return verify(Run(run))


def test_the_own_checkpoint_beside_one_of_another_run_is_taken(runs, run, cli):
    newest = max((run / "checkpoints").iterdir())
    whole_run.shutil.rmtree(newest)
    whole_run.copy(runs[1] / "checkpoints" / newest.name, newest)
    with whole_run.warnings() as told:
        assert Run(run).checkpoint().step == 6
    assert "move it out of the directory" in told[0]


def test_without_the_check_of_the_id_they_would_be_taken(runs, run, cli, monkeypatch):
    monkeypatch.setattr(CheckpointStore, "read", lambda self, path: read(path))
    swap(run, runs[1])
    assert cli("evaluate", run, "-k", 3).code == 0


def test_an_evaluation_of_another_run_is_made_anew_and_told(runs, run, cli):
    (file,) = (run / "evaluations").iterdir()
    file.write_bytes((runs[1] / "evaluations" / file.name).read_bytes())
    done = cli("evaluate", run, "-k", 3, "--json")
    assert done.code == 0
    assert "run_id was" in done.err
    assert json.loads(done.out)["run_id"] == Run(run).id
    assert not [one for one in _verified(run) if one.state == "damaged"]


def test_a_run_without_an_id_takes_no_checkpoint_with_one(run, cli):
    content = unsealed(json.loads((run / "environment.json").read_text()))
    del content["run_id"]
    (run / "environment.json").write_text(json.dumps(content))
    assert cli("sample", run).code == 4


def test_changed_data_are_refused(run, grey_file, cli, here, counted, one_sentence):
    splits = dict(np.load(grey_file))
    splits["train"][0, 0, 0] = 1 - splits["train"][0, 0, 0]
    np.savez(here / "changed.npz", **splits)
    asked = {name: words for name, words in COMMANDS.items() if name != "sample"}
    with whole_run.replaced(grey_file, (here / "changed.npz").read_bytes()):
        for name, words in asked.items():
            done = cli(name, run, *words)
            assert (done.code, done.out) == (3, ""), name
            one_sentence(done.err.strip())
            assert "was trained on other data than dataset 'vaeflow/file' holds now" in done.err
        assert cli("sample", run).code == 0  # which needs none
    counted("changed data", len(asked))


def test_moved_data_are_taken(run, grey_file, cli, tmp_path):
    moved = tmp_path / "moved.npz"
    moved.write_bytes(grey_file.read_bytes())
    edited(run, "dataset.path", f'"{moved}"')
    assert cli("evaluate", run, "-k", 3, "--again").code == 0
    assert cli("resume", run, "--epochs", 4).code == 0
