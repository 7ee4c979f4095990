"""TensorBoard's events: each curve, picture and histogram at its place, once."""

from __future__ import annotations

import io
import json
import tomllib
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from vaeflow.training.observers.gallery import Gallery
from vaeflow.training.observers.metrics_file import write_metrics
from vaeflow.training.observers.projector import Points, write_points
from vaeflow.training.observers.tensorboard import TensorBoard

TERMS = ("elbo", "loss", "log_px", "log_pz", "log_q0", "log_det", "kl")
BESIDE = {
    "train": {
        "beta": "optimizer/beta",
        "lr": "optimizer/lr",
        "grad_norm": "optimizer/grad_norm",
        "images_per_second": "speed/examples_per_second",
    },
    "validation": {
        "active_units": "latent/active_units",
        "undecided_units": "latent/undecided_units",
    },
}


def records(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def summary(run):
    return json.loads((run / "summary.json").read_text())


@pytest.fixture(scope="module")
def board(trained):
    """Return a function that reads one run of TensorBoard."""
    read = {}

    def of(name):
        if name not in read:
            read[name] = EventAccumulator(str(trained / name))
            read[name].Reload()
        return read[name]

    return of


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_curves_are_the_metrics_file(board, trained, split):
    shown = {f"{split}/{term}": f"bound/{term}" for term in TERMS} | BESIDE[split]
    assert set(board(split).Tags()["scalars"]) == set(shown.values())
    for name, tag in shown.items():
        events = board(split).Scalars(tag)
        assert [e.step for e in events] == [3, 6]
        expected = [r[name] for r in records(trained)]
        assert [e.value for e in events] == pytest.approx(expected, rel=1e-6)


def test_pictures_can_be_seen(board):
    # Of the first epoch: 2 rows of 4 pairs, 8 rows of 8 samples, each of 4×4 in a border.
    assert board("train").Tags()["images"] == []
    for tag, (rows, columns) in {"reconstructions": (2, 8), "samples": (8, 8)}.items():
        (event,) = board("validation").Images(f"pictures/{tag}")
        assert event.step == 3
        with Image.open(io.BytesIO(event.encoded_image_string)) as image:
            factor = image.size[0] // (columns * 6)
            assert image.size == (columns * 6 * factor, rows * 6 * factor)
            assert max(image.size) >= 400
            assert np.asarray(image).std() > 0


def test_dimensions_and_maps_are_histograms(board, trained):
    tags = board("validation").Tags()["histograms"]
    assert set(tags) == {
        "latent/kl_per_dimension", "latent/variance_of_means", "log_det/01 PlanarMaps",
        "log_det/02 PlanarMaps",
    }  # fmt: skip
    for tag, count in {
        "latent/kl_per_dimension": 3,
        "latent/variance_of_means": 3,
        "log_det/01 PlanarMaps": 8,
    }.items():
        (event,) = board("validation").Histograms(tag)
        assert (event.step, event.histogram_value.num) == (3, count)


def test_the_final_figures_are_level_lines_and_results_of_hparams(board, trained):
    told, (first, last) = summary(trained), records(trained)
    best = first if told["best_epoch"] == 1 else last
    expected = {
        "test": {f"bound/{name}": told[name]["mean"] for name in ("elbo", "kl", "nll")},
        "validation": {
            "bound/elbo": best["validation/elbo"],
            "bound/kl": best["validation/kl"],
            "latent/active_units": best["active_units"],
        },
    }
    for split, figures in expected.items():
        found = board(f"final/{split}")
        assert set(found.Tags()["scalars"]) == set(figures)
        for tag, value in figures.items():
            assert [e.step for e in found.Scalars(tag)] == [0, 6]
            assert [e.value for e in found.Scalars(tag)] == pytest.approx([value] * 2, rel=1e-6)


def test_the_figures_are_those_of_the_best_epoch(tmp_path):
    records = [
        {"epoch": epoch, "step": epoch, "validation/elbo": -10.0 * epoch, "active_units": epoch}
        for epoch in (1, 2, 3)
    ]
    write_metrics(tmp_path / "metrics.jsonl", records)
    observer = TensorBoard(tmp_path, {}, {"lr": 0.1}, lambda: Points(np.ones((2, 3))))
    for end in (2, 3):  # the second time after a resume
        observer.start(0, 0, end, 1)
        observer.finish("completed", {"best_epoch": 2, "nll": {"mean": 30.0 + end}})
    for split, tag, value in (("validation", "bound/elbo", -20), ("test", "bound/nll", 33)):
        found = EventAccumulator(str(tmp_path / "final" / split))
        found.Reload()
        assert [(e.step, e.value) for e in found.Scalars(tag)] == [(0, value), (3, value)]
        assert len([*(tmp_path / "final" / split).iterdir()]) == 1


def test_hparams_are_the_parts_and_what_differs_from_its_default(board, trained):
    begin, end = (
        plugin_data_pb2.HParamsPluginData.FromString(
            board("final").SummaryMetadata(f"_hparams_/session_{name}_info").plugin_data.content
        )
        for name in ("start", "end")
    )
    assert end.HasField("session_end_info")
    found = {
        name: getattr(value, value.WhichOneof("kind"))
        for name, value in begin.session_start_info.hparams.items()
    }
    parts = {"Dataset": "file", "Likelihood": "bernoulli", "Objective": "elbo", "Prior": "normal"}
    parts |= {"Posterior": "planar", "encoder": "mlp", "decoder": "mlp"}
    assert found.items() >= parts.items()
    assert sorted(found)[: len("DLOPP")] == sorted(name for name in parts if name[0].isupper())
    differing = {"posterior.steps": 2, "epochs": 2, "latent": 3, "batch_size": 10, "lr": 1e-3}
    differing |= {"encoder.hidden": "8", "decoder.hidden": "8", "seed": 0}
    assert found.items() >= differing.items()
    assert not found.keys() & {"weight_decay", "threads", "test_samples", "encoder.activation"}


def test_the_configuration_is_text(board, trained):
    (text,) = board("train").Tensors("config/text_summary")
    shown = json.loads(text.tensor_proto.string_val[0].decode().strip("`\n"))
    assert shown == tomllib.loads((trained / "config.toml").read_text())


def test_the_projector_has_a_code_a_label_and_a_thumbnail_of_each_example(trained):
    folder = trained / "validation"
    codes = np.loadtxt(folder / "codes.tsv", delimiter="\t")
    assert codes.shape == (8, 3)
    assert (folder / "labels.tsv").read_text().split() == [str(i) for i in range(8)]
    with Image.open(folder / "thumbnails.png") as sheet:
        assert sheet.size == (3 * 32, 3 * 32)  # nine places
    config = (folder / "projector_config.pbtxt").read_text()
    for name in ("codes.tsv", "labels.tsv", "thumbnails.png", "single_image_dim: 32"):
        assert name in config


def test_points_of_two_dimensions_with_odd_labels_are_written(tmp_path):
    labels = {"site": np.array(["a\tb", None, ""], object), "year": np.array([3.0, np.nan, 2.5])}
    write_points(Points(np.ones((3, 2)), labels), tmp_path)
    assert (tmp_path / "codes.tsv").read_text() == "1\t1\t0\n" * 3
    rows = (tmp_path / "labels.tsv").read_text().splitlines()
    assert rows == ["site\tyear", "a b\t3", "–\t–", "–\t2.5"]


def test_pictures_that_take_long_are_drawn_at_doubled_distances():
    draws = dict.fromkeys(("quick", "slow"), lambda model: np.zeros((1, 1)))
    gallery = Gallery(draws, every=2, seldom=("slow",), epochs=19)
    seen = Counter()
    epochs = {name: [] for name in draws}
    for epoch in range(1, 20):
        for name, _ in gallery.drawn(epoch, None):
            epochs[name].append(epoch)
            seen[name] += 1
    assert epochs == {"quick": [1, *range(2, 20, 2)], "slow": [1, 2, 4, 8, 16, 19]}
