"""MIWAE: a model fitted to data with gaps imputes nearly as well as the law of the data."""

import math

import torch

import vaeflow
from vaeflow.evaluation.imputation import impute_examples

D, L, SIGMA = 6, 2, 0.4


def test_the_errors_of_a_fitted_model_approach_those_of_the_true_law():
    torch.manual_seed(0)
    w = torch.randn(D, L)
    covariance = (w @ w.T + SIGMA**2 * torch.eye(D)).double()

    def drawn(n):
        x = torch.randn(n, L) @ w.T + SIGMA * torch.randn(n, D)
        return x, torch.rand(n, D) < 0.3  # missing completely at random

    (x, gaps), (held_out, missing) = drawn(600), drawn(200)
    model = vaeflow.build(
        (D,),
        latent=L,
        likelihood=("gaussian", {"scale": "shared"}),
        encoder=("mlp", {"hidden": (32,)}),
        decoder=("mlp", {"hidden": ()}),
        missing="mask",
    )
    vaeflow.fit(
        model,
        x.masked_fill(gaps, math.nan),
        held_out.masked_fill(missing, math.nan),
        objective=("iwae", {"samples": 10}),
        epochs=20,
        batch_size=30,
        lr=1e-2,
        progress=False,
    )
    found = impute_examples(model, held_out.masked_fill(missing, math.nan), samples=300).x

    def error(filled):
        return (filled - held_out)[missing].square().mean().sqrt().item()

    best = torch.zeros(200, D, dtype=torch.float64)
    for row, m in enumerate(missing):
        o = ~m
        solved = torch.linalg.solve(covariance[o][:, o], covariance[o][:, m])
        best[row, m] = held_out[row, o].double() @ solved
    assert error(found) < 1.1 * error(best)
    assert error(torch.zeros(200, D)) > 2 * error(best)  # of filling in the mean
