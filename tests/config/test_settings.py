"""Layers of configuration, one over the other, and every complaint about them."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomli_w

from vaeflow.config.files import read_recipe, read_toml, recipes
from vaeflow.config.layers import Layers
from vaeflow.config.settings import Config, Settings, settings_from
from vaeflow.errors import ConfigError
from vaeflow.plugins.loading import Plugins, load_plugins


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return load_plugins()


@pytest.fixture
def resolve(plugins):
    def run(*layers: dict) -> Config:
        stack = Layers()
        for number, layer in enumerate(layers, 1):
            stack.add(layer, f"layer {number}")
        return stack.resolve(plugins).config

    return run


def test_defaults_are_the_digits_with_a_diagonal_gaussian(resolve):
    config = resolve()
    assert {kind: part.name for kind, part in config.parts().items()} == {
        "dataset": "vaeflow/digits",
        "encoder": "vaeflow/mlp",
        "posterior": "vaeflow/identity",
        "prior": "vaeflow/normal",
        "decoder": "vaeflow/mlp",
        "likelihood": "vaeflow/bernoulli",
        "objective": "vaeflow/elbo",
    }
    assert config.epochs == 100
    assert config.encoder.options["hidden"] == (500, 500)  # a part's defaults are filled in


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


def test_another_part_drops_the_options_of_the_one_it_replaces_and_says_so(plugins):
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


def test_what_is_written_reads_back_the_same(resolve, tmp_path):
    config = resolve(
        {
            "clip": 3.5,
            "lr": 1e-7,
            "lr_milestones": [3, 5],
            "data_root": str(tmp_path),
            "dataset": {"name": "file", "path": "x.npy"},
        }
    )
    file = tmp_path / "config.toml"
    file.write_text(tomli_w.dumps(config.to_toml()))
    assert resolve(read_toml(file)) == config
    assert list(config.to_toml())[-7:] == list(config.parts())  # tables last, or TOML misreads


def test_paths_do_not_depend_on_the_working_directory(resolve, here):
    config = resolve({"dataset": {"name": "file", "path": "x.npy"}})
    assert config.dataset.options["path"] == here / "x.npy"
    config = resolve({"dataset": {"name": "file", "path": "x.npy"}, "data_root": "data"})
    assert config.data_root == here / "data"
    assert config.dataset.options["path"] == Path("x.npy")  # found below the root, wherever it is


def test_text_as_a_command_line_gives_it_becomes_settings():
    settings = settings_from(
        Settings, {"clip": "none", "lr_milestones": "3,5", "epochs": "7", "early_stopping": "2"}
    )
    assert settings.clip is None
    assert settings.lr_milestones == (3, 5)
    assert (settings.epochs, settings.early_stopping) == (7, 2)


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
def test_every_complaint_is_one_sentence_with_value_and_expectation(
    resolve, raw, told, one_sentence
):
    with pytest.raises(ConfigError) as caught:
        resolve(raw)
    message = str(caught.value)
    one_sentence(message)
    for words in told:
        assert words in message


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "does not exist: give the path of a TOML file"),
        (b"a = = 1", "is not valid TOML (Invalid value (at line 1, column 5)): correct"),
        (b'a = "\xff"', "is not valid TOML"),
        (b"\x93NUMPY", "is not valid TOML"),
        ("folder", "cannot be read (Is a directory): check the path"),
    ],
    ids=str,
)
def test_a_file_that_is_no_toml(tmp_path, content, told, one_sentence):
    file = tmp_path / "a.toml"
    if content == "folder":
        file.mkdir()
    elif content is not None:
        file.write_bytes(content)
    for read in (read_toml, lambda path: read_recipe(str(path))):
        with pytest.raises(ConfigError) as caught:
            read(file)
        one_sentence(str(caught.value))
        assert str(caught.value).startswith(str(file))
        assert told in str(caught.value)


def test_every_recipe_resolves(resolve):
    assert "zoltowski-mnist" in recipes()
    for name in recipes():
        assert resolve(read_recipe(name)).epochs >= 1


def test_the_tutorials_recipe_is_the_tutorials(resolve):
    config = resolve(read_recipe("zoltowski-mnist"))
    assert (config.epochs, config.batch_size, config.lr, config.latent) == (50, 100, 1e-3, 20)
    assert config.dataset.name == "vaeflow/mnist"
    assert config.encoder.options["hidden"] == (500, 500)
    assert config.encoder.options["activation"] == "sigmoid"
    assert config.likelihood.name == "vaeflow/gaussian"
    assert config.likelihood.options["sigma"] == 0.5
    assert config.objective.options["kl"] == "analytic"


def test_an_unknown_recipe_is_refused_with_the_list(one_sentence):
    with pytest.raises(ConfigError) as caught:
        read_recipe("zoltowski")
    one_sentence(str(caught.value))
    assert "--recipe zoltowski: unknown recipe" in str(caught.value)
    assert "zoltowski-mnist" in str(caught.value)
    assert "any path of a .toml file" in str(caught.value)
