"""The gated convolutional decoder against the published layout, written out by hand."""

import pytest
import torch
import torch.nn.functional as F

from vaeflow.parts.decoders.gated_conv import GatedConv
from vaeflow.parts.encoders.gated_conv import GatedConv as Encoder
from vaeflow.parts.posteriors.identity import Identity

# (channels, stride, margin, more) of each transposed convolution, van den Berg et al. 2018
RECIPE = [(64, 1, 0, 0), (64, 1, 2, 0), (32, 2, 2, 1), (32, 1, 2, 0), (32, 2, 2, 1), (32, 1, 2, 0)]


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 28, 20)])
def test_defaults_are_the_published_decoder(shape):
    torch.manual_seed(0)
    decoder = GatedConv(64, shape).double()
    weights = list(decoder.parameters())  # weight and bias of h, then of g, layer by layer
    z = torch.randn(2, 3, 64, dtype=torch.float64)
    y = z.view(6, 64, 1, 1)
    for i, (channels, stride, margin, more) in enumerate(RECIPE):
        (wh, bh, wg, bg), weights = weights[:4], weights[4:]
        if stride == 1 and i > 0:  # here a convolution: the same, with its kernel turned around
            wh, wg = (w.transpose(0, 1).flip(2, 3) for w in (wh, wg))
        h, g = (F.conv_transpose2d(y, w, b, stride, margin, more) for w, b in ((wh, bh), (wg, bg)))
        assert h.shape[1] == channels
        y = h * torch.sigmoid(g)
    weight, bias = weights
    expected = F.conv2d(y, weight, bias)
    assert weight.shape == (1, 32, 1, 1)
    torch.testing.assert_close(decoder(z), expected.view(2, 3, *shape))


def test_parameters_are_as_published():
    sizes = [(64, 64, 49), (64, 64, 25), (64, 32, 25), (32, 32, 25), (32, 32, 25), (32, 32, 25)]
    expected = sum(2 * (n_in * n_out * k + n_out) for n_in, n_out, k in sizes) + 33
    decoder = GatedConv(64, (1, 28, 28))
    assert count(decoder) == expected == 862_753
    assert count(decoder, Encoder((1, 28, 28)), Identity(64, 256)) == 3_067_105
