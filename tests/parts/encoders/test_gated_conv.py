"""The gated convolutional encoder against the published layout, written out by hand."""

import pytest
import torch
import torch.nn.functional as F

from vaeflow.parts.encoders.gated_conv import GatedConv

# (channels, kernel, stride, margin) of each layer, van den Berg et al. 2018
RECIPE = [(32, 5, 1, 2), (32, 5, 2, 2), (64, 5, 1, 2), (64, 5, 2, 2), (64, 5, 1, 2)]


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("shape", "last"), [((1, 28, 28), (7, 7)), ((1, 28, 20), (7, 5))])
def test_defaults_are_the_published_encoder(shape, last):
    torch.manual_seed(0)
    encoder = GatedConv(shape).double()
    weights = list(encoder.parameters())  # weight and bias of h, then of g, layer by layer
    x = torch.rand(2, *shape, dtype=torch.float64)
    y = x
    for channels, kernel, stride, margin in [*RECIPE, (256, last, 1, 0)]:
        (wh, bh, wg, bg), weights = weights[:4], weights[4:]
        kernels = [w.view(channels, y.shape[1], *_pair(kernel)) for w in (wh, wg)]
        h, g = (F.conv2d(y, w, b, stride, margin) for w, b in zip(kernels, (bh, bg), strict=True))
        y = h * torch.sigmoid(g)
    assert not weights
    assert y.shape == (2, 256, 1, 1)
    torch.testing.assert_close(encoder(x), y.flatten(1))


def _pair(kernel):
    return kernel if isinstance(kernel, tuple) else (kernel, kernel)


def test_parameters_are_as_published():
    sizes = [(1, 32, 25), (32, 32, 25), (32, 64, 25), (64, 64, 25), (64, 64, 25), (64, 256, 49)]
    expected = sum(2 * (n_in * n_out * k + n_out) for n_in, n_out, k in sizes)
    assert count(GatedConv((1, 28, 28))) == expected == 2_171_456
