"""What a run directory says of missing packages, where anybody may have written its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from vaeflow.errors import PluginError
from vaeflow.plugins.loading import load_plugins
from vaeflow.runs.owners import check_owner


def told(distribution, version):
    owner = {"name": "twist", "distribution": distribution, "version": version}
    with pytest.raises(PluginError) as caught:
        check_owner(Path("run"), "posterior", owner, load_plugins())
    return str(caught.value)


@pytest.mark.parametrize("version", ["1.2", "1.2.post1+cpu", "2!1.0rc1"])
@pytest.mark.parametrize("distribution", ["vaeflow-twist", "a", "A.b_c"])
def test_a_missing_distribution_is_to_be_installed(distribution, version):
    assert told(distribution, version).endswith(f"pip install {distribution}=={version}")


@pytest.mark.parametrize(
    ("distribution", "version"),
    [
        ("git+https://evil.example/x", "1.0"),
        ("--index-url=https://evil.example x", "1.0"),
        ("-r", "1.0"),
        ("x; rm -rf ~", "1.0"),
        ("x\n", "1.0"),
        ("../x", "1.0"),
        ("vaeflow-twist", "1.0; rm -rf ~"),
        ("vaeflow-twist", "$(id)"),
        (3, None),
    ],
)
def test_what_is_no_distribution_is_not_to_be_installed(distribution, version):
    message = told(distribution, version)
    assert "pip install" not in message
    assert message.endswith("no package has such a name and version: restore run/environment.json")
