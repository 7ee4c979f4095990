"""Layers of configuration, one over the other, and their errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from vaeflow.config.layers import Layers
from vaeflow.errors import ConfigError


def test_a_later_layer_wins_key_by_key(resolve):
    config = resolve(
        {"epochs": 5, "lr": 0.1, "posterior": {"name": "planar", "steps": 3}},
        {"lr": "0.2", "posterior": {"steps": "7"}, "encoder": {"activation": "tanh"}},
        {"encoder": {"hidden": "8"}},
    )
    assert (config.epochs, config.lr) == (5, 0.2)
    assert config.posterior.name == "vaeflow/planar"
    assert config.posterior.options["steps"] == 7
    assert config.encoder.options["activation"] == "tanh"
    assert config.encoder.options["hidden"] == (8,)


def test_a_new_part_drops_the_old_parts_options(plugins):
    layers = Layers()
    layers.add({"posterior": {"name": "planar", "steps": 3}}, "recipe")
    layers.add({"posterior": "iaf"}, "flags")
    assert layers.dropped == [
        "posterior 'iaf' (flags) replaces 'planar': its options steps are dropped"
    ]
    config = layers.resolve(plugins).config
    assert config.posterior.name == "vaeflow/iaf"
    assert config.posterior.options["steps"] != 3


@pytest.mark.parametrize("again", ["planar", "vaeflow/planar"])
def test_the_same_part_named_again_keeps_its_options(plugins, again):
    layers = Layers()
    layers.add({"posterior": {"name": "planar", "steps": 3}}, "recipe")
    layers.add({"posterior": again}, "flags")
    assert layers.dropped == []
    assert layers.resolve(plugins).config.posterior.options["steps"] == 3


def test_paths_do_not_depend_on_the_working_directory(resolve, here):
    config = resolve({"dataset": {"name": "file", "path": "x.npy"}})
    assert config.dataset.options["path"] == here / "x.npy"
    config = resolve({"dataset": {"name": "file", "path": "x.npy"}, "data_root": "data"})
    assert config.data_root == here / "data"
    assert config.dataset.options["path"] == Path("x.npy")  # relative to the root


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({"epoch": 3}, ["unknown setting 'epoch'", "did you mean 'epochs'?", "train --help"]),
        ({"posterio": "planar"}, ["unknown setting 'posterio'", "'posterior'"]),
        ({"posterior": 3}, ["posterior is 3", "a name or a table [posterior]"]),
        ({"posterior": {"name": 3}}, ["name of posterior is 3", "vaeflow list posterior"]),
        ({"posterior": "planr"}, ["--posterior planr", "'planar'", "iaf, identity, mixture"]),
        ({"posterior": ""}, ["--posterior : unknown posterior", "iaf, identity, mixture"]),
        ({"posterior": {"steps": 3}}, ["--posterior.steps", "Identity has"]),
        ({"posterior": {"name": "planar", "steps": {"a": 1}}}, ["--posterior.steps", "integer"]),
        ({"epochs": 0}, ["--epochs", "got 0", "integer > 0"]),
        ({"epochs": True}, ["--epochs", "got true", "integer > 0"]),
        ({"epochs": [1]}, ["--epochs", "got 1", "integer > 0"]),
        ({"batch_size": "many"}, ["--batch-size", "many", "integer > 0"]),
        ({"lr": float("nan")}, ["--lr", "got nan", "number > 0"]),
        ({"lr": "inf"}, ["--lr", "got inf", "number > 0", "finite"]),
        ({"clip": 0}, ["--clip", "got 0", "number > 0 or none"]),
        ({"threads": 10**6}, ["--threads", "1000000", "integer > 0 ≤ 1024 or none"]),
        ({"device": "gpu"}, ["--device", "got gpu", "auto, cpu, cuda, cuda:i or mps"]),
        ({"optimizer": "sgd"}, ["--optimizer", "sgd", "adam | adamw"]),
        ({"lr_milestones": "3,0"}, ["--lr-milestones", "got 0", "integer > 0"]),
        ({"tensorboard": "perhaps"}, ["--tensorboard", "perhaps", "true | false"]),
        ({"dataset": "file"}, ["--dataset.path is required", "the file"]),
    ],
    ids=str,
)
def test_an_error_is_one_sentence_with_value_and_expectation(resolve, raw, told, one_sentence):
    with pytest.raises(ConfigError) as caught:
        resolve(raw)
    message = str(caught.value)
    one_sentence(message)
    for words in told:
        assert words in message
