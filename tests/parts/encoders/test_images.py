"""The encoders of grids: any size, each pixel seen, and refusals that name the cure."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaeflow.errors import ConfigError
from vaeflow.parts.encoders.conv import Conv
from vaeflow.parts.encoders.gated_conv import GatedConv
from vaeflow.parts.encoders.resnet import ResNet
from vaeflow.runs.load import load

NETWORKS = [Conv, GatedConv, ResNet]
SIZES = [(1, 28, 28), (3, 32, 32), (1, 8, 8), (1, 28, 20), (2, 5, 7), (1, 1, 1), (4, 1, 9)]
SMALL = {"channels": (3, 4), "hidden": 5}


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("network", NETWORKS)
def test_defaults_encode_images_of_any_size(network, shape):
    encoder = network(shape)
    assert encoder.features == 256
    assert encoder(torch.rand(2, *shape)).shape == (2, 256)
    assert encoder(torch.rand(0, *shape)).shape == (0, 256)


@pytest.mark.parametrize("network", NETWORKS)
@settings(max_examples=20)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 30), st.integers(1, 30)),
    channels=st.lists(st.integers(1, 3), min_size=1, max_size=6).map(tuple),
    kernel=st.sampled_from([3, 5, 7]),
)
def test_more_halvings_than_pixels_are_no_matter(network, shape, channels, kernel):
    encoder = network(shape, channels=channels, kernel=kernel, hidden=2)
    assert encoder(torch.rand(1, *shape)).shape == (1, 2)


@pytest.mark.parametrize("network", NETWORKS)
def test_image_without_channels_has_one(network):
    torch.manual_seed(0)
    encoder = network((6, 5), **SMALL)
    torch.manual_seed(0)
    same = network((1, 6, 5), **SMALL)
    x = torch.rand(3, 6, 5)
    assert torch.equal(encoder(x), same(x[:, None]))


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 5, 7), (1, 13, 4)], ids=str)
@pytest.mark.parametrize("network", NETWORKS)
def test_each_feature_sees_each_pixel(network, shape):
    torch.manual_seed(0)
    # A relu is flat in places, whatever the pixel.
    options = {} if network is GatedConv else {"activation": "softplus"}
    encoder = network(shape, **SMALL, **options).double()
    x = torch.rand(shape, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: encoder(x[None])[0], x)
    assert jacobian.shape == (5, *shape)
    assert jacobian.all()


GRIDS = [  # a shape, its axes, and the channels that a network sees
    ((9,), 1, 1), ((3, 9), 1, 3), ((3, 9), 2, 1), ((2, 5, 7), 2, 2), ((5, 7, 4), 3, 1),
    ((2, 5, 7, 4), 3, 2),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "dimensions", "channels"), GRIDS, ids=str)
@pytest.mark.parametrize("network", NETWORKS)
def test_convolutions_slide_over_the_last_axes(network, shape, dimensions, channels):
    torch.manual_seed(0)
    options = {} if network is GatedConv else {"activation": "softplus"}
    encoder = network(shape, **SMALL, **options, dimensions=dimensions).double()
    first = next(p for p in encoder.parameters() if p.dim() > 1)
    assert first.shape[1:] == (channels, *[first.shape[-1]] * dimensions)
    x = torch.rand(shape, dtype=torch.float64)
    assert torch.autograd.functional.jacobian(lambda x: encoder(x[None])[0], x).all()


@pytest.mark.parametrize(
    ("shape", "dimensions"), [((5,), 1), ((3, 5), 2), ((2, 3, 8, 8), 3)], ids=str
)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_shape_tells_the_axes(network, shape, dimensions):
    assert network(shape, **SMALL).dimensions == dimensions


@pytest.mark.parametrize("network", NETWORKS)
def test_channels_that_seem_to_be_last_are_told(network, caplog, one_sentence):
    for shape in ((3, 32, 32), (64, 8, 8), (2, 16, 4), (32, 3)):
        network(shape, **SMALL)
    assert not caplog.records
    network((32, 32, 3), **SMALL)
    (record,) = caplog.records
    one_sentence(record.getMessage())
    assert "(32, 32, 3) is taken for 32 channels of 32×3" in record.getMessage()


@pytest.mark.parametrize(("shape", "dimensions"), [((), None), ((5,), 2), ((5, 5), 3)], ids=str)
@pytest.mark.parametrize("network", NETWORKS)
def test_what_is_no_grid_is_refused(network, shape, dimensions, one_sentence):
    with pytest.raises(ConfigError, match="--encoder mlp") as error:
        network(shape, dimensions=dimensions)
    assert str(shape) in str(error.value)
    one_sentence(str(error.value))


@pytest.mark.parametrize("name", ["conv", "gated-conv", "resnet"])
def test_the_shell_trains_on_signals(name, cli, tmp_path):
    path = tmp_path / "signals.npy"
    np.save(path, np.random.RandomState(0).rand(30, 2, 16))
    run = tmp_path / "run"
    done = cli(
        "train", "--dataset", "file", "--dataset.path", path, "--likelihood", "gaussian",
        "--likelihood.scale", "pixel", "--encoder", name, "--encoder.channels", 2, "--decoder",
        name, "--decoder.channels", 2, "--epochs", 1, "--test-images", 2, "--test-samples", 2,
        "--no-tensorboard", "--run-dir", run,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "signals of length 16 with 2 channels" in done.err
    model = load(run)
    assert (model.encoder.dimensions, model.decoder.dimensions) == (1, 1)
    assert model.sample(3).shape == (3, 2, 16)
