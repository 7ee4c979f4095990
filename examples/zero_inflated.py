"""A zero-inflated Poisson likelihood, as a program of Pyro.

Example: vaeflow train --plugin examples/zero_inflated.py --likelihood zero-inflated \
    --posterior planar --dataset file --dataset.path counts.npy
"""

import pyro
import pyro.distributions as dist
import torch
from torch.distributions import constraints
from torch.nn.functional import softplus

from vaeflow import hookimpl
from vaeflow.pyro import Program


class ZeroInflated(Program):
    """A Poisson count, or 0 where a coin that is summed out says so (Lambert 1992)."""

    outputs = 2  # numbers of the decoder for each value of x
    support = constraints.nonnegative_integer

    def program(self, output, x):
        rate, gate = output
        counted = pyro.sample("counted", dist.Bernoulli(logits=gate))
        rate = torch.where(counted > 0, softplus(rate) + 1e-6, 1e-30)  # log 0 has no slope
        pyro.sample("x", dist.Poisson(rate), obs=x)


@hookimpl
def vaeflow_register_likelihoods(register):
    register("zero-inflated", ZeroInflated)
