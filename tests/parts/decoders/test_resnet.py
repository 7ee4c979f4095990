"""The residual decoder against torch's functions."""

import torch
import torch.nn.functional as F

from vaeflow.parts.decoders.resnet import ResNet


def test_layers_are_as_described():
    torch.manual_seed(0)
    decoder = ResNet(4, (2, 7, 4), channels=(3, 5), blocks=2, hidden=6).double()
    with torch.no_grad():
        for p in decoder.parameters():
            p.normal_(std=0.5)
    p = iter(decoder.parameters())
    z = torch.randn(2, 4, dtype=torch.float64)

    y = F.elu(z @ next(p).T + next(p))
    y = (y @ next(p).T + next(p)).view(2, 5, 2, 1)
    for size in ((4, 2), (7, 4)):
        inner = F.conv2d(F.elu(y), next(p), next(p), padding=1)
        y = y + F.conv2d(F.elu(inner), next(p), next(p), padding=1)
        skip = F.conv2d(y, next(p), next(p)).repeat_interleave(2, 2).repeat_interleave(2, 3)
        wide = F.conv_transpose2d(F.elu(y), *_taken(p), stride=2, padding=1, output_padding=1)
        inner = wide[:, :, : size[0], : size[1]]
        y = skip[:, :, : size[0], : size[1]] + F.conv2d(F.elu(inner), *_taken(p), padding=1)
    y = F.conv2d(F.elu(y), *_taken(p), padding=1)
    assert next(p, None) is None
    torch.testing.assert_close(decoder(z[None])[0], y)


def _taken(p):
    return next(p), next(p)
