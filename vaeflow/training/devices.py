"""The device that a run computes on."""

from __future__ import annotations

import torch

from vaeflow.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Return the device called auto, cpu, cuda, cuda:i or mps.

    Raises:
        ConfigError: if this machine does not have it.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if cuda else "mps" if mps else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"--device {name}: give auto, cpu, cuda, cuda:i or mps") from None
    here = {"cpu": True, "cuda": cuda and (device.index or 0) < torch.cuda.device_count()}
    if not here.get(device.type, mps):
        raise ConfigError(f"--device {name}: this machine has none; use --device auto or cpu")
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    return device
