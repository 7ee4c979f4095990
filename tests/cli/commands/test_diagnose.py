"""`vaeflow diagnose`: a run's figures in a table, as JSON and as a picture."""

from __future__ import annotations

import json
import re
import shutil
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from vaeflow.cli.commands.diagnose import _rows
from vaeflow.diagnosis.diagnosis import Diagnosis
from vaeflow.diagnosis.gaps import split_gap
from vaeflow.evaluation import Estimate, PerImage

QUICK = ("--images", 2, "-k", 50, "--temperatures", 5, "--chains", 2)


@pytest.fixture(scope="module")
def plane(cli, tiny, grey_file, tmp_path_factory):
    """A run of a diagonal Gaussian in two latent dimensions. Read only."""
    path = tmp_path_factory.mktemp("plane") / "run"
    data = ("--dataset", "file", "--dataset.path", grey_file, "--no-tensorboard")
    done = cli("train", *tiny, *data, "--latent", 2, "--run-dir", path)
    assert done.code == 0, done.err
    return path


@pytest.fixture(scope="module")
def diagnosed(cli, plane, tmp_path_factory):
    out = tmp_path_factory.mktemp("diagnosed") / "out"
    return cli("diagnose", plane, *QUICK, "--out", out), out


def test_diagnose_prints_a_table_and_the_findings(diagnosed):
    done, out = diagnosed
    assert (done.code, done.err) == (0, "")
    labels = [line.split("│")[1].strip() for line in done.out.splitlines() if "│" in line]
    assert labels == [
        "ELBO, K = 50",
        "log p(x) ≥ IWAE",
        "log p(x) ≥ Laplace",
        "log p(x) ≥ AIS",
        "log p(x) ≥ IWAE, local identity",
        "log p(x) ≥ IWAE, local planar",
        labels[6],
        "log p(x) − ELBO",
        "approximation, identity",
        "amortization",
        "approximation, planar",
        "closed by planar",
        "2 simulated images",
        labels[13],
        "log p(x) ≤ reverse AIS",
        "between them",
    ]
    assert labels[6].startswith("log p(x) by ")
    report = json.loads((out / "diagnosis.json").read_text())
    said = [finding["sentence"] for finding in report["findings"]]
    assert done.out.splitlines()[-2 - len(said) :] == [
        *said,
        f"wrote {out}/diagnosis.json",
        f"wrote {out}/posteriors.png",
    ]


def test_the_json_names_run_data_and_options(diagnosed, plane):
    report = json.loads((diagnosed[1] / "diagnosis.json").read_text())
    stated = ("run", "dataset", "split", "binarization", "weights", "seed", "images", "samples")
    assert [report[name] for name in stated] == [
        "run", "vaeflow/file", "test", "dynamic", "best", 0, 2, 50
    ]  # fmt: skip
    gaps = report["gaps"]
    parts = gaps["approximation"]["mean"] + gaps["amortization"]["mean"]
    assert gaps["total"]["mean"] == pytest.approx(parts)
    assert [*report["local"]] == ["identity", "planar"]
    assert len(report["calibration"]["p_value"]) == 2
    assert report["log_dets"] is None


def test_the_picture_has_a_row_per_image_and_a_column_per_q(diagnosed):
    with Image.open(diagnosed[1] / "posteriors.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    height, width, _ = pixels.shape
    assert width / height == pytest.approx((2.1 * 4 + 0.3) / (2.1 * 2 + 0.75), rel=0.01)
    # Each column of panels has lines of one colour, in both rows.
    for column, colour in enumerate(("1f77b4", "d95f02", "1b9e77")):
        wanted = np.array([int(colour[i : i + 2], 16) for i in (0, 2, 4)])
        rows, columns = np.nonzero(np.abs(pixels - wanted).max(-1) < 8)
        assert (columns // (width / 4)).astype(int).min() >= column
        assert (columns.mean() / width * 4 - 1.5 - column) == pytest.approx(0, abs=0.3)
        assert {0, 1} == set(np.unique(rows * 2 // height))


def test_standard_output_holds_only_json(cli, plane):
    words = ("--json", *QUICK, "--skip", "gaps", "--skip", "ais", "--skip", "calibration")
    seeds = (["--again"], ["--again"], [], ["--seed", 1])
    first, again, kept, other = (cli("diagnose", plane, *words, *more).out for more in seeds)
    assert first == again == kept
    assert json.loads(first)["elbo"] != json.loads(other)["elbo"]
    assert json.loads(first)["simulated"] is None


def test_a_log_shows_the_seconds_of_each_stage(cli, plane, diagnosed):
    lines = [line for line in diagnosed[0].out.splitlines() if re.fullmatch(r".*: [\d.]+ s", line)]
    assert [line.split(":")[0] for line in lines] == [
        "IWAE of the images",
        "annealing",
        "IWAE of simulated images",
        "annealing simulated images",
        "annealing them backwards",
        "local identity q",
        "local planar q",
        "calibration",
    ]
    skip = ("--skip", "gaps", "--skip", "ais", "--skip", "calibration")
    words = ("--json", "--again", *QUICK, *skip)
    assert re.fullmatch(r"IWAE of the images: [\d.]+ s\n", cli("diagnose", plane, *words).err)


@pytest.mark.parametrize(("maps", "shown"), [(8, range(1, 9)), (9, (2, 7, 9))])
def test_a_long_flow_shows_the_sum_and_the_largest_maps(maps, shown):
    dets = [("PlanarMaps", Estimate(0.01 * i, 0.001)) for i in range(maps)]
    dets[1] = ("PlanarMaps", Estimate(-3.0, 0.1))
    dets[6] = ("PlanarMaps", Estimate(2.0, 0.1))
    zero = PerImage(torch.zeros(2).double(), torch.zeros(2).double())
    gaps = split_gap(zero, zero, {"IWAE": zero})
    found = Diagnosis(9, zero, {"IWAE": zero}, None, {}, gaps, None, dets, None)
    rows = dict(_rows(found))
    assert [label for label in rows if "PlanarMaps" in label] == [
        f"  {i} PlanarMaps" for i in shown
    ]
    assert ("  sum of 9" in rows) == (maps == 9)
    if maps == 9:
        assert rows["  sum of 9"].mean == pytest.approx(sum(det.mean for _, det in dets))


def test_a_flow_in_three_dimensions_has_no_picture(cli, trained, here):
    skip = [word for stage in ("ais", "gaps", "calibration") for word in ("--skip", stage)]
    done = cli("diagnose", trained, *QUICK, *skip, "--out", "out")
    assert (done.code, done.err) == (0, "")
    assert "  2 PlanarMaps" in done.out
    assert [p.name for p in (here / "out").iterdir()] == ["diagnosis.json"]


LONG = ("IWAE of the images", "annealing", "IWAE of simulated images")


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_an_interrupted_diagnosis_says_what_is_kept_and_goes_on_there(
    cli, plane, tmp_path, monkeypatch, one_sentence, number
):
    run = shutil.copytree(plane, tmp_path / "run")
    shutil.rmtree(run / "diagnoses", ignore_errors=True)
    words = ("diagnose", run, *QUICK, "--skip", "gaps", "--json")
    expected = cli(*words, "--again").out
    for file in (run / "diagnoses").glob("annealing-simulated-images-*"):
        file.unlink()

    def stop(*args, **kwargs):
        signal.raise_signal(getattr(signal, number))

    monkeypatch.setattr("vaeflow.diagnosis.stages.annealed", stop)
    done = cli(*words)
    assert (done.code, done.out) == (128 + getattr(signal, number), "")
    assert done.err == (
        f"Interrupted; {run}/diagnoses keeps {', '.join(LONG)}, and the same command goes on "
        "from there.\n"
    )
    one_sentence(done.err.strip())
    monkeypatch.undo()
    done = cli(*words)
    assert (done.code, done.out) == (0, expected)
    measured, kept = done.err.splitlines()
    assert measured.startswith("annealing simulated images: ")
    assert kept.startswith(f"kept from before: {', '.join(LONG)}, annealing them backwards, ")
    assert kept.endswith("; --again measures them anew")


def test_a_diagnosis_that_is_interrupted_at_once_keeps_nothing(cli, plane, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("vaeflow.diagnosis.stages.evaluate_images", stop)
    done = cli("diagnose", plane, "--again", *QUICK)
    assert (done.code, done.out) == (130, "")
    assert done.err == "Interrupted before the end of a stage that could be kept.\n"


def test_a_terminal_shows_a_bar_for_each_stage(cli, plane, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    words = (*QUICK, "--again", "--skip", "gaps", "--skip", "calibration")
    done = cli("diagnose", plane, *words, terminal=True)
    assert done.code == 0, done.err
    for stage in ("IWAE of the images", "annealing", "annealing them backwards"):
        assert stage in done.out
    assert done.out.count("\x1b[?25l") == done.out.count("\x1b[?25h") == 5  # the cursor is back


def test_existing_files_and_bad_options_are_refused(cli, plane, here):
    (here / "out").mkdir()
    (here / "out" / "posteriors.png").write_text("mine")
    for words, code, said in (
        (("--out", "out"), 2, "out/posteriors.png exists, and nothing is overwritten"),
        (("--out", "a/b"), 2, "the directory a does not exist; make it first"),
        (("--richer", "planer"), 2, "--richer planer: unknown posterior (did you mean 'planar'?)"),
        (("--temperatures", 1), 2, "--temperatures"),
    ):
        done = cli("diagnose", plane, *QUICK, *words)
        assert (done.code, done.out) == (code, "")
        assert said in done.err
    assert (here / "out" / "posteriors.png").read_text() == "mine"
