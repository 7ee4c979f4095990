"""The decoders to images: any size and likelihood, each z felt everywhere, starts and training."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaeflow.errors import ConfigError
from vaeflow.model import VAE
from vaeflow.parts.datasets.digits import Digits
from vaeflow.parts.decoders.conv import Conv
from vaeflow.parts.decoders.gated_conv import GatedConv
from vaeflow.parts.decoders.resnet import ResNet
from vaeflow.parts.encoders.conv import Conv as ConvEncoder
from vaeflow.parts.encoders.gated_conv import GatedConv as GatedConvEncoder
from vaeflow.parts.encoders.resnet import ResNet as ResNetEncoder
from vaeflow.parts.likelihoods.categorical import Categorical
from vaeflow.parts.likelihoods.discretized_logistic_mixture import DiscretizedLogisticMixture
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.priors.normal import Normal
from vaeflow.training.fit import fit

NETWORKS = [Conv, GatedConv, ResNet]
SHAPES = [
    (1, 28, 28), (3, 32, 32), (8, 8), (1, 28, 20), (2, 5, 7), (1, 1, 1), (4, 1, 9),
    (2, 1, 8, 8), (30, 3, 4, 4), (2, 3, 2, 4, 4),
]  # fmt: skip
LATENT = 3


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("network", NETWORKS)
def test_defaults_decode_images_of_any_size(network, shape):
    decoder = network(LATENT, shape)
    for k, batch in ((1, 2), (2, 1), (2, 0), (0, 2)):
        assert decoder(torch.randn(k, batch, LATENT)).shape == (k, batch, *shape)


@pytest.mark.parametrize("network", NETWORKS)
@settings(max_examples=20)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 30), st.integers(1, 30)),
    channels=st.lists(st.integers(1, 3), min_size=1, max_size=6).map(tuple),
    kernel=st.sampled_from([3, 5, 7]),
)
def test_more_doublings_than_pixels(network, shape, channels, kernel):
    decoder = network(LATENT, shape, channels=channels, kernel=kernel)
    assert decoder(torch.randn(2, 1, LATENT)).shape == (2, 1, *shape)


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 5, 7), (2, 1, 13, 4)], ids=str)
@pytest.mark.parametrize("network", NETWORKS)
def test_each_latent_dimension_reaches_each_value(network, shape):
    torch.manual_seed(0)
    # A relu is flat in places, whatever z is.
    options = {} if network is GatedConv else {"activation": "softplus"}
    decoder = network(LATENT, shape, channels=(3, 4), **options).double()
    z = torch.randn(LATENT, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda z: decoder(z[None, None])[0, 0], z)
    assert jacobian.shape == (*shape, LATENT)
    assert jacobian.all()


@pytest.mark.parametrize("network", NETWORKS)
def test_samples_and_images_keep_their_places(network):
    torch.manual_seed(0)
    decoder = network(LATENT, (2, 1, 5, 4), channels=(3, 4)).double()
    z = torch.randn(3, 2, LATENT, dtype=torch.float64)
    output = decoder(z)
    for k in range(3):
        for b in range(2):
            torch.testing.assert_close(output[k, b], decoder(z[k : k + 1, b : b + 1])[0, 0])


@pytest.mark.parametrize("network", NETWORKS)
def test_leading_sizes_are_channels_in_their_order(network):
    decoder = network(LATENT, (2, 3, 5, 4), channels=(3, 4))
    flat = network(LATENT, (6, 5, 4), channels=(3, 4))
    state = decoder.state_dict()
    flat.load_state_dict({**state, "start": state["start"].view(6, 5, 4)})
    z = torch.randn(1, 2, LATENT)
    assert torch.equal(decoder(z).flatten(2, 3), flat(z))


@pytest.mark.parametrize(
    "likelihood",
    [Gaussian((1, 5, 4), scale="pixel"), Categorical((1, 5, 4)), Gaussian((5, 4), scale="pixel"),
     DiscretizedLogisticMixture((3, 5, 4))],
    ids=["pixel", "categorical", "plane", "mixture"],
)  # fmt: skip
@pytest.mark.parametrize("network", NETWORKS)
def test_start_at_mean_with_several_numbers_per_value(network, likelihood):
    decoder = network(LATENT, likelihood.output_shape, channels=(3, 4))
    p = likelihood(decoder(torch.randn(2, 3, LATENT)))
    assert p.log_prob(torch.ones(3, *likelihood.data_shape)).shape == (2, 3)


@pytest.mark.parametrize(
    ("shape", "dimensions"),
    [((9,), 1), ((2, 9), 1), ((2, 3, 9), 1), ((5, 7, 4), 3), ((2, 3, 5, 4, 7), 3)],
    ids=str,
)
@pytest.mark.parametrize("network", NETWORKS)
def test_signals_and_volumes_feel_each_latent_dimension(network, shape, dimensions):
    torch.manual_seed(0)
    options = {} if network is GatedConv else {"activation": "softplus"}
    decoder = network(LATENT, shape, channels=(3, 4), dimensions=dimensions, **options).double()
    z = torch.randn(LATENT, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda z: decoder(z[None, None])[0, 0], z)
    assert jacobian.shape == (*shape, LATENT)
    assert jacobian.all()


@pytest.mark.parametrize(("shape", "dimensions"), [((), None), ((5,), 2), ((5, 5), 3)], ids=str)
@pytest.mark.parametrize("network", NETWORKS)
def test_what_is_no_grid_is_refused(network, shape, dimensions, one_sentence):
    with pytest.raises(ConfigError, match=r"--decoder mlp") as error:
        network(LATENT, shape, dimensions=dimensions)
    assert str(shape) in str(error.value)
    one_sentence(str(error.value))


@pytest.mark.parametrize("shape", [(1, 5, 4), (2, 3, 5, 4), (5, 4)], ids=str)
@pytest.mark.parametrize("network", NETWORKS)
def test_decoder_starts_at_a_given_output(network, shape):
    torch.manual_seed(0)
    decoder = network(LATENT, shape, channels=(3, 4)).double()
    output = torch.randn(shape, dtype=torch.float64)
    z = torch.randn(2, 3, LATENT, dtype=torch.float64)
    with torch.no_grad():
        decoder.layers[-1].bias.zero_()
        alone = decoder(z)
        decoder.layers[-1].bias.fill_(7.0)
    decoder.start_at(output)
    torch.testing.assert_close(decoder(z), alone + output)
    # It is learned from there, and kept in the state.
    assert all(p.requires_grad for p in decoder.parameters())
    again = network(LATENT, shape, channels=(3, 4)).double()
    again.load_state_dict(decoder.state_dict())
    assert torch.equal(again(z), decoder(z))


@pytest.mark.parametrize(
    ("encoder", "decoder", "options", "epochs"),
    [
        (ConvEncoder, Conv, {}, 2),
        (GatedConvEncoder, GatedConv, {"channels": (16,), "kernel": 3}, 6),
        (ResNetEncoder, ResNet, {"channels": (16, 32), "blocks": 1}, 3),
    ],
    ids=["conv", "gated-conv", "resnet"],
)
def test_digits_are_learned_beyond_their_mean(encoder, decoder, options, epochs):
    torch.manual_seed(0)
    splits = Digits(None).load()
    shape = splits.data_shape
    likelihood = Gaussian(shape, sigma=0.1)
    encode = encoder(shape, **options)
    decode = decoder(4, shape, **options)
    model = VAE(encode, Identity(4, encode.features), Normal(4, shape), decode, likelihood)
    settings = {"epochs": epochs, "batch_size": 50, "device": "cpu", "lr": 4e-3}
    bounds = [
        record["validation/elbo"]
        for record in fit(model, splits.train, splits.validation, **settings).records
    ]
    # What a decoder that ignores z reaches at best: a network that passes nothing on stays there.
    mean = splits.train.mean(0)[None, None]
    ignorant = likelihood(mean).log_prob(splits.validation).mean().item()
    assert bounds[-1] > bounds[0]
    assert bounds[-1] > ignorant + 30, bounds
