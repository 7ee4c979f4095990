"""The layers of image networks against arithmetic and torch's functions."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from vaeflow.errors import ConfigError
from vaeflow.nn.convolutions import (
    Gated,
    Residual,
    convolution,
    double,
    halve,
    halvings,
    keep,
    upconvolution,
)

SIDES = st.integers(1, 40)
KERNELS = st.sampled_from([3, 5, 7])


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def test_halves_are_rounded_up():
    assert halvings((28, 20), 5) == [(28, 20), (14, 10), (7, 5), (4, 3), (2, 2), (1, 1)]
    assert halvings((1, 1), 2) == [(1, 1)] * 3


@given(SIDES, SIDES, KERNELS)
def test_convolutions_keep_halve_and_double_sizes(height, width, kernel):
    size, half = halvings((height, width), 1)
    x, small = torch.zeros(2, 3, *size), torch.zeros(2, 3, *half)
    assert convolution(3, 4, kernel)(x).shape == (2, 4, *size)
    assert convolution(3, 4, kernel, stride=2)(x).shape == (2, 4, *half)
    assert upconvolution(3, 4, kernel, size)(small).shape == (2, 4, *size)


@given(SIDES, SIDES, KERNELS)
def test_residual_blocks_keep_halve_and_double_sizes(height, width, kernel):
    size, half = halvings((height, width), 1)
    x, small = torch.zeros(2, 3, *size), torch.zeros(2, 3, *half)
    assert keep(3, kernel, "elu")(x).shape == x.shape
    assert halve(3, 4, kernel, size, "elu")(x).shape == (2, 4, *half)
    assert double(3, 4, kernel, size, "elu")(small).shape == (2, 4, *size)


@pytest.mark.parametrize("size", [(8, 6), (7, 5), (2, 1), (1, 1)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_halving_and_doubling_are_adjoint(size, kernel):
    down = convolution(2, 3, kernel, stride=2).double()
    up = upconvolution(3, 2, kernel, size).double()
    with torch.no_grad():
        up.weight.copy_(down.weight)
        up.bias.zero_()
        down.bias.zero_()
    x, y = noise(1, 2, *size), noise(1, 3, *halvings(size, 1)[1], seed=1)
    torch.testing.assert_close((down(x) * y).sum(), (x * up(y)).sum())


@pytest.mark.parametrize(("kernel", "cure"), [(1, 3), (2, 3), (4, 5)])
def test_even_kernels_are_refused(kernel, cure, one_sentence):
    for make in (convolution, upconvolution):
        with pytest.raises(ConfigError, match=f"kernel is {kernel}, .* take {cure}$") as error:
            make(1, 1, kernel, *([(4, 4)] if make is upconvolution else []))
        one_sentence(str(error.value))


def test_gate_is_a_layer_of_its_own():
    gated = Gated(lambda: torch.nn.Linear(3, 2)).double()
    x = noise(5, 3)
    expected = F.linear(x, gated.h.weight, gated.h.bias) / (
        1 + torch.exp(-F.linear(x, gated.g.weight, gated.g.bias))
    )
    torch.testing.assert_close(gated(x), expected)
    assert not torch.equal(gated.h.weight, gated.g.weight)


def test_residual_block_starts_as_its_skip():
    block = keep(3, 3, "elu")
    x = torch.randn(2, 3, 5, 4)
    assert torch.equal(block(x), x + block.layers[-1].bias[:, None, None])


def test_residual_block_activates_before_convolutions():
    block = scattered(Residual(convolution(2, 3, 3), torch.nn.Conv2d(2, 3, 1), "elu"))
    x = noise(2, 2, 5, 4)
    _, first, _, last = block.layers
    inner = F.conv2d(F.elu(x), first.weight, first.bias, padding=1)
    outer = F.conv2d(F.elu(inner), last.weight, last.bias, padding=1)
    skip = F.conv2d(x, block.skip.weight, block.skip.bias)
    torch.testing.assert_close(block(x), skip + outer)


def scattered(module):
    module = module.double()
    with torch.no_grad():
        for i, p in enumerate(module.parameters()):
            p.copy_(noise(*p.shape, seed=i))
    return module


def identity_skip(block, n):
    """Make the skip's 1×1 convolution the identity of n channels, and its branch 0."""
    with torch.no_grad():
        for p in block.layers.parameters():
            p.zero_()
        for layer in block.skip:
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight.copy_(torch.eye(n)[:, :, None, None])
                layer.bias.zero_()
    return block.double()


@pytest.mark.parametrize("size", [(6, 4), (5, 3), (1, 4), (1, 1)])
def test_skips_average_and_repeat_pixels(size):
    x = noise(1, 2, *size)
    half = identity_skip(halve(2, 2, 3, x.shape[2:], "elu"), 2)(x)
    for i in range(half.shape[2]):
        for j in range(half.shape[3]):
            patch = x[..., 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            torch.testing.assert_close(half[..., i, j], patch.mean((2, 3)))
    whole = identity_skip(double(2, 2, 3, size, "elu"), 2)(half)
    rows = half.repeat_interleave(2, 2)[:, :, : size[0]]
    assert torch.equal(whole, rows.repeat_interleave(2, 3)[..., : size[1]])


@pytest.mark.parametrize("size", [(9,), (8,), (1,), (5, 4, 3), (1, 8, 2), (1, 1, 1)], ids=str)
def test_signals_and_volumes_are_kept_halved_and_doubled(size):
    dims, half = len(size), halvings(size, 1)[1]
    x, small = torch.zeros(2, 3, *size), torch.zeros(2, 3, *half)
    assert convolution(3, 4, 3, dimensions=dims)(x).shape == (2, 4, *size)
    assert convolution(3, 4, 3, 2, dimensions=dims)(x).shape == (2, 4, *half)
    assert upconvolution(3, 4, 3, size)(small).shape == (2, 4, *size)
    assert keep(3, 3, "elu", dimensions=dims)(x).shape == x.shape
    assert halve(3, 4, 3, size, "elu")(x).shape == (2, 4, *half)
    assert double(3, 4, 3, size, "elu")(small).shape == (2, 4, *size)


def test_a_signal_is_a_picture_of_one_row():
    x = noise(2, 3, 9)
    for layer, flat in (
        (convolution(3, 4, 5, 2), convolution(3, 4, 5, 2, dimensions=1)),
        (upconvolution(3, 4, 5, (1, 17)), upconvolution(3, 4, 5, (17,))),
    ):
        with torch.no_grad():
            flat.weight.copy_(layer.weight[:, :, 2])
            flat.bias.copy_(layer.bias)
        expected = layer.double()(x[:, :, None])[:, :, 0]
        torch.testing.assert_close(flat.double()(x), expected)
