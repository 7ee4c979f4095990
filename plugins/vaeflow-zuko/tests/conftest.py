"""The parts of each family, small enough for every check to take a moment."""

from functools import partial

import pytest
import torch
from vaeflow_zuko import posteriors, priors

from vaeflow.testing import far_from_start

FEATURES = 7
SMALL = {
    "MAF": {"steps": 2},
    "RealNVP": {"steps": 3},
    "NSF": {"steps": 2, "bins": 5},
    "BPF": {"steps": 2, "degree": 8},
    "NAF": {"steps": 2, "signal": 4, "monotone": (8, 8)},
    "UNAF": {"steps": 2, "signal": 4, "integrand": (8, 8)},
    "CNF": {"hidden": (8,), "rtol": 1e-4},
}


@pytest.fixture
def small():
    """The class of a part, given its kind and family, with small options."""

    def made(kind, family, **options):
        module = {"posterior": posteriors, "prior": priors}[kind]
        return partial(getattr(module, family), **{"hidden": (16,), **SMALL[family], **options})

    return made


def built(part, sizes, scale, seed):
    torch.manual_seed(seed)
    module = part(*sizes).double()
    return module if scale is None else far_from_start(module, scale, seed)


@pytest.fixture
def posterior(small):
    """A posterior in float64, fresh or, given a scale, far from its start."""

    def made(family, latent, scale=None, seed=0, **options):
        return built(small("posterior", family, **options), (latent, FEATURES), scale, seed)

    return made


@pytest.fixture
def prior(small):
    """A prior, likewise."""

    def made(family, latent, scale=None, seed=0, **options):
        return built(small("prior", family, **options), (latent, (1, 4, 4)), scale, seed)

    return made
