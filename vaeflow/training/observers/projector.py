"""The files of TensorBoard's projector: codes as points, with labels and thumbnails."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vaeflow.storage import write_file

_LEAST, _MOST = 32, 64  # height and width of a thumbnail


@dataclass(frozen=True)
class Points:
    """N codes and what is known of their examples.

    Attributes:
        z: (N, L).
        labels: name -> values (N,).
        thumbnails: (N, H, W) or (N, H, W, 3), 8 bits each; None if the examples are no pictures.
    """

    z: np.ndarray
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    thumbnails: np.ndarray | None = None


def write_points(points: Points, folder: Path) -> None:
    """Write the projector's files into the folder of a run of TensorBoard, over older ones.

    torch's `add_embedding` needs a folder for each step, and breaks where TensorFlow is installed.

    Raises:
        StorageError: if a file cannot be written.
    """
    z = points.z
    if z.shape[1] < 3:  # the projector knows no fewer dimensions
        z = np.pad(z, ((0, 0), (0, 3 - z.shape[1])))
    entry = ['  tensor_name: "codes"', '  tensor_path: "codes.tsv"']
    write_file(folder / "codes.tsv", _lines([f"{v:.6g}" for v in row] for row in z.tolist()))
    if points.labels:
        columns = [[_cell(v) for v in values] for values in points.labels.values()]
        rows = [list(row) for row in zip(*columns, strict=True)]
        head = [[_cell(name) for name in points.labels]] if len(columns) > 1 else []
        write_file(folder / "labels.tsv", _lines([*head, *rows]))
        entry.append('  metadata_path: "labels.tsv"')
    if points.thumbnails is not None:
        sprite, (height, width) = _sprite(points.thumbnails)
        write_file(folder / "thumbnails.png", sprite)
        size = f"single_image_dim: {width} single_image_dim: {height}"
        entry.append(f'  sprite {{ image_path: "thumbnails.png" {size} }}')
    text = "\n".join(["embeddings {", *entry, "}", ""])
    write_file(folder / "projector_config.pbtxt", text)


def _lines(rows: object) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)  # type: ignore[attr-defined]


def _cell(value: object) -> str:
    """Return a label on one line: 3 for 3.0, a dash for a missing one."""
    if value is None or value != value:
        return "–"
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return re.sub(r"\s+", " ", str(value)).strip() or "–"


def _sprite(thumbnails: np.ndarray) -> tuple[bytes, tuple[int, int]]:
    """Return the thumbnails as a square of rows in one PNG, and the size of each."""
    from PIL import Image

    height, width = thumbnails.shape[1:3]
    factor = max(1, round(_LEAST / max(height, width)))
    height, width = height * factor, width * factor
    if (larger := max(height, width) / _MOST) > 1:
        height, width = max(1, round(height / larger)), max(1, round(width / larger))
    across = math.ceil(math.sqrt(len(thumbnails)))
    mode = "L" if thumbnails.ndim == 3 else "RGB"
    sheet = Image.new(mode, (across * width, across * height))
    how = Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BOX
    for i, pixels in enumerate(thumbnails):
        tile = Image.fromarray(pixels).resize((width, height), how)
        sheet.paste(tile, (i % across * width, i // across * height))
    file = io.BytesIO()
    sheet.save(file, "png")
    return file.getvalue(), (height, width)
