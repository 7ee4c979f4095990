"""A latent space as a plane: the codes of data, and what the plane of two dimensions decodes to.

Shapes: N examples, L latent size, n codes along each side of a grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from vaeflow.data.beside import apart
from vaeflow.data.columns import Columns
from vaeflow.data.covariates import told
from vaeflow.data.examples import Examples
from vaeflow.data.units import in_units
from vaeflow.errors import printable
from vaeflow.latents.chosen import chosen_columns
from vaeflow.latents.decoding import decode
from vaeflow.latents.drawn import Drawn
from vaeflow.latents.figures import blank, style
from vaeflow.latents.manifold import grid, prior_quantiles
from vaeflow.latents.principal import principal_components
from vaeflow.latents.scatter import scatter
from vaeflow.latents.showing import in_columns, unnamed
from vaeflow.model import VAE
from vaeflow.pictures import draw, is_drawable, is_signal
from vaeflow.runtime.blame import Blame
from vaeflow.runtime.frozen import frozen

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TILES, _CURVES, _FINE = 20, 8, 40  # along each side: of pictures, of signals, of other values
_TICKS = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
_LARGE = 48  # pixels of a tile, about


@dataclass(frozen=True, repr=False, eq=False)
class Latent(Drawn):
    """The codes of N examples in a plane.

    Attributes:
        z: E[z|x] (N, L).
        points: the same in the plane (N, 2): z itself for L = 2, of more dimensions the first two
            principal components; of a single one the second axis is noise, which tells points
            apart.
        share: of the variance of z that lies along each axis (2,).
        values: the label (N,) that colours the points, or None.
        name: of the label.
        beside: name -> values (N,): the split, the row or the file, labels and ids.
    """

    z: np.ndarray
    points: np.ndarray
    share: np.ndarray
    values: np.ndarray | None
    name: str
    beside: Mapping[str, np.ndarray]

    @classmethod
    def of(
        cls,
        z: np.ndarray,
        values: np.ndarray | None = None,
        name: str = "label",
        beside: Mapping[str, np.ndarray] | None = None,
    ) -> Latent:
        """Lay codes (N, L) into a plane."""
        latent = z.shape[1]
        if latent == 1:
            noise = np.random.RandomState(0).rand(len(z), 1)
            points, share = np.concatenate((z, noise), 1), np.array([1.0, 0.0])
        elif latent == 2:
            variances = z.astype(np.float64).var(0)
            points, share = z, variances / (variances.sum() or 1.0)
        else:
            components = principal_components(z)
            points, share = components.project(z), components.share
            if len(share) < 2:  # a single example
                points, share = np.pad(points, ((0, 0), (0, 1))), np.pad(share, (0, 1))
        return cls(z, points, share, values, name, beside or {})

    @property
    def axes(self) -> tuple[str, str]:
        """Return what the two axes are called."""
        if self.z.shape[1] == 1:
            return "z0", "noise, which tells points apart"
        if self.z.shape[1] == 2:
            return "z0", "z1"
        first, second = (f"{share:.1%} of the variance of z" for share in self.share)
        return f"principal component 1: {first}", f"principal component 2: {second}"

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Return points, codes, and what stands beside them."""
        found = {"points": self.points, "share": self.share, "codes": self.z}
        return {**apart(self.beside, found), **found}

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Return what stands beside the codes, z0, z1, …, and of L > 2 the two components."""
        codes = {f"z{i}": column for i, column in enumerate(self.z.T)}
        if self.z.shape[1] > 2:
            codes |= {f"component{i + 1}": column for i, column in enumerate(self.points.T)}
        return {**apart(self.beside, codes), **codes}

    def figure(self) -> Figure:
        """Return a new figure: a point for each example."""
        title = f"codes E[z|x] of {len(self.z):,} examples"
        return scatter(self.points, self.values, name=self.name, axes=self.axes, title=title)


@dataclass(frozen=True, repr=False, eq=False)
class Manifold(Drawn):
    """What a latent space of two dimensions decodes to, on a grid of quantiles of the prior.

    Attributes:
        z: the codes (n, n, 2): z0 rises to the right, z1 from the last row to the first.
        x: E[x|z] of each (n, n, *data_shape).
        table: the columns of a table.
        span: what is black and white in pictures.
        given: the covariates of all codes in words, such as "site=north".
        drawn: the names of the columns that are drawn; by default the first ones.
    """

    z: np.ndarray
    x: np.ndarray
    table: Columns
    span: tuple[float, float] = (0.0, 1.0)
    given: str = ""
    drawn: Sequence[str] | None = None

    @classmethod
    def of(
        cls,
        model: VAE,
        beside: Examples | None = None,
        span: tuple[float, float] = (0.0, 1.0),
        drawn: Sequence[str] | None = None,
    ) -> Manifold:
        """Decode the plane of a model of two latent dimensions.

        Arguments:
            beside: an example whose covariates all codes have.
            span: what is black and white in pictures.
            drawn: the names of the columns that are drawn; by default the first ones.

        Raises:
            PluginError: naming the part that fails.
        """
        shape = model.data_shape
        pictured = is_drawable(shape) and not model.columns
        count = (_CURVES if is_signal(shape) else _TILES) if pictured else _FINE
        shares = (torch.arange(count) + 0.5) / count
        with Blame(model, None).at(lambda: "in the prior"), frozen(model), torch.no_grad():
            z = grid(prior_quantiles(model.latent_prior(), shares))
        x = decode(model, z.flatten(0, 1), beside).unflatten(0, (count, count))
        condition = None if beside is None else beside.condition
        given = "" if condition is None else told(model.covariates, condition)[0]
        return cls(z.numpy(), x.numpy(), model.columns, span, given, drawn)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Return codes and x."""
        return {"codes": self.z, "x": self.x}

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Return z0, z1, and the columns of a table in their units, or x0, x1, …."""
        flat = self.x.reshape(len(self.x) ** 2, -1)
        values = in_units(self.table or unnamed(flat.shape[1]), flat)
        codes = {"z0": self.z[..., 0].ravel(), "z1": self.z[..., 1].ravel()}
        return {**codes, **apart(values, codes)}

    def figure(self) -> Figure:
        """Return a new figure: a picture at each code or, of other data, a map of each value."""
        with style():
            pictured = is_drawable(self.x.shape[2:]) and not self.table
            figure = self._pictures() if pictured else self._maps()
            if self.given:
                figure.suptitle(printable(f"E[x|z], {self.given}"), fontsize=11)
        return figure

    def _pictures(self) -> Figure:
        count = len(self.x)
        tiles = torch.from_numpy(self.x).flatten(0, 1)
        if not is_signal(tuple(tiles.shape[1:])):  # the frame between large tiles is thin
            tiles = _magnified(tiles)
        picture = draw(tiles, span=self.span, across=count).permute(1, 2, 0).squeeze(-1).numpy()
        figure = blank(7.0, 6.5 * picture.shape[0] / picture.shape[1] + 0.4)
        axes = figure.subplots()
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="equal")
        names = [f"{share:.0%}" for share in _TICKS]
        axes.set_xticks(_TICKS * picture.shape[1] - 0.5, names)
        axes.set_yticks((1 - _TICKS) * picture.shape[0] - 0.5, names)
        axes.set_xlabel("z0, at quantiles of the prior")
        axes.set_ylabel("z1, at quantiles of the prior")
        return figure

    def _maps(self) -> Figure:
        names, values = in_columns(self.x.reshape(*self.x.shape[:2], -1), self.table)
        table = self.table or unnamed(len(names))
        columns, note = chosen_columns(self.drawn, table)
        slices = [*table.slices().values()]
        most = [i for c in columns for i in range(slices[c].start, slices[c].stop)]
        across = min(4, len(most))
        down = -(-len(most) // across)
        figure = blank(2.9 * across + 0.4, 2.5 * down + 0.4)
        cells = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        for axes, i in zip(cells.flat, most, strict=False):
            shown = axes.pcolormesh(
                self.z[0, :, 0], self.z[:, 0, 1], values[..., i], shading="nearest", rasterized=True
            )
            axes.set_title(printable(names[i]))
            figure.colorbar(shown, ax=axes)
        for index in range(len(most), across * down):
            cells[-1, index % across].set_axis_off()
            cells[-2, index % across].tick_params(labelbottom=True)
        figure.supxlabel(f"z0\n{note}" if note else "z0", fontsize=10)
        figure.supylabel("z1", fontsize=10)
        return figure


def _magnified(tiles: torch.Tensor) -> torch.Tensor:
    """Return pictures (N, ..., H, W) whose sides are a whole number of times as long."""
    factor = max(1, round(_LARGE / tiles.shape[-1]))
    return tiles.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
