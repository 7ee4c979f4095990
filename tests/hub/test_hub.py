"""Runs pushed to a folder and pulled from it, and folders that anybody wrote."""

import json
import os
import pickle
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import torch

import vaeflow
from vaeflow.errors import CheckpointError, ConfigError, StorageError
from vaeflow.reading import TEXT
from vaeflow.runs.verify import is_whole, verify


@pytest.fixture(scope="module")
def pushed(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "first"
    assert vaeflow.push(trained, folder) == str(folder)
    return folder


@pytest.fixture
def hostile(pushed, tmp_path):
    return shutil.copytree(pushed, tmp_path / "hostile")


def names(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_a_pulled_run_is_the_pushed_one_to_the_bit(trained, pushed, tmp_path, cli):
    run = vaeflow.pull(pushed, tmp_path / "run")
    for name in names(run.path):
        assert (run.path / name).read_bytes() == (trained / name).read_bytes()
    assert names(run.path) == names(pushed) - {"README.md", "samples.png"}
    assert cli("verify", run.path).code == 0
    before, after = vaeflow.load(trained), vaeflow.load(run.path)
    for name, weight in before.state_dict().items():
        assert torch.equal(weight, after.state_dict()[name])


def test_only_text_tensors_and_a_picture_are_pushed(pushed, trained):
    endings = {name.rpartition(".")[2] for name in names(pushed)}
    assert endings == {"toml", "json", "jsonl", "safetensors", "md", "png"}
    assert not any(name.startswith("events") for name in names(pushed))
    assert len([*(pushed / "checkpoints").iterdir()]) == 1
    assert len([*(trained / "checkpoints").iterdir()]) >= 1


def test_the_card_tells_the_figures_and_how_to_use_them(pushed, trained):
    card = (pushed / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: vaeflow\ntags:\n")
    summary = json.loads((trained / "summary.json").read_text())
    (line,) = (line for line in card.splitlines() if line.startswith("| NLL"))
    _, _, mean, error, _ = (cell.strip() for cell in line.split("|"))
    assert float(mean) == pytest.approx(summary["nll"]["mean"], rel=0.02)
    assert float(error) == pytest.approx(summary["nll"]["standard_error"], rel=0.06)
    assert 'vaeflow.pull("./first", "runs/first")' in card
    assert "| posterior | planar | vaeflow" in card
    config = tomllib.loads((pushed / "config.toml").read_text())
    assert config["posterior"]["name"] == "vaeflow/planar"


def test_a_model_that_was_fitted_in_python_is_shared_too(tmp_path):
    x = torch.rand(40, 1, 4, 4).round()
    small = {"encoder": ("mlp", {"hidden": [4]}), "decoder": ("mlp", {"hidden": [4]})}
    fitted = vaeflow.fit(vaeflow.build(x.shape[1:], latent=2, **small), x, epochs=1, progress=False)
    run = vaeflow.save(fitted, tmp_path / "saved")
    assert is_whole(verify(run))
    folder = vaeflow.push(run, tmp_path / "pushed")
    pulled = vaeflow.pull(Path(folder), tmp_path / "pulled")
    assert torch.equal(pulled.model.encode(x), run.model.encode(x))
    card = (tmp_path / "pushed" / "README.md").read_text()
    assert "The run was not evaluated." in card
    assert "vaeflow train" not in card


HOSTILE = {
    "a pickle": ("weights.pkl", lambda path: path.write_bytes(pickle.dumps([1]))),
    "torch's pickle": ("checkpoints/step-00000001/model.pt", lambda path: torch.save({}, path)),
    "code": ("modeling.py", lambda path: path.write_text("print('run')")),
    "a long text": ("summary.json", lambda path: path.write_bytes(b" " * (TEXT + 1))),
    "a pipe": ("status.json", lambda path: os.mkfifo(path)),
    "a link": ("evaluations", lambda path: path.symlink_to("/etc", target_is_directory=True)),
    "a linked file": ("metrics.jsonl", lambda path: path.symlink_to("/etc/hostname")),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_part_of_a_run_is_refused_by_name(kind, hostile, tmp_path):
    name, make = HOSTILE[kind]
    path = hostile / name
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)
    with pytest.raises(CheckpointError, match=f"holds {name}, which .* nothing is pulled"):
        vaeflow.pull(hostile, tmp_path / "run")
    assert {each.name for each in tmp_path.iterdir()} == {"hostile"}


def test_a_changed_file_is_refused_by_name(hostile, tmp_path):
    (weights,) = hostile.rglob("model.safetensors")
    weights.write_bytes(pickle.dumps([1]))
    with pytest.raises(CheckpointError, match=r"checkpoints/step-.* is damaged"):
        vaeflow.pull(hostile, tmp_path / "run")
    assert {each.name for each in tmp_path.iterdir()} == {"hostile"}


def test_a_file_beside_the_manifest_is_refused_by_name(hostile, tmp_path):
    (weights,) = hostile.rglob("model.safetensors")
    weights.with_name("more.safetensors").write_bytes(pickle.dumps([1]))
    with pytest.raises(CheckpointError, match=r"more\.safetensors, which its manifest does not"):
        vaeflow.pull(hostile, tmp_path / "run")
    assert {each.name for each in tmp_path.iterdir()} == {"hostile"}


def test_an_absent_library_is_one_sentence(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("vaeflow.hub.hub.find_spec", lambda name: None)
    for call in (lambda: vaeflow.push(trained, "me/first"), lambda: vaeflow.pull("me/first")):
        with pytest.raises(ConfigError, match=r"pip install 'vaeflow\[hub\]'"):
            call()


def test_nothing_is_overwritten_and_names_are_checked(pushed, trained, tmp_path):
    with pytest.raises(ConfigError, match="exists, and nothing is overwritten"):
        vaeflow.push(trained, pushed)
    with pytest.raises(ConfigError, match="exists, and nothing is overwritten"):
        vaeflow.pull(pushed, tmp_path)
    with pytest.raises(ConfigError, match="'first' is no repository: NAMESPACE/NAME"):
        vaeflow.pull("first", tmp_path / "run")
    with pytest.raises(CheckpointError, match="holds no run"):
        vaeflow.pull(tmp_path, tmp_path / "run")


def test_the_folder_that_push_tells_goes_into_pull(trained, tmp_path, cli, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = cli("push", trained, "./a b").out
    assert said == f"pushed {trained} to './a b'\n"
    assert cli("pull", "./a b", "back").code == 0
    assert vaeflow.push(trained, Path("again")) == "./again"
    assert is_whole(verify(vaeflow.pull("./again", "back-too")))
    assert cli("push", "-q", trained, "./quiet").out == ""


def test_a_refusal_names_the_folder_that_was_asked_for(trained, pushed, tmp_path):
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "x"
    for call in (lambda: vaeflow.push(trained, place), lambda: vaeflow.pull(pushed, place)):
        with pytest.raises(StorageError, match=f"^{re.escape(str(place))} cannot be") as caught:
            call()
        assert ".tmp-" not in str(caught.value)
