"""For the tests of published data sets: no network, and a cache of their own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    """Let nothing reach the network, the user's data or cache; return the cache that stands in."""
    monkeypatch.delenv("VAEFLOW_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
    monkeypatch.setattr("pooch.retrieve", lambda *a, **k: pytest.fail("a download was tried"))
    return tmp_path / "cache"
