"""Files are read with bounds, and their content as it was written."""

import os

import pytest
import torch
from safetensors.torch import save

from vaeflow.reading import digest, plain_json, plain_toml, read_file, sealed, unpack, unsealed


def test_a_file_is_read_through_a_link(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert read_file(tmp_path / "a", 7) == read_file(tmp_path / "link") == b"content"
    with pytest.raises(ValueError, match="it has 7 bytes, more than 6"):
        read_file(tmp_path / "a", 6)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none")


def test_what_is_no_file_is_refused_and_no_descriptor_stays_open(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ValueError, match="no regular file"):
        read_file(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_seal_finds_a_changed_value_and_leaves_older_content_alone():
    content = {"a": 0.1 + 0.2, "b": ["β", None]}
    assert unsealed(sealed(content)) == content
    assert unsealed(content) == content
    with pytest.raises(ValueError, match="it was changed"):
        unsealed({**sealed(content), "a": 0.3})


@pytest.mark.parametrize("parts", [32, 33])
def test_a_key_of_toml_has_32_parts_at_most(parts):
    text = ".".join("a" * parts) + " = 1"
    if parts == 32:
        assert plain_toml(text)
    else:
        with pytest.raises(ValueError, match="more than 32 parts"):
            plain_toml(text)


def test_dots_elsewhere_are_no_key():
    text = 'v = [{}]\npath = "{}/x"\n'.format(", ".join(["0.1"] * 100), "/".join([".."] * 50))
    assert len(plain_toml(text)["v"]) == 100
    assert plain_json("[0.1, 0.2]") == [0.1, 0.2]


def test_tensors_come_back_in_the_order_of_their_names():
    given = {name: torch.rand(3, dtype=torch.float64) for name in "dcba"}
    for _ in range(5):
        found, texts = unpack(save(given, {"k": "v"}))
        assert [*found] == [*"abcd"]
        assert texts == {"k": "v"}
        assert digest(found) == digest(given)
    assert digest(given) != digest({**given, "a": given["a"].float()})
    assert digest(given) != digest({**given, "a": given["a"].view(3, 1)})


def test_a_checksum_whose_name_was_changed_is_found():
    whole = sealed({"state": "completed", "sha": "0" * 64})
    assert unsealed(whole) == {"state": "completed", "sha": "0" * 64}
    renamed = {name.replace("sha256", "sha216"): value for name, value in whole.items()}
    with pytest.raises(ValueError, match="it was changed"):
        unsealed(renamed)
    older = {"state": "completed", "sha": "0" * 64}  # of before there was a checksum
    assert unsealed(older) == older
