"""What the networks see of the data, against NumPy in float64, and back."""

import numpy as np
import pytest
import torch

from vaeflow.nn.scaling import Scaling

SHAPE = (2, 3)


def counts(n=50):
    rates = torch.logspace(-1, 6, 6, dtype=torch.float64).view(SHAPE)
    return torch.poisson(rates.expand(n, *SHAPE), generator=torch.Generator().manual_seed(0))


def scaling(kind, x=None, location=None, *, emits=True):
    made = Scaling(kind, SHAPE, emits=emits).double()
    if x is not None:
        made.measure(x, location)
    return made


def test_standardized_data_has_mean_0_and_deviation_1_for_each_value():
    x = 1e4 * torch.randn(25_000, *SHAPE, dtype=torch.float64) + 1e6  # more than one chunk
    x[:, 0, 0] = 0.1  # constant
    u = scaling("standardize", x, x.mean(0))(x).numpy()
    wanted = (x.numpy() - x.numpy().mean(0)) / np.where(x.numpy().std(0) > 0, x.numpy().std(0), 1)
    np.testing.assert_allclose(u[:, 1:], wanted[:, 1:], atol=1e-9)
    np.testing.assert_allclose(u[:, 0, 0], 0, atol=1e-15)


def test_the_logarithm_of_counts_is_centred():
    x = counts()
    u = scaling("log1p", x, x.mean(0))(x).numpy()
    logs = np.log1p(x.numpy())
    np.testing.assert_allclose(u, logs - logs.mean(0), atol=1e-12)


@pytest.mark.parametrize("kind", ["log1p", "standardize"])
def test_an_output_of_zero_is_the_given_location(kind):
    x, location = counts(), torch.linspace(-5, 1e6, 6, dtype=torch.float64).view(SHAPE)
    seen = scaling(kind, x, location).emit(torch.zeros(1, 1, *SHAPE, dtype=torch.float64))
    torch.testing.assert_close(seen[0, 0], location)


@pytest.mark.parametrize("kind", ["raw", "log1p", "standardize"])
@pytest.mark.parametrize("numbers", [1, 2])
def test_the_location_alone_is_changed_and_goes_back(kind, numbers):
    x = counts()
    shape = SHAPE if numbers == 1 else (2, *SHAPE)
    made = scaling(kind, x, x.mean(0)) if kind != "raw" else scaling(kind)
    output = torch.linspace(-9, 1e5, 6 * numbers, dtype=torch.float64).view(shape)
    emitted = made.emitted_at(output)
    torch.testing.assert_close(made.emit(emitted[None, None])[0, 0], output)
    if numbers == 2:
        assert torch.equal(emitted[1], output[1])


def test_the_way_back_from_logarithms_is_smooth_and_never_overflows():
    made = scaling("log1p").float()
    d = torch.tensor([-1e4, -1.0, 0.0, 1.0, 29.0, 30.0, 31.0, 1e4]).repeat_interleave(6)
    d = d.view(1, -1, *SHAPE).requires_grad_()
    out = made.emit(d)
    (slope,) = torch.autograd.grad(out.sum(), d)
    e30 = np.exp(30)
    o = [-1e4, -1, 0, np.e - 1, np.exp(29), e30, 2 * e30, 9971 * e30]
    np.testing.assert_allclose(out.detach()[0, :, 0, 0], o, rtol=1e-6)
    wanted = [1, 1, 1, np.e, np.exp(29), e30, e30, e30]
    np.testing.assert_allclose(slope[0, :, 0, 0], wanted, rtol=1e-6)


def test_raw_data_passes_as_it_is():
    made, x = scaling("raw"), counts()
    assert made(x) is x
    assert made.emit(x) is x
    assert made.measured
    assert not made.state_dict()  # a checkpoint of earlier versions fits


def test_an_output_on_another_scale_stays():
    x = counts()
    made = scaling("standardize", x, emits=False)
    assert made.emit(x) is x
    assert made.told.startswith("scaling standardize: the encoder sees (x − mean)/deviation")
