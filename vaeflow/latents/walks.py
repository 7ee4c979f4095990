"""Walks through a latent space: between two examples, and along one dimension at a time.

Shapes: S steps, L latent size, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vaeflow.data.beside import apart
from vaeflow.data.columns import Columns
from vaeflow.data.examples import Examples
from vaeflow.data.units import in_units
from vaeflow.latents.codes import encode_rows
from vaeflow.latents.decoding import decode
from vaeflow.latents.drawn import Drawn
from vaeflow.latents.paths import PathKind, between
from vaeflow.latents.showing import Walks, unnamed
from vaeflow.model import VAE

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False, eq=False)
class Interpolation(Drawn):
    """A walk from one example to another.

    Attributes:
        z: the codes (S, L): E[z|x] of the two examples, and those between them.
        x: E[x|z] of each (S, *data_shape), as the likelihood scores it.
        at: the share of the path (S,), from 0 to 1.
        ends: what the two examples are called, and their data: name -> (*data_shape).
        path: "straight" or "spherical".
        table: the columns of a table.
        span: what is black and white in pictures.
        drawn: the names of the columns that are drawn; by default the first ones.
    """

    z: np.ndarray
    x: np.ndarray
    at: np.ndarray
    ends: dict[str, np.ndarray]
    path: PathKind
    table: Columns
    span: tuple[float, float] = (0.0, 1.0)
    drawn: Sequence[str] | None = None

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Return at, codes and x."""
        return {"at": self.at, "codes": self.z, "x": self.x}

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Return at, z0, z1, …, and the columns of a table in their units, or x0, x1, …."""
        known = {"at": self.at, **{f"z{i}": column for i, column in enumerate(self.z.T)}}
        return {**known, **apart(_values(self.x, self.table), known)}

    def figure(self) -> Figure:
        """Return a new figure: pictures in a row, signals or columns as curves."""
        walks = Walks(
            self.x[None], self.at.tolist(), f"share of the {self.path} path", [""], self.ends,
            self.table, self.span, self.drawn,
        )  # fmt: skip
        return walks.figure(" to ".join(name.replace("\n", " ") for name in self.ends))


def interpolation(
    model: VAE,
    data: Examples,
    rows: tuple[int, int],
    *,
    names: tuple[str, str],
    steps: int = 10,
    path: PathKind = "straight",
    seed: int = 0,
    ends: np.ndarray | None = None,
    span: tuple[float, float] = (0.0, 1.0),
    drawn: Sequence[str] | None = None,
) -> Interpolation:
    """Walk from the code of one example to that of another.

    The codes are E[z|x], after all maps of the flow. Covariates are those of the first example.

    Arguments:
        data: the examples.
        rows: the indices of the two.
        names: what they are called.
        steps: S, with both ends.
        path: "straight" or "spherical".
        seed: of the draws by which a flow's mean is taken.
        ends: what the picture shows of the two (2, *data_shape), such as the grey levels of which
            the data are draws; by default the data.
        drawn: the names of the columns that are drawn; by default the first ones.

    Raises:
        ConfigError: if there is no such path.
        PluginError: naming the part that fails.
    """
    codes, pair = encode_rows(model, data, rows, seed=seed), data[torch.tensor(rows)].read()
    at = torch.linspace(0, 1, steps, dtype=torch.float64)
    z = between(codes[0].double(), codes[1].double(), at, path).to(codes)
    x = decode(model, z, pair[:1])
    shown = pair.values.cpu().numpy() if ends is None else ends
    values = dict(zip(names, shown, strict=True))
    return Interpolation(z.numpy(), x.numpy(), at.numpy(), values, path, model.columns, span, drawn)


@dataclass(frozen=True, repr=False, eq=False)
class Traversal(Drawn):
    """Walks from the code of an example, along one dimension at a time.

    Attributes:
        dimensions: which dimensions of z (D,).
        shares: the shares of the codes of data below each step (S,).
        values: of the dimension at each step (D, S): the quantiles of codes.
        z: the codes (D, S, L).
        x: E[x|z] of each (D, S, *data_shape), as the likelihood scores it.
        variances: Var E[z_i|x] over data (D,): how much of x a dimension tells; NaN of one example.
        name: what the example is called.
        table: the columns of a table.
        span: what is black and white in pictures.
        drawn: the names of the columns that are drawn; by default the first ones.
    """

    dimensions: np.ndarray
    shares: np.ndarray
    values: np.ndarray
    z: np.ndarray
    x: np.ndarray
    variances: np.ndarray
    name: str
    table: Columns
    span: tuple[float, float] = (0.0, 1.0)
    drawn: Sequence[str] | None = None

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Return dimensions, shares, variances, codes and x."""
        known = {"dimensions": self.dimensions, "shares": self.shares, "variances": self.variances}
        return {**known, "codes": self.z, "x": self.x}

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Return dimension, share, value, and the columns of a table in their units, or x0, …."""
        steps = len(self.shares)
        known = {
            "dimension": np.repeat(self.dimensions, steps),
            "share": np.tile(self.shares, len(self.dimensions)),
            "value": self.values.ravel(),
        }
        values = _values(self.x.reshape(-1, *self.x.shape[2:]), self.table)
        return {**known, **apart(values, known)}

    def figure(self) -> Figure:
        """Return a new figure, with a row for each dimension, the most active one first."""
        walks = Walks(
            self.x,
            self.shares.tolist(),
            "quantile of z, over codes of the data",
            [
                f"z{i}" + ("" if np.isnan(v) else f"\nvar {v:.2g}")
                for i, v in zip(self.dimensions.tolist(), self.variances.tolist(), strict=True)
            ],
            {},
            self.table,
            self.span,
            self.drawn,
        )
        return walks.figure(f"one dimension at a time, from {self.name}")


def traversal(
    model: VAE,
    data: Examples,
    row: int,
    codes: Tensor,
    dimensions: Sequence[int],
    variances: Sequence[float],
    *,
    name: str,
    steps: int = 9,
    seed: int = 0,
    span: tuple[float, float] = (0.0, 1.0),
    drawn: Sequence[str] | None = None,
) -> Traversal:
    """Walk from E[z|x] of an example along each dimension, over quantiles of codes.

    Arguments:
        data: the examples.
        row: the index of that example, whose covariates all steps have.
        codes: of data (N, L), such as draws of q(z|x).
        dimensions: the dimensions, in the order in which they are shown.
        variances: of E[z_i|x] over data, one for each of them.
        name: what the example is called.
        steps: S, of shares from 2 % to 98 %.
        drawn: the names of the columns that are drawn; by default the first ones.

    Raises:
        PluginError: naming the part that fails.
    """
    origin = encode_rows(model, data, [row], seed=seed)
    shares = torch.linspace(0.02, 0.98, steps, dtype=torch.float64)
    quantiles = codes.double().quantile(shares, 0).to(origin)
    z = origin.expand(len(dimensions), steps, -1).clone()
    for walk, i in zip(z, dimensions, strict=True):
        walk[:, i] = quantiles[:, i]
    x = decode(model, z.flatten(0, 1), data[row : row + 1].read()).unflatten(0, z.shape[:2])
    return Traversal(
        np.array(dimensions),
        shares.numpy(),
        quantiles[:, list(dimensions)].T.numpy(),
        z.numpy(),
        x.numpy(),
        np.array(variances),
        name,
        model.columns,
        span,
        drawn,
    )


def _values(x: np.ndarray, table: Columns) -> dict[str, np.ndarray]:
    """Return the values (N, *data_shape) as columns."""
    flat = x.reshape(len(x), -1)
    return in_units(table or unnamed(flat.shape[1]), flat)
