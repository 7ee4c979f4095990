"""Files of settings: TOML and the recipes."""

from __future__ import annotations

import pytest

from vaeflow.config.files import read_recipe, read_toml, recipes
from vaeflow.errors import ConfigError


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
def test_an_unreadable_file_is_explained(tmp_path, content, told, one_sentence):
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


def test_the_zoltowski_recipe_has_the_tutorials_settings(resolve):
    config = resolve(read_recipe("zoltowski-mnist"))
    assert (config.epochs, config.batch_size, config.lr, config.latent) == (50, 100, 1e-3, 20)
    assert config.dataset.name == "vaeflow/mnist"
    assert config.encoder.options["hidden"] == (500, 500)
    assert config.encoder.options["activation"] == "sigmoid"
    assert config.likelihood.name == "vaeflow/gaussian"
    assert config.likelihood.options["sigma"] == 0.5
    assert config.objective.options["kl"] == "analytic"


def test_an_unknown_recipe_lists_the_recipes(one_sentence):
    with pytest.raises(ConfigError) as caught:
        read_recipe("zoltowski")
    one_sentence(str(caught.value))
    assert "--recipe zoltowski: unknown recipe" in str(caught.value)
    assert "zoltowski-mnist" in str(caught.value)
    assert "any path of a .toml file" in str(caught.value)
