"""A map tells its sizes on one line."""

import pytest
import torch

from vaeflow.maps.householder import Reflections
from vaeflow.maps.planar import PlanarMaps
from vaeflow.maps.radial import RadialMap
from vaeflow.maps.spline import Spline
from vaeflow.maps.stack import Backwards, Stack
from vaeflow.maps.univariate import Affine, Gate
from vaeflow.nn.masked import Hidden

HIDDEN = Hidden(8, 1, "elu")


def stacked(univariate, form):
    return Stack(3, 0, univariate, HIDDEN, form=form, steps=1)()[0]


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (
            PlanarMaps(torch.ones(2, 4, 3), torch.ones(2, 4, 3), torch.ones(2, 4)),
            "PlanarMaps(batch 2, 4 maps, latent 3)",
        ),
        (
            RadialMap(torch.zeros(2, 3), torch.ones(2), torch.ones(2)),
            "RadialMap(batch 2, latent 3)",
        ),
        (Reflections(torch.ones(2, 5, 3)), "Reflections(batch 2, 5 reflections, latent 3)"),
        (stacked(Affine(), "coupling"), "CouplingMap(latent 3, Affine(bound=3.0))"),
        (stacked(Gate(), "autoregressive"), "AutoregressiveMap(latent 3, Gate())"),
        (
            Backwards(stacked(Spline(8), "coupling")),
            "Backwards(CouplingMap(latent 3, Spline(bins=8, bound=5.0)))",
        ),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_repr(f, expected):
    assert repr(f) == expected
