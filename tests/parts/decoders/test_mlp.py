"""The perceptron decoder starts where it is told."""

import torch

from vaeflow.parts.decoders.mlp import MLP


def test_last_bias_starts_at_a_given_output():
    decoder = MLP(3, (2, 5, 4), hidden=(6,))
    output = torch.randn(2, 5, 4)
    decoder.start_at(output)
    with torch.no_grad():
        decoder.layers[-1].weight.zero_()
    assert torch.equal(decoder(torch.randn(2, 3, 3)), output.expand(2, 3, 2, 5, 4))
    assert decoder.layers[-1].bias.requires_grad
