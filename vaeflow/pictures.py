"""Images as one grid, and as PNG files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaeflow.errors import ConfigError
from vaeflow.storage import writing


def is_image(shape: tuple[int, ...]) -> bool:
    """Tell whether one example is a picture: (H, W), (1, H, W) or (3, H, W)."""
    return len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3))


def grid(images: Tensor, columns: int | None = None) -> Tensor:
    """Arrange images (N, *shape) in rows with a thin border; returns (C, H, W) in [0, 1].

    Values outside [0, 1] are clipped. By default the grid is as square as N allows.
    """
    x = images.detach().float().cpu().clamp(0, 1)
    x = x.unsqueeze(1) if x.dim() == 3 else x
    columns = columns or math.ceil(math.sqrt(len(x)))
    rows = math.ceil(len(x) / columns)
    blank = x.new_full((rows * columns - len(x), *x.shape[1:]), 0.5)
    x = torch.nn.functional.pad(torch.cat([x, blank]), (1, 1, 1, 1), value=0.5)
    _, c, h, w = x.shape
    return (
        x.reshape(rows, columns, c, h, w).permute(2, 0, 3, 1, 4).reshape(c, rows * h, columns * w)
    )


def write_png(picture: Tensor, path: Path, *, least: int = 512) -> None:
    """Write a picture (C, H, W) in [0, 1], magnified by a whole number to about `least` pixels.

    Raises:
        StorageError: if the file cannot be written.
    """
    from PIL import Image

    values = (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    factor = max(1, round(least / max(values.shape[:2])))
    values = np.kron(values, np.ones((factor, factor, 1), np.uint8))
    with writing(path):
        Image.fromarray(values.squeeze(-1) if values.shape[-1] == 1 else values).save(path)


def require_image(shape: tuple[int, ...]) -> None:
    """Raise a `ConfigError` if one example is no picture."""
    if not is_image(shape):
        raise ConfigError(
            f"one example has shape {shape}, which is no picture ((H, W), (1, H, W) or (3, H, W)): "
            "write the values with --out FILE.npz"
        )
