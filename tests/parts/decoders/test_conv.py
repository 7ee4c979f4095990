"""The convolutional decoder against torch's functions."""

import torch
import torch.nn.functional as F

from vaeflow.parts.decoders.conv import Conv


def test_layers_are_as_described():
    torch.manual_seed(0)
    decoder = Conv(4, (2, 9, 6), channels=(3, 5), kernel=5, hidden=7, activation="tanh").double()
    w1, b1, w2, b2, w3, b3, w4, b4 = decoder.parameters()
    z = torch.randn(3, 4, dtype=torch.float64)
    y = torch.tanh(torch.tanh(z @ w1.T + b1) @ w2.T + b2).view(3, 5, 3, 2)
    # From 3×2 to 5×3 and 9×6: 2n − 1 pixels, one more where asked.
    y = torch.tanh(F.conv_transpose2d(y, w3, b3, stride=2, padding=2))
    y = F.conv_transpose2d(y, w4, b4, stride=2, padding=2, output_padding=(0, 1))
    torch.testing.assert_close(decoder(z[None])[0], y)
