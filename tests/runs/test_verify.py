"""`verify` says which files of a run are whole, and why the others are not."""

import json
import shutil
from pathlib import Path

import pytest

from vaeflow.errors import CheckpointError
from vaeflow.runs.directory import Run
from vaeflow.runs.verify import Checked, is_whole, verify

OLD = Path(__file__).with_name("first_round")


def states(path):
    return {one.name: (one.state, one.why) for one in verify(Run(path))}


def test_a_finished_run_is_whole(trained):
    found = verify(Run(trained))
    assert is_whole(found)
    checked = [one for one in found if one.state != "not checked"]
    assert [(one.state, one.why) for one in checked] == [("whole", "")] * len(checked)
    names = [one.name for one in checked]
    for name in ("config.toml", "environment.json", "status.json", "summary.json", "metrics.jsonl"):
        assert name in names
    assert "checkpoints/step-00000006" in names
    others = {one.name for one in found if one.state == "not checked"}
    assert others == {"train", "validation", "final"}  # TensorBoard's


def test_a_run_of_before_there_were_checksums_is_whole():
    found = states(OLD)
    assert is_whole(verify(Run(OLD)))
    assert found["environment.json"] == ("whole", "older, without a checksum")
    assert found["checkpoints/step-00000026"] == ("whole", "")


@pytest.mark.parametrize("name", ["environment.json", "status.json", "summary.json"])
def test_a_changed_value_is_found(run_copy, name):
    file = run_copy / name
    content = json.loads(file.read_text())
    key = next(iter(content))
    file.write_text(json.dumps({**content, key: "another"}))
    state, why = states(run_copy)[name]
    assert state == "damaged"
    assert "another SHA-256 than it states" in why
    assert str(run_copy) not in why


@pytest.mark.parametrize("name", ["status.json", "summary.json", "metrics.jsonl", "checkpoints"])
def test_what_is_missing_is_found(run_copy, name):
    path = run_copy / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    found = verify(Run(run_copy))
    assert not is_whole(found)
    if name != "status.json":  # without which nobody knows that the run was completed
        assert Checked(name, "missing", found[-1].why) in found or name in states(run_copy)
    assert states(run_copy)[name][0] == "missing"


def test_lost_and_foreign_lines_of_metrics_are_found(run_copy):
    file = run_copy / "metrics.jsonl"
    first, second = file.read_text().splitlines(keepends=True)
    for text, told in (
        (first, "it has the records of 1 of 2 epochs"),
        (second, "it has the records of 1 of 2 epochs"),
        (first + "words\n" + second, "1 of its lines are no records"),
        (first + second.replace('"epoch": 2', '"epoch": 3'), "1 of its lines are no records"),
    ):
        file.write_text(text)
        assert states(run_copy)["metrics.jsonl"] == ("damaged", told)


def test_an_edited_configuration_is_found(run_copy):
    file = run_copy / "config.toml"
    text = file.read_text()
    file.write_text(text.replace("latent = 3", "latent = 4"))
    state, why = states(run_copy)["config.toml"]
    assert state == "damaged"
    assert "latent: 3 → 4" in why
    file.write_text(text.replace("epochs = 2", "epochs = 3"))
    assert states(run_copy)["config.toml"] == (
        "whole",
        "since the newest checkpoint epochs: 2 → 3",
    )


def test_a_damaged_checkpoint_is_found_beside_a_whole_one(run_copy):
    newest = run_copy / "checkpoints" / "step-00000006"
    shutil.copytree(newest, newest.with_name("step-00000007"))
    found = states(run_copy)
    assert found["checkpoints/step-00000006"] == ("whole", "")
    state, why = found["checkpoints/step-00000007"]
    assert state == "damaged"
    assert "its manifest states step 6" in why


def test_the_command_prints_what_is_found(cli, run_copy):
    done = cli("verify", run_copy)
    assert (done.code, done.err) == (0, "")
    assert "checkpoints/step-00000006" in done.out
    (run_copy / "summary.json").write_text("{")
    done = cli("verify", run_copy, "--json")
    assert done.code == CheckpointError.exit_code
    report = json.loads(done.out)
    assert report["whole"] is False
    (damaged,) = [one for one in report["files"] if one["state"] == "damaged"]
    assert damaged["name"] == "summary.json"
    done = cli("verify", run_copy.parent)
    assert done.code == 4
    assert "is no run directory" in done.err
