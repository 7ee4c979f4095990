"""The encoders of images: any size, each pixel seen, and refusals that name the cure."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaeflow.errors import ConfigError
from vaeflow.parts.encoders.conv import Conv
from vaeflow.parts.encoders.gated_conv import GatedConv
from vaeflow.parts.encoders.resnet import ResNet

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


@pytest.mark.parametrize("shape", [(5,), (), (2, 3, 8, 8)], ids=str)
@pytest.mark.parametrize("network", NETWORKS)
def test_what_is_no_image_is_refused(network, shape, one_sentence):
    with pytest.raises(ConfigError, match="--encoder mlp") as error:
        network(shape)
    assert str(shape) in str(error.value)
    one_sentence(str(error.value))


@pytest.mark.parametrize("name", ["conv", "gated-conv", "resnet"])
def test_shell_refuses_a_table(name, cli, tmp_path):
    path = tmp_path / "table.npy"
    np.save(path, np.random.RandomState(0).rand(30, 5))
    done = cli(
        "train", "--dataset", "file", "--dataset.path", path, "--likelihood", "gaussian",
        "--encoder", name, "--epochs", 1, "--run-dir", tmp_path / "run",
    )  # fmt: skip
    assert done.code == 2
    assert "--encoder mlp" in done.err
    assert not (tmp_path / "run").exists()
