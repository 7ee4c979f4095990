"""The proposal that a model's parts allow."""

from __future__ import annotations

from typing import NamedTuple

import torch

from vaeflow.config.way import ProposalKind
from vaeflow.data.examples import Data, as_examples
from vaeflow.distributions.draw import draw
from vaeflow.errors import ConfigError
from vaeflow.evaluation.proposals.joint import Joint
from vaeflow.model import VAE
from vaeflow.runtime.frozen import frozen
from vaeflow.runtime.noise import Noise


class Choice(NamedTuple):
    """A proposal, and why it is not the one that was asked for, where it is not."""

    kind: ProposalKind
    reason: str = ""


@torch.no_grad()
def choose(model: VAE, x: Data, kind: ProposalKind) -> Choice:
    """Return the proposal of this kind, or q where a part or the device does not allow it.

    Arguments:
        x: one image is tried, (N, *data_shape).

    Raises:
        ConfigError: if the mixture with q is asked for, and q scores its own draws alone.
    """
    if kind == "q":
        return Choice("q")
    if model.device.type == "mps":
        return Choice("q", "MPS has no float64")
    one = as_examples(x)[:1].read().to(model.device)
    with Noise(0, model.device).private("choice of a proposal"), frozen(model):
        joint = Joint(model, one, 1, 1)
        q = joint.posterior
        z = draw(q, (1,)).z
        if kind == "mixture":
            try:
                q.log_prob(z + 1)
            except (NotImplementedError, KeyError):
                raise ConfigError(
                    f"--proposal mixture: {type(q).__name__} scores its own draws alone, but the "
                    "mixture scores other z under q; use --proposal laplace"
                ) from None
        try:
            joint.slope(z)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            return Choice("q", f"log p(x, z) has no gradient in z ({str(error).splitlines()[0]})")
    return Choice(kind)
