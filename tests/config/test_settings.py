"""Settings: their defaults, from text and to TOML."""

from __future__ import annotations

import tomli_w

from vaeflow.config.files import read_toml
from vaeflow.config.settings import Settings, settings_from


def test_defaults_are_digits_with_a_diagonal_gaussian(resolve):
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


def test_a_written_configuration_reads_back_equal(resolve, tmp_path):
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


def test_text_of_flags_becomes_settings():
    settings = settings_from(
        Settings, {"clip": "none", "lr_milestones": "3,5", "epochs": "7", "early_stopping": "2"}
    )
    assert settings.clip is None
    assert settings.lr_milestones == (3, 5)
    assert (settings.epochs, settings.early_stopping) == (7, 2)
