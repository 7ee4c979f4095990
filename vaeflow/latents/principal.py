"""The principal components of codes.

Shapes: N codes, L latent size, C components.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Components:
    """The directions of the largest variance.

    Attributes:
        center: the mean of the codes (L,).
        axes: the directions (C, L), orthonormal; the largest entry of each is positive.
        share: of the variance that lies along each (C,).
    """

    center: np.ndarray
    axes: np.ndarray
    share: np.ndarray

    def project(self, z: np.ndarray) -> np.ndarray:
        """Return the coordinates (N, C) of codes (N, L)."""
        found: np.ndarray = (z - self.center) @ self.axes.T
        return found


def principal_components(z: np.ndarray, count: int = 2) -> Components:
    """Return the first components of codes (N, L), as many as there are at most."""
    z = np.asarray(z, np.float64)
    center = z.mean(0)
    _, sizes, axes = np.linalg.svd(z - center, full_matrices=False)
    signs = np.sign(np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1))
    squares = sizes**2
    share = squares / (squares.sum() or 1.0)
    return Components(center, (axes * np.where(signs == 0, 1, signs))[:count], share[:count])
