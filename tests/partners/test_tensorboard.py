"""A real TensorBoard, started on the loopback address, reads all of a run back over HTTP."""

from __future__ import annotations

import io
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import pytest
from PIL import Image

PLUGIN = "data/plugin"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """TensorBoard on a folder of runs."""

    def __init__(self, folder):
        self.at = f"http://127.0.0.1:{free_port()}"
        words = ["--logdir", str(folder), "--host", "127.0.0.1", "--port", self.at.split(":")[-1]]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tensorboard.main", *words, "--reload_interval", "1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def get(self, path, body=None, **query):
        url = f"{self.at}/{path}?{urllib.parse.urlencode(query)}"
        data = None if body is None else json.dumps(body).encode()
        header = {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, data, header), timeout=20) as found:
            return found.read()

    def json(self, path, body=None, **query):
        return json.loads(self.get(path, body, **query))

    def wait(self, is_there):
        """Wait until the server has read what is asked for."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                if is_there(self):
                    return
            except OSError:
                assert self.process.poll() is None, "TensorBoard ended"
            time.sleep(0.2)
        raise AssertionError("TensorBoard does not show the runs")


@pytest.fixture(scope="module")
def runs(cli, tiny, tmp_path_factory):
    """A run that was stopped in its second epoch and went on, and one beside it."""
    folder = tmp_path_factory.mktemp("runs")
    small = [*tiny, "--latent", 2, "--image-every", 1, "--test-images", 20, "--test-samples", 2]
    small += ["--batch-size", 500, "--checkpoint-seconds", 0]
    for name, epochs in {"planar": 3, "identity": 1}.items():
        words = ["--posterior", name, "--epochs", epochs, "--run-dir", folder / name]
        done = cli("train", *small, *words)
        assert done.code == 0, done.err
    # As if it had been killed in its third epoch: its events are there, its checkpoint is not.
    shutil.rmtree(folder / "planar/checkpoints/step-00000009")
    for name in ("summary.json", "status.json"):
        (folder / "planar" / name).unlink()
    if not any((folder / "planar/checkpoints").iterdir()):
        pytest.fail("no older checkpoint is left")
    assert cli("resume", folder / "planar", "--epochs", 4).code == 0
    return folder


@pytest.fixture(scope="module")
def server(runs):
    started = Server(runs)
    try:
        started.wait(lambda s: len(s.json("data/runs")) == 10)
        started.wait(lambda s: "identity/final/test" in s.json(f"{PLUGIN}/scalars/tags"))
        yield started
    finally:
        started.process.terminate()
        started.process.wait(20)


def records(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_the_runs_are_named_by_their_data(server):
    parts = ("train", "validation", "final", "final/test", "final/validation")
    found = server.json("data/runs")
    assert set(found) == {f"{run}/{part}" for run in ("planar", "identity") for part in parts}


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_curve_is_whole_and_single_after_a_resume(server, runs, split):
    events = server.json(f"{PLUGIN}/scalars/scalars", run=f"planar/{split}", tag="bound/elbo")
    found = [(step, value) for _, step, value in events]
    expected = [(r["step"], r[f"{split}/elbo"]) for r in records(runs / "planar")]
    assert [step for step, _ in found] == [step for step, _ in expected]
    assert [v for _, v in found] == pytest.approx([v for _, v in expected], rel=1e-6)


def test_no_chart_has_a_single_point(server):
    tags = server.json(f"{PLUGIN}/scalars/tags")
    for run, of in tags.items():
        if run.startswith("planar/"):
            for tag in of:
                assert len(server.json(f"{PLUGIN}/scalars/scalars", run=run, tag=tag)) > 1, tag


def test_pictures_of_all_epochs_are_there(server, runs):
    steps = [r["step"] for r in records(runs / "planar")]
    drawn = {"reconstructions": steps, "samples": steps}
    drawn |= {key: [steps[i] for i in (0, 1, 3)] for key in ("posterior", "codes")}
    for name, expected in drawn.items():
        tag = f"pictures/{name}"
        found = server.json(f"{PLUGIN}/images/images", run="planar/validation", tag=tag, sample=0)
        assert {one["step"] for one in found} >= set(expected), name
        picture = server.get(f"{PLUGIN}/images/individualImage?{found[-1]['query']}&x=")
        with Image.open(io.BytesIO(picture)) as image:
            assert max(image.size) >= 400


def test_histograms_tell_dimensions_and_maps(server):
    tags = server.json(f"{PLUGIN}/histograms/tags")
    assert "latent/kl_per_dimension" in tags["identity/validation"]
    assert "log_det/01 PlanarMaps" in tags["planar/validation"]
    found = server.json(
        f"{PLUGIN}/histograms/histograms", run="planar/validation", tag="log_det/01 PlanarMaps"
    )
    assert sum(count for _, _, count in found[-1][2]) == 100  # examples


def test_hparams_tell_the_parts_and_the_final_figures(server, runs):
    body = {"experimentName": "", "includeMetrics": True}
    about = server.json(f"{PLUGIN}/hparams/experiment", body)
    names = [one["name"] for one in about["hparamInfos"]]
    assert names[0] == "Posterior"  # which differs
    metrics = {(m["name"].get("group", ""), m["name"]["tag"]) for m in about["metricInfos"]}
    assert {("test", "bound/nll"), ("test", "bound/elbo"), ("validation", "bound/elbo")} <= metrics
    wanted = [{"hparam": name, "includeInResult": True} for name in names]
    wanted += [{"metric": m["name"], "includeInResult": True} for m in about["metricInfos"]]
    body = {"experimentName": "", "allowedStatuses": ["STATUS_SUCCESS"], "colParams": wanted}
    groups = server.json(
        f"{PLUGIN}/hparams/session_groups", {**body, "startIndex": 0, "sliceSize": 10}
    )["sessionGroups"]
    by_posterior = {group["hparams"]["Posterior"]: group for group in groups}
    assert set(by_posterior) == {"planar", "identity"}
    told = json.loads((runs / "planar/summary.json").read_text())
    found = {
        (m["name"].get("group", ""), m["name"]["tag"]): m["value"]
        for m in by_posterior["planar"]["metricValues"]
    }
    best = next(r for r in records(runs / "planar") if r["epoch"] == told["best_epoch"])
    assert found["test", "bound/nll"] == pytest.approx(told["nll"]["mean"], rel=1e-6)
    assert found["validation", "bound/elbo"] == pytest.approx(best["validation/elbo"], rel=1e-6)


def test_the_projector_has_codes_labels_and_thumbnails(server):
    at = f"{PLUGIN}/projector"
    assert set(server.json(f"{at}/runs")) == {"planar/validation", "identity/validation"}
    run = {"run": "planar/validation"}
    (info,) = server.json(f"{at}/info", **run)["embeddings"]
    assert info["tensorShape"] == [200, 3]
    assert len(server.get(f"{at}/tensor", **run, name=info["tensorName"])) == 4 * 3 * 200
    labels = server.get(f"{at}/metadata", **run, name=info["tensorName"]).decode().splitlines()
    assert labels[0].split("\t")[0] == "digit"
    assert {line.split("\t")[0] for line in labels[1:]} == set("0123456789")
    with Image.open(io.BytesIO(server.get(f"{at}/sprite_image", **run, name="codes"))) as sheet:
        assert sheet.size == (15 * 32, 15 * 32)
    assert info["sprite"]["singleImageDim"] == [32, 32]
