"""The residual encoder against torch's functions."""

import torch
import torch.nn.functional as F

from vaeflow.parts.encoders.resnet import ResNet


def test_layers_are_as_described():
    torch.manual_seed(0)
    encoder = ResNet((2, 7, 4), channels=(3, 5), blocks=2, hidden=6).double()
    with torch.no_grad():
        for p in encoder.parameters():
            p.normal_(std=0.5)
    p = iter(encoder.parameters())
    x = torch.rand(2, 2, 7, 4, dtype=torch.float64)

    y = F.conv2d(x, next(p), next(p), padding=1)
    for stride in (2, 1, 2, 1):
        skip = y
        if stride == 2:
            wide = F.pad(y, (0, y.shape[3] % 2, 0, y.shape[2] % 2), value=torch.nan)
            patches = wide.unfold(2, 2, 2).unfold(3, 2, 2).flatten(-2)
            skip = F.conv2d(patches.nanmean(-1), next(p), next(p))
        inner = F.conv2d(F.elu(y), next(p), next(p), stride, padding=1)
        y = skip + F.conv2d(F.elu(inner), next(p), next(p), padding=1)
    assert y.shape == (2, 5, 2, 1)
    expected = F.elu(F.elu(y).flatten(1) @ next(p).T + next(p))
    assert next(p, None) is None
    torch.testing.assert_close(encoder(x), expected)


def test_images_features_are_the_same_in_training():
    torch.manual_seed(0)
    encoder = ResNet((1, 8, 8))
    x = torch.rand(3, 1, 8, 8)
    trained = encoder.train()(x)
    torch.testing.assert_close(trained, encoder.eval()(x))
    torch.testing.assert_close(trained[:1], encoder.train()(x[:1]))
