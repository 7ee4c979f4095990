"""`vaeflow doctor`: what is absent or broken, and the line that mends it."""

import json
from importlib import metadata

import pytest
import torch

from vaeflow.parts.datasets.mnist import MNIST
from vaeflow.plugins.loading import load_plugins
from vaeflow.runtime import doctor as room
from vaeflow.runtime.doctor import doctor
from vaeflow.version import __version__


@pytest.fixture(scope="module")
def plugins():
    return load_plugins(quiet=True)


def checks(plugins):
    return {check.name: check for check in doctor(plugins=plugins).checks}


def test_versions_are_those_of_the_libraries(plugins):
    found = checks(plugins)
    assert found["vaeflow"].found == __version__
    assert torch.__version__ in found["torch"].found
    assert f"{torch.get_num_threads()} threads" in found["cpu"].found


def test_a_gpu_beside_a_torch_without_cuda_is_broken(plugins, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(room, "nvidia_driver", lambda: "550.54")
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    monkeypatch.setattr(room.platform, "system", lambda: "Linux")
    found = checks(plugins)["gpu"]
    assert (found.state, found.cure) == ("broken", "pip install --force-reinstall torch==2.9.1")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert "update the driver to one of CUDA 12.8" in checks(plugins)["gpu"].cure
    monkeypatch.setattr(room, "nvidia_driver", lambda: None)
    assert checks(plugins)["gpu"].state == "ok"


def test_the_driver_is_read_from_the_kernel(tmp_path, monkeypatch):
    path = tmp_path / "version"
    path.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar 5\n")
    assert room.nvidia_driver(path) == "550.54.15"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert room.nvidia_driver(tmp_path / "none") is None


def test_absent_and_old_packages(plugins, monkeypatch):
    lines = ["torch>=999", "absent-package>=1", "numpy", 'absent-extra ; extra == "export"']
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    monkeypatch.setattr(
        metadata,
        "metadata",
        lambda name: type("M", (), {"get_all": lambda self, key: ["export"]})(),
    )
    found = checks(plugins)
    assert found["packages"].state == "broken"
    assert "torch is 2" in found["packages"].found
    assert "absent-package is not installed" in found["packages"].found
    assert "'torch>=999' 'absent-package>=1'" in found["packages"].cure
    extra = found["extra export"]
    assert (extra.state, extra.cure) == ("note", "pip install 'vaeflow[export]'")


def test_folders(plugins, monkeypatch, tmp_path, here):
    monkeypatch.setenv("VAEFLOW_DATA", str(tmp_path / "none"))
    found = checks(plugins)
    assert found["data root"].state == "broken"
    assert found["mnist"].state == "note"
    monkeypatch.setenv("VAEFLOW_DATA", str(tmp_path))
    for name in MNIST.origin.checksums:
        (tmp_path / name).touch()
    assert checks(plugins)["mnist"].found == str(tmp_path)
    monkeypatch.setattr(room.os, "access", lambda path, mode: False)
    assert checks(plugins)["runs"].state == "broken"


def test_a_plugin_that_fails_is_broken(cli, here):
    (here / "bad.py").write_text("raise RuntimeError('no')")
    done = cli("doctor", "--json", "--plugin", here / "bad.py")
    found = json.loads(done.out)
    assert done.code == 1
    assert not found["healthy"]
    (plugin,) = (check for check in found["checks"] if check["name"] == "plugin bad.py")
    assert plugin["state"] == "broken"
    assert "RuntimeError: no" in plugin["found"]


def test_every_cure_stands_below_its_check(cli, monkeypatch, here):
    monkeypatch.setenv("VAEFLOW_DATA", str(here))
    done = cli("doctor")
    lines = done.out.splitlines()
    (at,) = (i for i, line in enumerate(lines) if line.startswith("note    mnist "))
    assert lines[at + 1].strip() == "→ put the files there, or unset VAEFLOW_DATA to download them"
