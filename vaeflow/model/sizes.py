"""The sizes on which the parts of a model agree, and the scale of its networks."""

from __future__ import annotations

from typing import get_args

import torch
from torch.distributions import constraints

from vaeflow.errors import ConfigError
from vaeflow.nn.scaling import Scaling, ScalingKind
from vaeflow.parts.abstract import Decoder, Encoder, Likelihood, Posterior, Prior


def seen_shape(data_shape: tuple[int, ...], *, missing: bool) -> tuple[int, ...]:
    """Return the shape of what the encoder sees of an example: with gaps, their mask beside it."""
    return (2 * data_shape[0], *data_shape[1:]) if missing else data_shape


def check_sizes(
    encoder: Encoder,
    posterior: Posterior,
    prior: Prior,
    decoder: Decoder,
    likelihood: Likelihood,
    scaling: Scaling,
    *,
    missing: bool,
    more: int,
) -> None:
    """Check that the parts of a model agree on their sizes.

    Arguments:
        missing: whether the encoder sees a mask beside the data.
        more: features of the covariates, which join those of the encoder and z.

    Raises:
        ConfigError: naming the first two parts that disagree.
    """
    seen = seen_shape(likelihood.data_shape, missing=missing)
    for what, made, by, wanted, of in (
        ("features", encoder.features + more, "encoder", posterior.features, "posterior"),
        ("latent size", posterior.latent, "posterior", prior.latent, "prior"),
        ("latent size", posterior.latent + more, "posterior", decoder.latent, "decoder"),
        ("output shape", decoder.output_shape, "decoder", likelihood.output_shape, "likelihood"),
        ("data shape", seen, "likelihood", encoder.data_shape, "encoder"),
        ("data shape", scaling.data_shape, "scaling", likelihood.data_shape, "likelihood"),
    ):
        if made != wanted:
            raise ConfigError(
                f"the {by}'s {what} is {made}, but the {of}'s is {wanted}: build both with the "
                "same value"
            )


def scaling_of(kind: str | Scaling, likelihood: Likelihood) -> Scaling:
    """Return the scale that a name or a scaling stands for.

    Raises:
        ConfigError: if there is no such scaling.
    """
    if isinstance(kind, Scaling):
        return kind
    if kind == "auto":
        counts = likelihood.counts
        if counts is None:
            counts = torch.tensor(likelihood.support is constraints.nonnegative_integer)
        kind = "log1p" if counts.any() else "raw"
    for known in get_args(ScalingKind):
        if kind == known:
            return Scaling(
                known,
                likelihood.data_shape,
                emits=likelihood.location_in_units,
                counts=likelihood.counts,
            )
    raise ConfigError(
        f"scaling is {kind!r}, but auto, {', '.join(get_args(ScalingKind))} are the scalings"
    )
