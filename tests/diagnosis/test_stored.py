"""Figures of a stage come back from the disk as they were, or not at all."""

import math

import pytest
import torch

from vaeflow.diagnosis.kept import Figures
from vaeflow.diagnosis.stored import StageFiles, read, write
from vaeflow.errors import CheckpointError
from vaeflow.reading import digest

KEY = {"seed": 0, "how": {"samples": 7, "scale": 0.1}}
FIGURES = Figures(
    {
        "values": torch.tensor([0.1, -0.0, math.nan, math.inf], dtype=torch.float64),
        "ranks": torch.arange(6).view(2, 3),
        "half": torch.tensor(0.3, dtype=torch.bfloat16),
        "none": torch.zeros(0, 3),
        "seen": torch.tensor([True, False]),
    },
    {"gain": 0.1 + 0.2, "converged": True, "maps": [["Planar", {"mean": -1.5, "error": None}]]},
)


def equal(one, other):
    assert {n: (t.dtype, t.shape) for n, t in one.tensors.items()} == {
        n: (t.dtype, t.shape) for n, t in other.tensors.items()
    }
    for name, tensor in one.tensors.items():
        assert torch.equal(
            tensor.flatten().view(torch.uint8), other.tensors[name].flatten().view(torch.uint8)
        )
    assert one.plain == other.plain


def test_figures_come_back_to_the_bit(tmp_path):
    files = StageFiles(tmp_path / "diagnoses", {"model": "a"})
    assert files.get("local my/q", KEY) is None
    files.put("local my/q", KEY, FIGURES)
    (path,) = (tmp_path / "diagnoses").iterdir()  # and no temporary file is left
    assert path.name.startswith("local-my-q-")
    later = StageFiles(tmp_path / "diagnoses", {"model": "a"})
    equal(later.get("local my/q", KEY), FIGURES)
    assert (files.found, files.kept) == ([], ["local my/q"])
    assert (later.found, later.kept) == (["local my/q"], ["local my/q"])


@pytest.mark.parametrize(
    ("stage", "key", "about"),
    [
        ("other", KEY, {"model": "a"}),
        ("stage", {**KEY, "seed": 1}, {"model": "a"}),
        ("stage", {**KEY, "how": {"samples": 7, "scale": 0.2}}, {"model": "a"}),
        ("stage", KEY, {"model": "b"}),
    ],
)
def test_figures_of_another_key_are_neither_given_nor_overwritten(tmp_path, stage, key, about):
    first, other = StageFiles(tmp_path, {"model": "a"}), StageFiles(tmp_path, about)
    first.put("stage", KEY, FIGURES)
    assert other.get(stage, key) is None
    other.put(stage, key, Figures())
    equal(first.get("stage", KEY), FIGURES)
    equal(other.get(stage, key), Figures())


def test_again_gives_nothing_and_replaces(tmp_path):
    StageFiles(tmp_path, {}).put("stage", KEY, FIGURES)
    again = StageFiles(tmp_path, {}, again=True)
    assert again.get("stage", KEY) is None
    again.put("stage", KEY, Figures())
    equal(StageFiles(tmp_path, {}).get("stage", KEY), Figures())


def test_a_flipped_bit_is_found_wherever_it_is(tmp_path):
    path = tmp_path / "x"
    write(path, "the key", FIGURES)
    content = path.read_bytes()
    equal(read(path, "the key"), FIGURES)
    for i in [*range(0, len(content), 7), len(content) - 1]:
        path.write_bytes(content[:i] + bytes([content[i] ^ 1 << i % 8]) + content[i + 1 :])
        with pytest.raises(CheckpointError, match=r"was changed|cannot be read"):
            read(path, "the key")


def test_a_file_that_is_cut_or_foreign_is_told(tmp_path, caplog, one_sentence):
    files = StageFiles(tmp_path, {})
    files.put("stage", KEY, FIGURES)
    (path,) = tmp_path.iterdir()
    for content in (path.read_bytes()[:-9], b"", b"mine"):
        path.write_bytes(content)
        assert files.get("stage", KEY) is None
    assert len(caplog.messages) == 3
    for warning in caplog.messages:
        assert warning.startswith(f"{path} cannot be read")
        assert warning.endswith("; the stage is measured anew")
        one_sentence(warning)


def test_a_digest_tells_names_types_shapes_and_bits():
    one = torch.tensor([1.0, 2.0])
    told = [
        digest(tensors)
        for tensors in (
            {"a": one},
            {"b": one},
            {"a": one.double()},
            {"a": one[None]},
            {"a": one.flip(0)},
            {"a": -one},
            {"a": one.view(torch.int32)},
            {"a": one[:1], "b": one[1:]},
            {},
        )
    ]
    assert len(set(told)) == len(told)
    assert digest({"a": one, "b": -one}) == digest({"b": -one, "a": one})
