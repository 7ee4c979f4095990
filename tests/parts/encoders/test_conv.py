"""The convolutional encoder against torch's functions and its ways to draw weights."""

import pytest
import torch
import torch.nn.functional as F

from vaeflow.parts.encoders.conv import Conv


def test_layers_are_as_described():
    torch.manual_seed(0)
    encoder = Conv((2, 9, 6), channels=(3, 4), kernel=5, hidden=7, activation="tanh").double()
    w1, b1, w2, b2, w3, b3 = encoder.parameters()
    x = torch.rand(3, 2, 9, 6, dtype=torch.float64)
    y = torch.tanh(F.conv2d(x, w1, b1, stride=2, padding=2))
    y = torch.tanh(F.conv2d(y, w2, b2, stride=2, padding=2))
    assert y.shape == (3, 4, 3, 2)
    expected = torch.tanh(y.flatten(1) @ w3.T + b3)
    torch.testing.assert_close(encoder(x), expected)


@pytest.mark.parametrize(
    ("init", "bound", "bias"),
    [("torch", (32 * 25) ** -0.5, None), ("glorot", (6 / (96 * 25)) ** 0.5, 0.0),
     ("truncated-normal", 0.2, 0.1)],
)  # fmt: skip
def test_convolutions_draw_weights_as_asked(init, bound, bias):
    torch.manual_seed(0)
    layer = Conv((1, 8, 8), kernel=5, init=init).layers[2]  # 32 channels to 64
    assert layer.weight.shape == (64, 32, 5, 5)
    assert 0.98 * bound < layer.weight.abs().max() <= bound
    if bias is not None:
        assert (layer.bias == bias).all()
