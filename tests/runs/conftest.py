"""The plan of a small run, for the tests of its directory and its lock."""

from __future__ import annotations

import pytest

from vaeflow.config.layers import Layers, Plan
from vaeflow.plugins.loading import load_plugins


@pytest.fixture
def plan() -> Plan:
    layers = Layers()
    layers.add({"posterior": {"name": "planar", "steps": 3}, "seed": 7}, "test")
    return layers.resolve(load_plugins())
