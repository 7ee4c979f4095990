"""Codes decoded, one after the other.

Shapes: S codes, L latent size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaeflow.data.examples import Examples
from vaeflow.model import VAE
from vaeflow.runtime.blame import Blame
from vaeflow.runtime.frozen import frozen

_ROWS = 1000  # that pass through the decoder at a time


def decode(model: VAE, z: Tensor, beside: Examples | None = None) -> Tensor:
    """Return E[x|z] (S, *data_shape) of codes (S, L), on the CPU.

    Arguments:
        model: on the device where it decodes.
        z: the codes.
        beside: an example whose covariates all of them have.

    Raises:
        PluginError: naming the part that fails.
    """
    beside = None if beside is None else beside.to(model.device)
    z = z.to(model.device, model.dtype)
    with Blame(model, None).at(lambda: "in decoding"), frozen(model), torch.no_grad():
        means = [model.generate(some[:, None], beside).mean[:, 0] for some in z.split(_ROWS)]
    return torch.cat(means).cpu()
