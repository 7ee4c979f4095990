"""The splits of a data set: their shape, their text and their fingerprint."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from vaeflow.data.splits import Splits
from vaeflow.parts.datasets.digits import Digits
from vaeflow.parts.datasets.energies import Energies

GREY = torch.linspace(0, 1, 24).reshape(6, 2, 2)


def test_digits_print_on_one_line():
    assert repr(Digits().load()) == (
        "Splits(train (1297, 1, 8, 8), validation (200, …), test (300, …), values in [0, 1])"
    )


def test_the_range_of_values_covers_all_splits():
    low, middle, high = torch.tensor([[-1.5]]), torch.tensor([[0.0]]), torch.tensor([[2.0]])
    for splits in ((low, middle, high), (high, low, middle), (middle, high, low)):
        assert repr(Splits(*splits)).endswith("values in [-1.5, 2])")


def test_empty_splits_print_without_a_range():
    nothing = torch.zeros(0, 3)
    told = "Splits(train (0, 3), validation (0, …), test (0, …))"
    assert repr(Splits(nothing, nothing, nothing)) == told


def test_a_dataset_prints_its_options():
    assert repr(Digits()) == "Digits()"
    assert repr(Energies(which="u2", size=50)) == "Energies(which='u2', size=50)"


def test_splits_know_their_shape_and_their_names():
    splits = Splits(GREY[:3], GREY[3:5], GREY[5:])
    assert splits.data_shape == (2, 2)
    assert [(name, len(x)) for name, x in splits] == [("train", 3), ("validation", 2), ("test", 1)]


def test_the_fingerprint_depends_on_every_value_shape_and_border():
    splits = Splits(GREY[:3], GREY[3:5], GREY[5:])
    changed = GREY.clone()
    changed[5, 1, 1] = 0.25
    others = [
        Splits(GREY[:3], GREY[3:5], changed[5:]),
        Splits(GREY[:2], GREY[2:5], GREY[5:]),
        Splits(*(x.flatten(1) for _, x in splits)),
    ]
    seen = {s.fingerprint() for s in [splits, *others]}
    assert len(seen) == 4
    assert Splits(*(x.clone() for _, x in splits)).fingerprint() == splits.fingerprint()


def test_a_dataset_keeps_its_root():
    assert Digits(Path("there")).root == Path("there")
    assert Digits().root is None


def test_the_fingerprint_is_the_digest_of_names_shapes_and_bytes():
    # Stored in every run directory: a change of its definition would refuse every old run.
    x = np.arange(8, dtype="<f4").reshape(2, 2, 2)
    digest = hashlib.sha256()
    for name in ("train", "validation", "test"):
        digest.update(f"{name}(2, 2, 2)".encode() + x.tobytes())
    x = torch.from_numpy(x)
    assert Splits(x, x, x).fingerprint() == digest.hexdigest()
    sliced = torch.stack([x, x], -1)[..., 0]  # the same values, not contiguous in memory
    assert Splits(sliced, x, x).fingerprint() == digest.hexdigest()
