"""The device of a run, the precision of its products and its CPU threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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


def check_precision(precision: str, device: torch.device) -> None:
    """Raise ConfigError if a device does not have a precision."""
    if precision == "tf32" and device.type != "cuda":
        raise ConfigError(
            f"--precision tf32: only CUDA devices have TensorFloat-32, and the device is {device}; "
            "use float32 or bf16"
        )


@contextmanager
def matrix_products(precision: str) -> Iterator[None]:
    """Let CUDA round the factors of float32 products to TensorFloat-32, if `precision` says so."""
    before = torch.get_float32_matmul_precision()
    if precision == "tf32":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Let torch use so many CPU threads within the block; None leaves the choice to torch."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
