"""Fixtures for the tests of the configuration: layers resolved with the built-in parts."""

from __future__ import annotations

import pytest

from vaeflow.config.layers import Layers
from vaeflow.config.settings import Config
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
