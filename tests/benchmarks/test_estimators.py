"""The measure of gradients, on gradients whose mean and variance are known."""

import pytest
import torch


class Model(torch.nn.Module):
    """One number in each group; the "terms" are one standard normal draw."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = (torch.nn.Linear(1, 1, bias=False) for _ in range(2))
        self.posterior = torch.nn.Identity()

    def forward(self, x, samples):
        return self.encoder.weight, self.decoder.weight, torch.randn(())


class Objective:
    """d/dφ = 2 + noise·ε, d/dθ = 3."""

    samples = 1

    def __init__(self, noise, bias=0.0):
        self.noise, self.bias = noise, bias

    def __call__(self, terms, beta):
        phi, theta, eps = terms
        return (2 + self.bias + self.noise * eps) * phi + 3 * theta + 0 * phi


def measured(script, *objectives):
    model = Model()
    return [script.measure(model, torch.zeros(1), o, 400) for o in objectives]


def test_noise_is_the_deviation_over_the_mean(script):
    (one,) = measured(script, Objective(0.5))
    assert one.noise["φ"] == pytest.approx(0.25, rel=0.15)
    assert one.noise["θ"] == pytest.approx(0, abs=1e-6)
    assert one.mean["θ"].item() == pytest.approx(3)


def test_the_variance_ratio_is_of_variances(script):
    plain, path = measured(script, Objective(1.0), Objective(0.5))
    assert script.variance_ratio(path, plain, "φ") == pytest.approx(0.25, rel=1e-3)


def test_a_bias_is_found_only_if_there_is_one(script):
    plain, right, wrong = measured(script, Objective(1.0), Objective(0.5), Objective(0.5, bias=0.2))
    assert script.bias(right, plain) < 4 < script.bias(wrong, plain)
